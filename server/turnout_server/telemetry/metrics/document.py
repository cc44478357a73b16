"""Prints the table of docs/metrics.md: `python -m turnout_server.telemetry.metrics.document`."""

from __future__ import annotations

import sys

from turnout_server.telemetry.metrics.instruments import (
    INSTRUMENTS,
    Instrument,
    Kind,
    Profile,
    prometheus_label,
)


def metrics_table() -> str:
    """Returns all instruments as a table in Markdown."""
    rows = ["| On `/metrics` | Over OTLP | Labels | Tells |", "|---|---|---|---|"]
    rows += [_row(each) for each in INSTRUMENTS]
    return "\n".join(rows) + "\n"


def _row(each: Instrument) -> str:
    suffix = "_total" if each.kind is Kind.COUNTER else ""
    kept = each.labels_in(Profile.SMALL)
    labels = ", ".join(
        f"`{prometheus_label(label)}`" if label in kept else f"*`{prometheus_label(label)}`*" for label in each.labels
    )
    told = each.help if each.in_small else f"{each.help} *Full only.*"
    otlp = f"`{each.name}` {each.kind.value}" + (f", {each.unit}" if each.unit else "")
    return f"| `{each.prometheus_name}{suffix}` | {otlp} | {labels} | {told} |"


if __name__ == "__main__":
    sys.stdout.write(metrics_table())
