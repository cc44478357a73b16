"""What comes and goes beside the messages: the trace context of the caller, and the id of the decision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry import context as trace_context

from turnout_server.api.status import DECISION_KEY
from turnout_server.execution.under_way import decision_under_way
from turnout_server.telemetry.traces.tracing import carrier_of, parse

Metadata = Sequence[tuple[str, str | bytes]]


def adopt_trace(metadata: Metadata | None) -> None:
    """Makes the caller's trace context the current one of this handler.

    Each handler is a task with a context of its own, so that it ends with the handler without being taken back. Most
    calls carry none and pay one look at each key.
    """
    carrier = carrier_of(metadata)
    if carrier is not None:
        trace_context.attach(parse(carrier))


def tell_decision(context: Any, decision_id: str) -> None:
    """Puts the decision's id into the trailing metadata, and into whatever is logged of the call from now on."""
    decision_under_way.set(decision_id)
    context.set_trailing_metadata(((DECISION_KEY, decision_id),))
