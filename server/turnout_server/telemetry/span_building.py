"""Makes finished spans of what was recorded, as OpenTelemetry's SDK has them. Loaded only where spans are exported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceState

from turnout_server.core.model import NANO_USD, Feedback
from turnout_server.telemetry import conventions as names
from turnout_server.telemetry.call_spans import SAMPLED, AttemptSpan, CallSpan, Decided, Reported
from turnout_server.telemetry.decision_attributes import candidate_attributes, decision_attributes
from turnout_server.telemetry.genai import CHAT, provider_name

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

    from turnout_server.core.model import Usage
    from turnout_server.telemetry.decision_contexts import DecisionContexts

CANDIDATE_EVENTS = 3
"""Candidates whose every factor is told, each in an event of its own."""
REPORTS_MAXIMUM = 16
"""Reports of one call that get a span each; the rest is counted."""

SERVER_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""gRPC codes for which a server's span is an error, by OpenTelemetry's conventions for gRPC; the others are the
caller's own doing."""

_UNSET = Status(StatusCode.UNSET)
_OF_SCHEME: Mapping[str, int] = {"http": 80, "https": 443}


class Spans:
    """Builds spans. `decisions` knows the spans of decisions that reports are linked to."""

    def __init__(
        self, resource: Resource, scope: InstrumentationScope, limits: SpanLimits, decisions: DecisionContexts
    ) -> None:
        self._resource = resource
        self._scope = scope
        self._limits = limits
        self._decisions = decisions

    def of_call(self, call: CallSpan) -> Iterator[ReadableSpan]:
        """Yields the spans of one RPC, its own first."""
        yield self._call(call)
        if call.decision is not None:
            yield self._decision(call, call.decision)
        for attempt in call.attempts:
            yield self.of_attempt(attempt)
        for reported in call.reports[:REPORTS_MAXIMUM]:
            yield self._report(call, reported)

    def of_attempt(self, attempt: AttemptSpan) -> ReadableSpan:
        """Returns the span of one call to a provider."""
        record = attempt.record
        failure = None if record is None or record.failure is None else record.failure.value.lower()
        status = _UNSET
        # A second attempt that is let go because the first was quicker has not failed; nor has one whose caller left.
        if failure is not None and failure != "cancelled":
            status = Status(StatusCode.ERROR, "" if record is None else record.detail)
        model = "" if attempt.spec is None else attempt.spec.target.model
        return self._span(
            f"{CHAT} {model}",
            attempt.call,
            attempt.span_id,
            parent=attempt.call.get_span_context(),
            kind=SpanKind.CLIENT,
            attributes=_present(_attempt_attributes(attempt, failure)),
            status=status,
            times=(attempt.began_ns, attempt.ended_ns),
        )

    def _call(self, call: CallSpan) -> ReadableSpan:
        attributes: dict[str, Any] = {
            **(call.attributes or {}),
            names.RPC_STATUS_CODE: call.code,
        }
        if call.reason:
            attributes[names.ERROR_TYPE] = call.reason
        if call.decision is not None:
            decision = call.decision.decision
            attributes["turnout.decision.id"] = call.decision.decision_id if decision is None else decision.decision_id
        if len(call.reports) > REPORTS_MAXIMUM:
            attributes["turnout.reports.unlisted"] = len(call.reports) - REPORTS_MAXIMUM
        if call.happenings_dropped:
            attributes["turnout.events.unlisted"] = call.happenings_dropped
        return self._span(
            f"{names.SERVICE}/{call.method}",
            call,
            call.span_id,
            parent=call.parent,
            kind=SpanKind.SERVER,
            attributes=attributes,
            status=Status(StatusCode.ERROR, call.reason) if call.code in SERVER_FAULTS else _UNSET,
            events=[self._event(*happening) for happening in call.happenings],
            times=(call.began_ns, call.ended_ns),
        )

    def _decision(self, call: CallSpan, decided: Decided) -> ReadableSpan:
        decision = decided.decision
        first = () if decision is None else decision.candidates[:CANDIDATE_EVENTS]
        return self._span(
            "turnout.decide",
            call,
            decided.span_id,
            parent=call.get_span_context(),
            kind=SpanKind.INTERNAL,
            attributes=decision_attributes(decided),
            events=[
                self._event("turnout.candidate", decided.ended_ns, candidate_attributes(candidate))
                for candidate in first
            ],
            times=(decided.began_ns, decided.ended_ns),
        )

    def _report(self, call: CallSpan, reported: Reported) -> ReadableSpan:
        report = reported.report
        of_decision = self._decisions.get(report.decision_id)
        return self._span(
            "turnout.report",
            call,
            call.new_span_id(),
            parent=call.get_span_context(),
            kind=SpanKind.INTERNAL,
            attributes=_present(_report_attributes(reported)),
            links=() if of_decision is None else (Link(of_decision),),
            times=(call.began_ns, call.ended_ns),
        )

    def _event(self, name: str, at_ns: int, attributes: Any) -> Event:
        limits = self._limits
        return Event(name, _within(attributes, limits.max_event_attributes, limits.max_attribute_length), at_ns)

    def _span(
        self,
        name: str,
        call: CallSpan,
        span_id: int,
        *,
        parent: SpanContext | None,
        kind: SpanKind,
        attributes: Mapping[str, Any],
        times: tuple[int, int],
        status: Status = _UNSET,
        events: Sequence[Event] = (),
        links: Sequence[Link] = (),
    ) -> ReadableSpan:
        limits = self._limits
        return ReadableSpan(
            name=name,
            context=_context(call.trace_id, span_id, call.trace_state),
            parent=parent,
            resource=self._resource,
            attributes=_within(attributes, limits.max_span_attributes, limits.max_span_attribute_length),
            events=events[: limits.max_events],
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


def _context(trace_id: int, span_id: int, trace_state: TraceState | None) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=SAMPLED, trace_state=trace_state)


def _attempt_attributes(attempt: AttemptSpan, failure: str | None) -> Iterable[tuple[str, Any]]:
    record, spec = attempt.record, attempt.spec
    if record is None or spec is None:
        return
    model, response_id, finish_reason = attempt.answer
    host, port = address(spec.base_url)
    yield names.OPERATION_NAME, CHAT
    yield names.PROVIDER_NAME, provider_name(spec.target.provider)
    yield names.REQUEST_MODEL, spec.target.model
    yield names.REQUEST_STREAM, attempt.streaming
    yield names.REQUEST_MAX_TOKENS, attempt.max_output_tokens
    yield names.REQUEST_TEMPERATURE, attempt.temperature
    yield names.RESPONSE_MODEL, model or None
    yield names.RESPONSE_ID, response_id or None
    yield names.RESPONSE_FINISH_REASONS, None if finish_reason is None else (finish_reason.value.lower(),)
    if attempt.streaming:
        yield names.RESPONSE_TIME_TO_FIRST_CHUNK, record.time_to_first_token_seconds
    yield from _usage_attributes(record.usage)
    yield names.SERVER_ADDRESS, host or None
    yield names.SERVER_PORT, port
    yield names.ERROR_TYPE, failure
    yield "http.response.status_code", record.http_status
    yield "turnout.target", spec.name
    yield "turnout.attempt.id", record.attempt_id
    yield "turnout.attempt.number", attempt.number
    yield "turnout.attempt.cost_usd", _usd(record.cost_nano_usd)
    yield "turnout.attempt.retry_reason", record.retry_reason or None
    yield "turnout.attempt.hedge", record.hedge or None
    yield "turnout.attempt.possibly_billed", record.possibly_billed


def _usage_attributes(usage: Usage | None) -> Iterable[tuple[str, Any]]:
    if usage is None:
        return
    yield names.INPUT_TOKENS, usage.input_tokens
    yield names.OUTPUT_TOKENS, usage.output_tokens
    yield names.CACHE_READ_INPUT_TOKENS, usage.cached_input_tokens
    yield names.CACHE_CREATION_INPUT_TOKENS, usage.cache_write_tokens
    yield names.REASONING_OUTPUT_TOKENS, usage.reasoning_tokens


def _report_attributes(reported: Reported) -> Iterable[tuple[str, Any]]:
    report = reported.report
    yield "turnout.decision.id", report.decision_id or None
    yield "turnout.attempt.id", report.attempt_id or None
    yield "turnout.report.result", reported.result
    if isinstance(report, Feedback):
        yield "turnout.report.quality", report.quality
        return
    yield "turnout.target", str(report.target)
    yield names.PROVIDER_NAME, provider_name(report.target.provider)
    yield names.REQUEST_MODEL, report.target.model
    yield names.ERROR_TYPE, None if report.failure is None else report.failure.value.lower()
    yield names.RESPONSE_TIME_TO_FIRST_CHUNK, report.time_to_first_token_seconds
    yield from _usage_attributes(report.usage)
    yield "turnout.report.latency_seconds", report.latency_seconds
    yield "turnout.attempt.cost_usd", _usd(report.cost_nano_usd)


def _present(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Leaves out what is not known."""
    return {name: value for name, value in pairs if value is not None}


def _usd(nano_usd: int | None) -> float | None:
    return None if nano_usd is None else nano_usd / NANO_USD


@lru_cache(maxsize=256)
def address(base_url: str) -> tuple[str, int | None]:
    """Returns host and port of a base URL; the port is the scheme's where the URL has none."""
    try:
        parts = urlsplit(base_url)
        return parts.hostname or "", parts.port or _OF_SCHEME.get(parts.scheme)
    except ValueError:
        return "", None
