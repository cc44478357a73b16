"""The two kinds of exporters: ours, which takes bytes, and any of the SDK's, which encodes spans itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from turnout_server.telemetry.otlp.delivery import Delivery, EncodedExporter
from turnout_server.telemetry.otlp.otlp_encoding import SpanEncoder
from turnout_server.telemetry.traces.span_building import Spans
from turnout_server.telemetry.traces.span_making import ReadableSpans

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, SpanLimits
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    from turnout_server.telemetry.traces.decision_contexts import DecisionContexts

ENCODED_BATCH_SPANS = 2048
"""Encoded spans at once: a batch is joined, not made, when it goes."""
SDK_BATCH_SPANS = 64
"""Spans handed at once to an exporter that encodes them itself, which holds the interpreter for milliseconds."""


class EncodedOutlet:
    """Hands bytes to an exporter of ours."""

    batch_spans_maximum = ENCODED_BATCH_SPANS

    def __init__(
        self,
        exporter: EncodedExporter,
        resource: Resource,
        scope: InstrumentationScope,
        limits: SpanLimits,
        decisions: DecisionContexts,
    ) -> None:
        self._exporter = exporter
        self._encoder = SpanEncoder(resource, scope, limits)
        self.spans = Spans(self._encoder, decisions)

    def size(self, made: bytes) -> int:
        """Returns the bytes that a made span takes."""
        return len(made)

    def deliver(self, batch: Sequence[bytes]) -> Delivery:
        """Sends the spans as one message."""
        return self._exporter.deliver(self._encoder.message(batch), len(batch))

    def shutdown(self) -> None:
        """Ends what is being sent."""
        self._exporter.shutdown()


class SdkOutlet:
    """Hands the SDK's finished spans to an exporter of the SDK's interface."""

    batch_spans_maximum = SDK_BATCH_SPANS

    def __init__(
        self,
        exporter: SpanExporter,
        resource: Resource,
        scope: InstrumentationScope,
        limits: SpanLimits,
        decisions: DecisionContexts,
    ) -> None:
        self._exporter = exporter
        self.spans = Spans(ReadableSpans(resource, scope, limits), decisions)

    def size(self, made: ReadableSpan) -> int:  # noqa: ARG002 - what it takes is not known
        """Returns 0."""
        return 0

    def deliver(self, batch: Sequence[ReadableSpan]) -> Delivery:
        """Exports the spans."""
        if self._exporter.export(batch) is SpanExportResult.SUCCESS:
            return Delivery()
        return Delivery(len(batch), "the exporter took none of them")

    def shutdown(self) -> None:
        """Ends what is being exported."""
        self._exporter.shutdown()
