"""The numbers as Markdown: one table per trace, one of the aims, and for every aim missed by how much and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

from bench.decisions.accounts import Account
from bench.decisions.aims import Finding
from bench.decisions.trace import Data, Trace

ABOUT = Path(__file__).parent / "about.md"
REASONS = Path(__file__).parent / "reasons.yaml"
NOT_EXPLAINED = "**not explained yet**"
HEADINGS = (
    "contender",
    "success",
    "attempts / success",
    "at dead targets",
    "broken",
    "p50 s",
    "p95 s",
    "p99 s",
    "mUSD / answer",
)


class Reason(Data):
    """Why an aim is missed, where all three patterns fit."""

    aim: str
    trace: str
    contender: str
    why: str


def reasons() -> list[Reason]:
    """Returns what is known of why aims are missed. Raises pydantic's ValidationError."""
    return [Reason.model_validate(one) for one in yaml.safe_load(REASONS.read_text(encoding="utf-8"))]


def document(traces: Sequence[Trace], accounts: Sequence[Account], found: Sequence[Finding]) -> str:
    """Returns the whole document."""
    calls = min((one.calls for one in accounts), default=0)
    return (
        ABOUT.read_text(encoding="utf-8")
        .replace("{{calls}}", f"{calls:,}")
        .replace("{{aims}}", "\n".join(aims_table(found)))
        .replace("{{missed}}", "\n".join(missed(found, reasons())))
        .replace("{{traces}}", "\n".join(line for trace in traces for line in trace_part(trace, accounts)))
    )


def trace_part(trace: Trace, accounts: Sequence[Account]) -> list[str]:
    """Returns the lines of one trace: its name, where its numbers are from, and the table."""
    rows = [one for one in accounts if one.trace == trace.name]
    return [f"### {trace.name.capitalize()}", "", trace.source, "", *accounts_table(rows), ""]


def accounts_table(accounts: Iterable[Account]) -> list[str]:
    """Returns a table of accounts."""
    return _table(
        HEADINGS,
        (
            (
                one.contender,
                f"{one.success:.3%}",
                f"{one.attempts_per_success:.3f}",
                f"{one.dead_attempts}",
                f"{one.broken}",
                f"{one.p50_seconds:.2f}",
                f"{one.p95_seconds:.2f}",
                f"{one.p99_seconds:.2f}",
                f"{one.cost_per_answer_usd * 1e3:.3f}",
            )
            for one in accounts
        ),
    )


def aims_table(found: Sequence[Finding]) -> list[str]:
    """Returns how often each aim was reached, with the worst that was seen."""
    by_aim: dict[str, list[Finding]] = {}
    for one in found:
        by_aim.setdefault(one.aim, []).append(one)
    return _table(
        ("aim", "reached", "worst", "where"),
        (
            (aim, f"{sum(one.met for one in each)} of {len(each)}", _value(worst), f"{worst.trace}, {worst.contender}")
            for aim, each in sorted(by_aim.items())
            for worst in [max(each, key=_distance)]
        ),
    )


def missed(found: Sequence[Finding], why: Sequence[Reason]) -> list[str]:
    """Returns a table of the aims that were missed, with the reason of each."""
    rows = [
        (one.trace, one.contender, one.aim, _value(one), _bound(one), explained(one, why))
        for one in found
        if not one.met
    ]
    if not rows:
        return ["None."]
    return _table(("trace", "contender", "aim", "is", "should be", "why"), rows)


def explained(one: Finding, why: Sequence[Reason]) -> str:
    """Returns why an aim is missed."""
    for reason in why:
        patterns = ((one.aim, reason.aim), (one.trace, reason.trace), (one.contender, reason.contender))
        if all(fnmatchcase(text, pattern) for text, pattern in patterns):
            return " ".join(reason.why.split())
    return NOT_EXPLAINED


def _distance(one: Finding) -> float:
    return one.bound - one.value if one.at_least else one.value - one.bound


def _value(one: Finding) -> str:
    return _number(one, one.value)


def _bound(one: Finding) -> str:
    return f"{'at least' if one.at_least else 'at most'} {_number(one, one.bound)}"


def _number(one: Finding, value: float) -> str:
    return f"{value:.3%}" if "success" in one.aim and one.at_least else f"{value:.3f}".rstrip("0").rstrip(".")


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [headings, ["---"] * len(headings), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
