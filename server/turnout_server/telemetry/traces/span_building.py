"""Says what spans there are of what was recorded, and all that is in them. Loaded only where spans are exported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic
from urllib.parse import urlsplit

from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from turnout_server.core.candidates import explained
from turnout_server.core.model import NANO_USD, Feedback
from turnout_server.telemetry.genai import CHAT, provider_name
from turnout_server.telemetry.traces import conventions as names
from turnout_server.telemetry.traces.attempt_spans import AttemptSpan
from turnout_server.telemetry.traces.call_spans import CallSpan, Decided, Reported
from turnout_server.telemetry.traces.decision_attributes import candidate_attributes, decision_attributes
from turnout_server.telemetry.traces.span_making import UNSET, Happened, Made

if TYPE_CHECKING:
    from turnout_server.core.model import Usage
    from turnout_server.telemetry.traces.decision_contexts import DecisionContexts
    from turnout_server.telemetry.traces.span_making import SpanMaker

CANDIDATE_EVENTS = 3
"""Candidates whose every factor is told, each in an event of its own."""
OF_CONTENT = (names.OPERATION_NAME, names.PROVIDER_NAME, names.REQUEST_MODEL, names.RESPONSE_MODEL)
"""What an event that tells of content says besides."""
REPORTS_MAXIMUM = 16
"""Reports of one call that get a span each; the rest is counted."""

SERVER_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""gRPC codes for which a server's span is an error, by OpenTelemetry's conventions for gRPC; the others are the
caller's own doing."""

_OF_SCHEME: Mapping[str, int] = {"http": 80, "https": 443}


class Spans(Generic[Made]):
    """Has `maker` make spans. `decisions` knows the spans of decisions that reports are linked to."""

    def __init__(self, maker: SpanMaker[Made], decisions: DecisionContexts) -> None:
        self._span = maker.span
        self._decisions = decisions

    def of_call(self, call: CallSpan) -> Iterator[Made]:
        """Yields the spans of one RPC, its own first."""
        yield self._call(call)
        if call.decision is not None:
            yield self._decision(call, call.decision)
        for hop in call.hops:
            yield self._decision(call, hop)
        for attempt in call.attempts:
            yield self.of_attempt(attempt)
        for reported in call.reports[:REPORTS_MAXIMUM]:
            yield self._report(call, reported)

    def of_attempt(self, attempt: AttemptSpan) -> Made:
        """Returns the span of one call to a provider."""
        record = attempt.record
        failure = None if record is None or record.failure is None else record.failure.value.lower()
        status = UNSET
        # A second attempt that is let go because the first was quicker has not failed; nor has one whose caller left.
        if failure is not None and failure != "cancelled":
            status = Status(StatusCode.ERROR, "" if record is None else record.detail)
        model = "" if attempt.spec is None else attempt.spec.target.model
        attributes, content = _present(_attempt_attributes(attempt, failure)), attempt.content
        events: list[Happened] = []
        if content is not None:
            said = content.attributes(attempt.answer[2])
            if content.where.in_event:
                about = {name: attributes[name] for name in OF_CONTENT if name in attributes}
                events.append((content.event_name, attempt.ended_ns, {**about, **said}))
            if content.where.in_span:
                attributes.update(said)
        return self._span(
            f"{CHAT} {model}",
            attempt.call,
            attempt.span_id,
            parent=attempt.call,
            kind=SpanKind.CLIENT,
            attributes=attributes,
            status=status,
            events=events,
            times=(attempt.began_ns, attempt.ended_ns),
        )

    def _call(self, call: CallSpan) -> Made:
        attributes: dict[str, Any] = {
            **(call.attributes or {}),
            names.RPC_STATUS_CODE: call.code,
        }
        if call.reason:
            attributes[names.ERROR_TYPE] = call.reason
        if call.decision is not None:
            decision = call.decision.decision
            attributes["turnout.decision.id"] = call.decision.decision_id if decision is None else decision.decision_id
        if call.cached or call.joined:
            attributes["turnout.answer.cached"] = call.cached
            attributes["turnout.answer.joined"] = call.joined
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
            status=_status(call),
            events=call.happenings,
            links=self._links(call),
            times=(call.began_ns, call.ended_ns),
        )

    def _links(self, call: CallSpan) -> Sequence[Link]:
        """Returns what an RPC's own span is linked to: the decision of the earlier request whose answer it got, and
        those of reports that have no span of their own.
        """
        ids = [report.decision_id for report, _ in call.reports[REPORTS_MAXIMUM:]]
        decided = call.decision
        if decided is not None and decided.decision is not None:
            decision_id = decided.decision.decision_id
            if self._decisions.is_elsewhere(decision_id, decided.span_id):
                ids.append(decision_id)
        return [link for decision_id in dict.fromkeys(ids) for link in self._link(decision_id)]

    def _link(self, decision_id: str) -> Sequence[Link]:
        of_decision = self._decisions.get(decision_id)
        return () if of_decision is None else (Link(of_decision, {"turnout.decision.id": decision_id}),)

    def _decision(self, call: CallSpan, decided: Decided) -> Made:
        decision = decided.decision
        attributes, status = decision_attributes(decided), UNSET
        if decision is None:
            # It is what the RPC failed for.
            attributes[names.ERROR_TYPE] = call.reason
            status = _status(call)
        first = () if decision is None else explained(decision.candidates, CANDIDATE_EVENTS)
        return self._span(
            "turnout.decide",
            call,
            decided.span_id,
            parent=call,
            kind=SpanKind.INTERNAL,
            attributes=attributes,
            status=status,
            events=[("turnout.candidate", decided.ended_ns, candidate_attributes(candidate)) for candidate in first],
            times=(decided.began_ns, decided.ended_ns),
        )

    def _report(self, call: CallSpan, reported: Reported) -> Made:
        return self._span(
            "turnout.report",
            call,
            call.new_span_id(),
            parent=call,
            kind=SpanKind.INTERNAL,
            attributes=_present(_report_attributes(reported)),
            links=self._link(reported.report.decision_id),
            times=(call.began_ns, call.ended_ns),
        )


def _status(call: CallSpan) -> Status:
    return Status(StatusCode.ERROR, call.reason) if call.code in SERVER_FAULTS else UNSET


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
    yield "turnout.region", spec.region or None
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
