"""Spans in OTLP's binary form, made straight from what they are to say: equal to what the SDK's encoder makes of them.

Field numbers are those of opentelemetry/proto/trace/v1, common/v1 and resource/v1 (version 1.x, which is stable).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import islice
from struct import Struct
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import Link, SpanKind, Status, StatusCode, TraceState

from turnout_server.telemetry.otlp.otlp_values import Attributes, Varints, field, text, varint
from turnout_server.telemetry.traces.span_making import UNSET, Happened, Parent

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanLimits
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    from turnout_server.telemetry.traces.call_spans import CallSpan

_SPANS = b"\x12"
"""What each span begins with as a field of its scope."""
_IDENTITY = Struct(">2s16s2sQ").pack
_PARENT = Struct(">2sQ").pack
_TIMES = Struct("<BQBQ").pack
_MOMENT = Struct("<BQ").pack
_KINDS = {
    SpanKind.INTERNAL: b"\x30\x01",
    SpanKind.SERVER: b"\x30\x02",
    SpanKind.CLIENT: b"\x30\x03",
    SpanKind.PRODUCER: b"\x30\x04",
    SpanKind.CONSUMER: b"\x30\x05",
}
_FLAGS, _REMOTE_FLAGS = b"\x00\x01\x00\x00", b"\x00\x03\x00\x00"
"""Flags of a span and of a link: it is known whether the parent's process is another one; it is another one."""
_NO_STATUS = b"\x7a\x00"
_VARINTS = Varints()


class SpanEncoder:
    """Makes each span the bytes that it is sent as, and a message of many such spans.

    All spans are of one resource and one scope, which are written once.
    """

    def __init__(self, resource: Resource, scope: InstrumentationScope, limits: SpanLimits) -> None:
        self._limits = limits
        self._of_spans, self._of_events, self._of_links = Attributes(0x4A), Attributes(0x1A), Attributes(0x22)
        self._resource = field(0x0A, Attributes(0x0A).written(resource.attributes)) + _url(resource.schema_url)
        self._scope = _scope(scope) + _url(scope.schema_url)

    def message(self, spans: Sequence[bytes]) -> bytes:
        """Returns an ExportTraceServiceRequest of spans that were made here."""
        length = len(self._scope) + sum(map(len, spans))
        of_scope = b"\x12" + varint(length) + self._scope
        return b"".join(
            (
                b"\x0a",
                varint(len(self._resource) + len(of_scope) - len(self._scope) + length),
                self._resource,
                of_scope,
                *spans,
            )
        )

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
    ) -> bytes:
        """Returns a span of a call's trace, cut to what the operator has limited."""
        limits = self._limits
        said = _cut(attributes, limits.max_span_attributes, limits.max_span_attribute_length)
        parts = [
            _IDENTITY(b"\x0a\x10", call.trace_id.to_bytes(16, "big"), b"\x12\x08", span_id),
            b"" if call.trace_state is None else _trace_state(call.trace_state),
            b"" if parent is None else _PARENT(b"\x22\x08", parent.span_id),
            _name(name),
            _KINDS[kind],
            _TIMES(0x39, times[0], 0x41, times[1]),
        ]
        self._of_spans.write(said, parts)
        if said is not attributes:
            parts.append(_count(0x50, len(attributes) - len(said)))
        for event in events[: limits.max_events]:
            self._event(event, parts)
        parts += [self._link(link) for link in links[: limits.max_links]]
        parts.append(_NO_STATUS if status is UNSET else _status(status))
        parts.append(b"\x85\x01")
        parts.append(_flags(parent))
        return _joined(_SPANS, parts)

    def _event(self, event: Happened, of_span: list[bytes]) -> None:
        name, at_ns, attributes = event
        limits = self._limits
        said = _cut(attributes or {}, limits.max_event_attributes, limits.max_attribute_length)
        parts = [_MOMENT(0x09, at_ns), _event_name(name)]
        self._of_events.write(said, parts)
        if attributes is not None and len(said) < len(attributes):
            parts.append(_count(0x20, len(attributes) - len(said)))
        of_span.append(_joined(b"\x5a", parts))

    def _link(self, link: Link) -> bytes:
        context = link.context
        parts = [_IDENTITY(b"\x0a\x10", context.trace_id.to_bytes(16, "big"), b"\x12\x08", context.span_id)]
        self._of_links.write(link.attributes, parts)
        parts += [_count(0x28, link.dropped_attributes), b"\x35", _flags(context)]
        return _joined(b"\x6a", parts)


def _cut(attributes: Mapping[str, Any], most: int | None, longest: int | None) -> Mapping[str, Any]:
    """Returns the last `most` attributes, their texts cut, as the SDK does it, which logs a line for each of them."""
    if longest is None and (most is None or len(attributes) <= most):
        return attributes
    kept = islice(attributes.items(), 0 if most is None else max(0, len(attributes) - most), None)
    return {name: _shortened(value, longest) for name, value in kept}


def _shortened(value: Any, longest: int | None) -> Any:
    if isinstance(value, str):
        return value[:longest]
    if isinstance(value, Sequence):
        return [_shortened(one, longest) for one in value]
    return value


def _scope(scope: InstrumentationScope) -> bytes:
    version = text(0x12, scope.version) if scope.version else b""
    return field(0x0A, text(0x0A, scope.name) + version + Attributes(0x1A).written(scope.attributes))


def _url(schema: str | None) -> bytes:
    return text(0x1A, schema) if schema else b""


def _joined(before: bytes, parts: list[bytes]) -> bytes:
    content = b"".join(parts)
    return b"".join((before, _VARINTS[len(content)], content))


def _flags(context: Parent) -> bytes:
    return _REMOTE_FLAGS if context is not None and context.is_remote else _FLAGS


def _status(status: Status) -> bytes:
    description = text(0x12, status.description) if status.description else b""
    return field(0x7A, description + _count(0x18, _CODES[status.status_code]))


_CODES = {code: code.value for code in StatusCode}


def _trace_state(state: TraceState) -> bytes:
    return text(0x1A, ",".join([f"{key}={value}" for key, value in state.items()])) if state else b""


def _count(before: int, count: int) -> bytes:
    """A number that is left out where it is 0, as the format has it."""
    return bytes((before,)) + varint(count) if count else b""


@lru_cache(maxsize=1024)
def _name(name: str) -> bytes:
    return text(0x2A, name)


@lru_cache(maxsize=1024)
def _event_name(name: str) -> bytes:
    return text(0x12, name)
