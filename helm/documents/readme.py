"""Makes the chart's README.md: the text written by hand, and a table of all values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from helm.documents.values_file import Value, ValuesError

MARK = "<!-- values -->"


def readme(text: str, values: Sequence[Value]) -> str:
    """Returns the text with the tables in place of its mark. Raises ValuesError where there is not one mark."""
    if text.count(MARK) != 1:
        raise ValuesError(f"the README's text needs the line {MARK} once")
    return text.replace(MARK, "\n".join(_tables(values)))


def _tables(values: Sequence[Value]) -> Iterator[str]:
    section = ""
    for value in values:
        if value.section != section:
            if section:
                yield ""
            section = value.section
            yield from (f"### {section}", "", "| value | default | meaning |", "|---|---|---|")
        yield f"| `{'.'.join(value.path)}` | `{_cell(_default(value.default))}` | {_cell(value.comment)} |"


def _default(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
