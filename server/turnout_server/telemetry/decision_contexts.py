"""The spans of decisions, so that a later report can be linked to the one that it is of."""

from __future__ import annotations

from collections import OrderedDict

from opentelemetry.trace import SpanContext, TraceState

from turnout_server.telemetry.call_spans import SAMPLED

DECISIONS_MAXIMUM = 16_384
"""Decisions remembered, newest first: about 4 MB. A report of an older one has no link, and its decision's id still."""


class DecisionContexts:
    """Remembers where decisions stand in their traces, by the decision's id."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[int, int, TraceState | None]] = OrderedDict()

    def add(self, decision_id: str, trace_id: int, span_id: int, trace_state: TraceState | None) -> None:
        """Remembers the span of a decision."""
        self._known[decision_id] = (trace_id, span_id, trace_state)
        if len(self._known) > DECISIONS_MAXIMUM:
            self._known.popitem(last=False)

    def get(self, decision_id: str) -> SpanContext | None:
        """Returns the identity of a decision's span, None where it was not traced, or is too old."""
        found = self._known.get(decision_id)
        if found is None:
            return None
        trace_id, span_id, trace_state = found
        return SpanContext(trace_id, span_id, is_remote=False, trace_flags=SAMPLED, trace_state=trace_state)
