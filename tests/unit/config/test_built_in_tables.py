"""The built-in tables name models that there are, and say in docs/tables.md what they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from turnout_server.config.built_in_tables import BUILT_IN_TABLES, LINES
from turnout_server.config.catalog import ModelRow, built_in, origin
from turnout_server.core.tables import ModelLine

ROOT = Path(__file__).parents[3]
DAY = date.fromisoformat(origin()[0])


def row_of(name: str) -> ModelRow | None:
    provider, _, model = name.partition("/")
    return next((row for row in built_in(DAY)[provider].models if row.name == model), None)


def documented(heading: str) -> Iterator[list[str]]:
    """Cells of the table whose first heading this is."""
    lines = (ROOT / "docs" / "tables.md").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return
        yield [cell.strip().strip("`") for cell in line.strip("|").split("|")]


@pytest.mark.parametrize(("name", "line"), LINES, ids=[name for name, _ in LINES])
def test_every_model_of_a_line_is_in_the_catalog_and_one_is_served(name: str, line: ModelLine) -> None:
    rows = [row_of(each) for each in line]

    assert None not in rows, f"{name}: {line}"
    assert any(not row.deprecated and not row.retires_on for row in rows if row is not None)


def test_every_line_of_a_row_has_a_name() -> None:
    named = {line for _, line in LINES}

    assert named == {line for tiers in BUILT_IN_TABLES.values() for row in tiers.values() for line in row.lines}


def test_lines_are_documented_as_they_are() -> None:
    expected = [[name, ", ".join(each.partition("/")[2] for each in line)] for name, line in LINES]

    assert expected == list(documented("name"))


def test_tables_are_documented_as_they_are() -> None:
    names = {line: name for name, line in LINES}
    expected = [
        [task, tier, " → ".join(names[line] for line in row.lines)]
        for task, tiers in BUILT_IN_TABLES.items()
        for tier, row in tiers.items()
    ]

    assert expected == list(documented("task"))


def test_what_the_documentation_says_of_today_is_so() -> None:
    text = (ROOT / "docs" / "tables.md").read_text()
    gpt_4o, devstral = row_of("openai/gpt-4o"), row_of("mistral/devstral-small-2505")
    told = re.search(r"gpt-4o will be\s+(\S+) from (\S+) on", text)

    assert told is not None
    assert gpt_4o is not None
    assert ("gpt-5.6-terra", gpt_4o.retires_on) == told.groups()
    assert devstral is not None
    assert devstral.deprecated
