"""What becomes of a message to a collector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from turnout_server.telemetry.traces.span_building import Spans

from turnout_server.telemetry.traces.span_making import Made

REASON_CHARACTERS = 200
"""What is kept of a collector's own words."""


class Delivery(NamedTuple):
    """How many spans were not taken, in the end, and why; and what the collector asked to wait before the next."""

    rejected: int = 0
    reason: str = ""
    pause_seconds: float = 0.0


@runtime_checkable
class EncodedExporter(Protocol):
    """Takes spans in OTLP's binary form. It is called in a thread of its own, which may wait."""

    def deliver(self, message: bytes, span_count: int) -> Delivery:
        """Sends an ExportTraceServiceRequest of so many spans, more than once where that helps."""
        ...

    def shutdown(self) -> None:
        """Ends what is being sent, from another thread, and lets go of the collector."""
        ...


class Outlet(Protocol[Made]):
    """One kind of exporter: what spans are made into for it, and how they are handed over."""

    spans: Spans[Made]
    batch_spans_maximum: int
    """Spans handed over at once, whatever the environment says."""

    def size(self, made: Made) -> int:
        """Returns the bytes that a made span takes, 0 where that is not known."""
        ...

    def deliver(self, batch: Sequence[Made]) -> Delivery:
        """Hands spans over; in a thread of its own."""
        ...

    def shutdown(self) -> None:
        """Ends what is being handed over."""
        ...
