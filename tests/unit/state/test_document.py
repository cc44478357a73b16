"""A state as a document: what comes back of it, and what is refused although its form and its checksum are right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from turnout_server.core.kept import AgesLine, CredentialLine, Line
from turnout_server.state.document import LINE_MAXIMUM_BYTES, document, exported, read_document
from turnout_server.state.files import UnusableError
from turnout_server.state.lines import KINDS

NOW, NOW_WALL = 1000.0, 1_800_000_000.0
NAME = {"provider": "p", "model": "m", "endpoint": "default", "address": "0" * 16}
BUDGET = {"name": "b", "scope": "user", "period": "day", "timezone": "UTC", "starts_at": 1.0, "ends_at": None}
GATE: dict[str, Any] = {"opened_age": 1.0, "openings": 1, "successes": 0, "reopen_wait": -2.0}
TIMES = [[80, 3, 238, 1], 6.5, 0.5, 3.0]
COUNTS = [5, 4, {"TIMEOUT": 1}, TIMES, TIMES, 10, 20, 20, 3.0, 10**17, 5, 1, 0.5]
PEAK = {"mean": 1.0, "weight": 5.0, "excess": 0.0, "half_life": 60.0, "age": -0.001}
LATENCY = {
    "first": PEAK,
    "token": PEAK,
    "first_recent": [1.0],
    "recent": [0.1],
    "ages": [1.0],
    "sample_count": 1,
}
TARGET = {
    "name": NAME,
    "availability": {"value": 3.0, "weight": 4.0, "age": 1.0},
    "latency": LATENCY,
    "throttle": [[0, 5, 1, 0]],
    "usual": [["latency", 0, -1.5, 40, 3.0]],
}
GOOD: dict[str, dict[str, Any]] = {
    "ages": {"watched": 5.0, "chronicle": 5.0},
    "budget": {"budget": BUDGET, "since_wall": 1.0, "accounts": [["x", 10**17, [0.5]]], "other": [3, []]},
    "spent": {"budget": BUDGET, "key": "x", "spent_nano_usd": 5},
    "breaker": {"name": NAME, "gate": GATE, "recent": [[-1, 5, 2, 0]]},
    "endpoint": {"name": NAME, "gate": GATE, "failures": [{"age": 2.0, "kind": "TIMEOUT", "model": "m"}]},
    "target": TARGET,
    "statistics": {"name": NAME, "minutes": [[0, COUNTS]]},
    "learned": {"ratios": [["p", "m", 100.0, 25.0]], "lengths": [["", "p", "m", 50.0, 2.0]]},
    "affinity": {"names": [NAME], "rows": [["t", "k", "", 0, 0.5, 3.0]]},
    "costs": {"day": 20_000, "rows": [[["p", "m", ""], "", "", "t", 10**17, 5, 3, 1]]},
    "sums": {"ago": 15, "minutes": 15, "rows": [[None, "", "", "", [1, 1, 0.0, 0.0, 0, COUNTS]]], "failed_costs": [7]},
}


def read(**changed: dict[str, Any]) -> list[Any]:
    lines = {**GOOD, **changed}
    chunks = [orjson.dumps([0, NOW_WALL - 5.0, kind, content]) + b"\n" for kind, content in lines.items()]
    return [aged.line for aged in read_document(document(chunks), now=NOW, now_wall=NOW_WALL)]


def counts(place: int, value: object) -> list[Any]:
    return [*COUNTS[:place], value, *COUNTS[place + 1 :]]


def minute(place: int, value: object) -> dict[str, Any]:
    return {"name": NAME, "minutes": [[0, counts(place, value)]]}


BAD: dict[str, tuple[str, Callable[[], dict[str, Any]], str]] = {
    "an age that is no number": ("ages", lambda: {"watched": "nan", "chronicle": 5.0}, "the number nan"),
    "an endless age": ("ages", lambda: {"watched": "inf", "chronicle": 5.0}, "the number inf"),
    "a weight that never fades": (
        "target",
        lambda: {**TARGET, "availability": {"value": 1.0, "weight": 1e17, "age": 0.0}},
        "an average of 1e+17 values",
    ),
    "a mean that never changes": (
        "target",
        lambda: {**TARGET, "latency": {**LATENCY, "first": {**PEAK, "half_life": 1e17}}},
        "an average that would never change",
    ),
    "refusals below zero": ("target", lambda: {**TARGET, "throttle": [[0, 5, -4, 0]]}, "the count -4"),
    "rows without end": ("target", lambda: {**TARGET, "throttle": [[0, 0, 0, 0]] * 5000}, "5000 rows at one place"),
    "failures below zero": ("breaker", lambda: {"name": NAME, "gate": GATE, "recent": [[1, 5, -2, 0]]}, "the count -2"),
    "openings below zero": ("breaker", lambda: {"name": NAME, "gate": {**GATE, "openings": -1}}, "a count below 0"),
    "more successes than attempts": ("statistics", lambda: minute(1, 6), "more successes than attempts"),
    "a duration longer than any": ("statistics", lambda: minute(3, [[239, 1], 1.0, 1.0, 1.0]), "no length there is"),
    "half a row of durations": ("statistics", lambda: minute(3, [[80], 1.0, 1.0, 1.0]), "no length there is"),
    "tokens that fit into no message": ("statistics", lambda: minute(5, 2**63), "the number"),
    "failures of a kind below zero": ("statistics", lambda: minute(2, {"TIMEOUT": -1}), "the count -1"),
    "an hour of too many minutes": (
        "statistics",
        lambda: {"name": NAME, "minutes": [[ago, COUNTS] for ago in range(70)]},
        "70 minutes of one hour",
    ),
    "money below zero": ("budget", lambda: {**GOOD["budget"], "accounts": [["x", -1, []]]}, "the count -1"),
    "money of others below zero": ("budget", lambda: {**GOOD["budget"], "other": [-1, []]}, "the count -1"),
    "more accounts than there are": (
        "budget",
        lambda: {**GOOD["budget"], "accounts": [["x", 1, []]] * 10_002},
        "10002 rows at one place",
    ),
    "a settlement below zero": ("spent", lambda: {**GOOD["spent"], "spent_nano_usd": -5}, "the count -5"),
    "a day of no year of ours": ("costs", lambda: {"day": 10**7}, "the count 1e+07"),
    "a day that cost less than nothing": (
        "costs",
        lambda: {"day": 1, "rows": [[None, "", "", "", -1, 0, 0, 0]]},
        "the count -1",
    ),
    "sums of no minutes": ("sums", lambda: {**GOOD["sums"], "minutes": 0}, "sums of 0 minutes"),
    "costs of failures below zero": ("sums", lambda: {**GOOD["sums"], "failed_costs": [-7]}, "the count -7"),
    "a word as long as a book": (
        "affinity",
        lambda: {"names": [NAME], "rows": [["t", "k" * 5000, "", 0, 0.5, 3.0]]},
        "a text of 5000 characters",
    ),
    "a line as long as a document": (
        "learned",
        lambda: {"ratios": [["p", "m" * LINE_MAXIMUM_BYTES, 1.0, 1.0]]},
        "lines that this version does not know",
    ),
}


def test_all_kinds_of_lines_come_back() -> None:
    assert {*GOOD, "credential"} == set(KINDS)
    assert [type(line).__name__.removesuffix("Line").lower() for line in read()] == list(GOOD)


@pytest.mark.parametrize("name", BAD)
def test_what_no_sidecar_has_ever_seen_is_refused_and_named(name: str) -> None:
    kind, content, says = BAD[name]
    with pytest.raises(UnusableError) as caught:
        read(**{kind: content()})

    assert says in str(caught.value)
    assert f"line {list(GOOD).index(kind) + 1}" in str(caught.value)


def test_what_is_known_of_keys_is_not_written_and_the_past_only_where_it_is_wanted() -> None:
    lines: list[Line] = [CredentialLine("p", "key"), AgesLine(1.0, 2.0)]

    assert list(exported(lines, NOW_WALL, with_past=False)) == []
    assert len(list(exported(lines, NOW_WALL, with_past=True))) == 1
