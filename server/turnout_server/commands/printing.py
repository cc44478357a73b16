"""How commands print: protobuf as JSON with the contract's names, and columns that line up."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from turnout.answer import target_name
from turnout.v1 import router_pb2 as pb
from turnout_server.telemetry.logs.terminal import escaped

FORMULA_BEGINS = ("=", "+", "-", "@")
"""What spreadsheets take for the beginning of a formula. Amounts are never below 0."""


def as_dict(message: Message) -> dict[str, Any]:
    """Returns a message as JSON values, with the names of the contract and with what is absent left out."""
    return MessageToDict(message, preserving_proto_field_name=True)


def print_json(value: Message | dict[str, Any], *, lines: bool = False) -> None:
    """Prints one JSON document, on a single line where several follow each other."""
    data = as_dict(value) if isinstance(value, Message) else value
    text = json.dumps(data, indent=None if lines else 2, ensure_ascii=False)
    click.echo("\n".join(map(escaped, text.split("\n"))))


def print_columns(rows: Sequence[Sequence[str]], *, indent: str = "") -> None:
    """Prints rows of cells, the first row being the headings; numbers are not aligned, they are short."""
    for line in columns(rows):
        click.echo(indent + line)


def print_csv(rows: Iterable[Iterable[object]]) -> None:
    """Prints rows of cells as CSV, the first row being the headings.

    No terminal obeys them, and no spreadsheet: a text that it would take for a formula stands behind an apostrophe.
    """
    # Ends of lines are the terminal's here, as with everything else that is printed.
    csv.writer(sys.stdout, lineterminator="\n").writerows(map(_csv_cell, row) for row in rows)


def _csv_cell(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    text = printable(cell)
    return f"'{text}" if len(text) > 1 and text.startswith(FORMULA_BEGINS) else text


def printable(text: str) -> str:
    """Returns a text without anything that a terminal would obey: tasks, labels and ids are callers' words."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yields rows of cells as lines that line up, `printable`."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def enum_word(kind: Any, value: int) -> str:
    """Returns an enum's value without the enum's name: STRATEGY_COST is COST; "-" for unspecified."""
    if not value:
        return "-"
    names = kind.values()
    if value not in names:
        return str(value)
    zero, name = str(kind.Name(0)), str(kind.Name(value))
    return name.removeprefix(zero.removesuffix("UNSPECIFIED"))


def seconds(duration: Duration) -> str:
    """Returns a duration for people."""
    value = duration.seconds + duration.nanos / 1e9
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def usd(value: float) -> str:
    """Returns an amount for people; requests cost fractions of a cent."""
    return f"${value:.2f}" if value >= 1 else f"${value:.6f}".rstrip("0").rstrip(".")


def tokens_text(usage: pb.Usage | None) -> str:
    """Returns input and output tokens, as in 18+48; "?" for what is not known, "-" where neither is."""
    if usage is None:
        return "-"
    given = str(usage.input_tokens) if usage.HasField("input_tokens") else "?"
    taken = str(usage.output_tokens) if usage.HasField("output_tokens") else "?"
    return "-" if given == taken == "?" else f"{given}+{taken}"


def print_decision(decision: pb.Decision) -> None:
    """Prints a decision: the reason, the candidates with their factors, the rejections with theirs."""
    click.echo(decision.reason)
    click.echo(
        f"decision {decision.decision_id}  strategy {enum_word(pb.Strategy, decision.strategy)}  "
        f"policy {decision.policy} ({decision.policy_version})  confidence {decision.confidence:.2f}"
    )
    if decision.policy_rule:
        click.echo(f"policy {decision.policy} was chosen by {decision.policy_rule}")
    if decision.candidates:
        rows: list[tuple[str, ...]] = [("CANDIDATE", "SCORE", "SHARE", "LATENCY", "COST", "HEALTH", "FACTORS")]
        rows += [_candidate_row(candidate) for candidate in decision.candidates]
        print_columns(rows)
    if decision.rejections:
        rejected = [("REJECTED", "REASONS", "DETAIL")]
        for rejection in decision.rejections:
            reasons = ", ".join(enum_word(pb.RejectionReason, reason) for reason in rejection.reasons)
            rejected.append((target_name(rejection.target), reasons, rejection.detail))
        print_columns(rejected)
    elif decision.rejection_counts:
        counts = ", ".join(f"{reason} {count}" for reason, count in sorted(decision.rejection_counts.items()))
        click.echo(f"rejected: {counts}")


def _candidate_row(candidate: pb.Candidate) -> tuple[str, ...]:
    cost = usd(candidate.expected_cost_usd) if candidate.HasField("expected_cost_usd") else "unknown"
    factors = " ".join(f"{name}={value:.2f}" for name, value in sorted(candidate.factors.items()))
    name = target_name(candidate.target) + (" (probe)" if candidate.HasField("probe") else "")
    return (
        name,
        f"{candidate.score:.3f}",
        f"{candidate.share:.0%}",
        seconds(candidate.expected_latency),
        cost,
        enum_word(pb.HealthState, candidate.health),
        factors,
    )
