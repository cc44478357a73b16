"""Every key is taken at once or waits for a restart, known to the code and told in the documentation alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from tests.unit.config.loading import loaded
from turnout_server.config.changes import changed_keys, listed
from turnout_server.config.describe import is_section, is_table, plain
from turnout_server.config.schema import Configuration
from turnout_server.config.taking import WHEN, Taken, as_taken, when

DOCUMENT = Path(__file__).parents[3] / "docs" / "reload.md"


def keys(section: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of the schema that holds a value, with NAME for the names of operators."""
    for name, info in section.model_fields.items():
        kind, here = plain(info.annotation), (*path, name)
        if is_table(kind):
            kind, here = plain(get_args(kind)[1]), (*here, "NAME")
        origin: Any = get_origin(kind)
        if origin in {tuple, list}:
            kind = plain(get_args(kind)[0])
        if is_section(kind):
            yield from keys(kind, here)
        else:
            yield here


def test_every_key_of_the_schema_is_classified_once() -> None:
    every = list(keys(Configuration))
    for path in every:
        found = [key for key in WHEN if (*key.split("."),) == path[: len(key.split("."))]]

        assert len(found) == 1, f"put {'.'.join(path)} into WHEN of config/taking.py, and into docs/reload.md"

    assert len(every) > 100


@pytest.mark.parametrize("key", WHEN)
def test_every_classified_key_is_in_the_schema(key: str) -> None:
    assert any(path[: len(key.split("."))] == (*key.split("."),) for path in keys(Configuration))


def test_key_that_nobody_has_classified_is_an_error() -> None:
    with pytest.raises(KeyError, match="nonsense"):
        when(("nonsense", "key"))


def test_documentation_says_of_each_key_when_it_is_taken() -> None:
    _, _, section = DOCUMENT.read_text().partition("## What is taken when")
    rows = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| `")]
    told = {key.strip().strip("`"): Taken(how.strip()) for key, how in rows}

    assert dict(WHEN) == told


def test_keys_that_wait_keep_the_value_that_is_in_force_and_are_named(tmp_path: Path) -> None:
    present = loaded(tmp_path, "listen: {address: '127.0.0.1:1'}\ndrain_seconds: 3").configuration
    new = loaded(
        tmp_path, "listen: {address: '127.0.0.1:2', reflection: false}\nlimits: {max_message_mib: 3}\ndrain_seconds: 4"
    ).configuration
    taken, waiting = as_taken(new, present)

    assert waiting == ("listen.address", "listen.reflection", "limits.max_message_mib")
    assert (taken.listen, taken.limits.max_message_mib) == (present.listen, 32)
    assert taken.drain_seconds == 4
    assert changed_keys(present, taken) == ("drain_seconds",)
    assert as_taken(new, taken) == (taken, waiting)
    assert changed_keys(taken, as_taken(new, taken)[0]) == ()


POOL = "providers: {openai: {credentials: [{name: a, api_key_file: FOLDER/%s}, {name: b, api_key_env: B}]}}"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("", "", []),
        ("drain_seconds: 25", "", ["drain_seconds"]),
        ("{providers: {openai: {}}}", "{providers: {anthropic: {}}}", ["openai (gone)", "anthropic (new)"]),
        ("", "providers: {}", ["providers"]),
        ("providers: {openai: {region: us}}", "providers: {openai: {region: eu}}", ["openai.region"]),
        (POOL % "x", POOL % "y", ["openai.credentials.a.api_key_file"]),
        ("routing: {policies: {p: {strategy: COST}}}", "", ["routing.policies.p (gone)"]),
        (
            "routing: {policies: {p: {failover: {}}}}",
            "routing: {policies: {p: {failover: {max_attempts: 4}}}}",
            ["routing.policies.p.failover.max_attempts (new)"],
        ),
        (
            "providers: {openai: {proxy_url: 'http://u:planted-1@p'}}",
            "providers: {openai: {proxy_url: 'http://u:planted-2@p'}}",
            ["openai.proxy_url"],
        ),
        ("limits: {max_queue: 1, max_message_mib: 1}", "limits: {max_queue: 2}", ["limits.max_queue"]),
        ("health: {address: ''}", "", []),
    ],
)
def test_changes_are_told_by_their_keys(tmp_path: Path, before: str, after: str, expected: list[str]) -> None:
    (tmp_path / "x").write_text("planted-1")
    (tmp_path / "y").write_text("planted-2")
    texts = (text.replace("FOLDER", str(tmp_path)) for text in (before, after))
    configurations = [loaded(tmp_path, text, {"B": "planted-3"}).configuration for text in texts]
    found = [key.removeprefix("providers.") for key in changed_keys(*configurations)]

    assert found == expected
    assert "planted" not in str(found)


def test_long_lists_of_changes_are_cut() -> None:
    assert listed(tuple(f"k{n}" for n in range(60))).endswith("k49 and 10 more")
