"""The spans of decisions, so that a later report can be linked to the one that it is of."""

from __future__ import annotations

from collections import OrderedDict

from opentelemetry.trace import SpanContext

from turnout_server.telemetry.traces.call_spans import SAMPLED

DECISIONS_MAXIMUM = 16_384
"""Decisions remembered, newest first: about 4 MB. A report of an older one has no link, and its decision's id still."""


class DecisionContexts:
    """Remembers where decisions stand in their traces, by the decision's id."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def add(self, decision_id: str, trace_id: int, span_id: int) -> None:
        """Remembers the span of a decision, the first one: requests that share its answer tell it again.

        The caller's `tracestate`, up to 8 KiB that it chooses, is not kept: a link needs none.
        """
        if decision_id in self._known:
            return
        self._known[decision_id] = (trace_id, span_id)
        if len(self._known) > DECISIONS_MAXIMUM:
            self._known.popitem(last=False)

    def is_elsewhere(self, decision_id: str, span_id: int) -> bool:
        """Tells whether a decision is known, and its span is not the one given."""
        found = self._known.get(decision_id)
        return found is not None and found[1] != span_id

    def get(self, decision_id: str) -> SpanContext | None:
        """Returns the identity of a decision's span, None where it was not traced, or is too old."""
        found = self._known.get(decision_id)
        if found is None:
            return None
        return SpanContext(*found, is_remote=False, trace_flags=SAMPLED)
