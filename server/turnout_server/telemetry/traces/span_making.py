"""What a finished span is made into: the SDK's own, for an exporter of the SDK, or OTLP's bytes (`otlp_encoding`).

Which attributes a span has is said in one place for both (`span_building`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, Union

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import SpanContext, Status, StatusCode

from turnout_server.telemetry.traces.call_spans import CallSpan

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanLimits
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link, SpanKind

Made = TypeVar("Made")
Made_co = TypeVar("Made_co", covariant=True)

Parent = Union["SpanContext", "CallSpan", None]
"""What a span stands below: a call's own span, a span of another process, or none."""
Happened = tuple[str, int, Mapping[str, Any] | None]
"""An event of a span: its name, nanoseconds since the epoch, its attributes."""

UNSET = Status(StatusCode.UNSET)


class SpanMaker(Protocol[Made_co]):
    """Makes one span."""

    def span(
        self,
        name: str,
        call: CallSpan,
        span_id: int,
        *,
        parent: Parent,
        kind: SpanKind,
        attributes: Mapping[str, Any],
        times: tuple[int, int],
        status: Status = UNSET,
        events: Sequence[Happened] = (),
        links: Sequence[Link] = (),
    ) -> Made_co:
        """Returns a span of a call's trace. `times` are its beginning and end in nanoseconds since the epoch.

        Raises TypeError for an attribute of a type that attributes cannot have.
        """
        ...


class ReadableSpans:
    """Makes the SDK's finished spans, cut to what the operator has limited."""

    def __init__(self, resource: Resource, scope: InstrumentationScope, limits: SpanLimits) -> None:
        self._resource = resource
        self._scope = scope
        self._limits = limits

    def span(
        self,
        name: str,
        call: CallSpan,
        span_id: int,
        *,
        parent: Parent,
        kind: SpanKind,
        attributes: Mapping[str, Any],
        times: tuple[int, int],
        status: Status = UNSET,
        events: Sequence[Happened] = (),
        links: Sequence[Link] = (),
    ) -> ReadableSpan:
        """Returns a span of a call's trace."""
        limits = self._limits
        most, longest = limits.max_event_attributes, limits.max_attribute_length
        return ReadableSpan(
            name=name,
            context=SpanContext(
                call.trace_id, span_id, is_remote=False, trace_flags=call.trace_flags, trace_state=call.trace_state
            ),
            parent=parent.get_span_context() if isinstance(parent, CallSpan) else parent,
            resource=self._resource,
            attributes=_within(attributes, limits.max_span_attributes, limits.max_span_attribute_length),
            events=[
                Event(what, _within(said, most, longest), at_ns) for what, at_ns, said in events[: limits.max_events]
            ],
            links=links[: limits.max_links],
            kind=kind,
            status=status,
            start_time=times[0],
            end_time=times[1],
            instrumentation_scope=self._scope,
        )


def _within(attributes: Mapping[str, Any] | None, most: int | None, longest: int | None) -> Mapping[str, Any] | None:
    """Cuts what an operator has limited, as the SDK does; where nothing is to be cut, nothing is copied."""
    if attributes is None or (longest is None and (most is None or len(attributes) <= most)):
        return attributes
    return BoundedAttributes(most, attributes, immutable=True, max_value_len=longest)
