"""Finished spans of what was recorded: the SDK's own type, within the SDK's own limits."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import StatusCode

from turnout_server.core.call import AttemptRecord
from turnout_server.core.candidates import Candidates
from turnout_server.core.chat import ChatInput
from turnout_server.core.decision import Decision, Rejection
from turnout_server.core.fleet import Fleet, TargetSpec
from turnout_server.core.model import (
    Complexity,
    FailureKind,
    Outcome,
    RejectionReason,
    RouteQuery,
    Strategy,
    Target,
    Usage,
)
from turnout_server.core.settings import Settings
from turnout_server.ports import UpstreamCall
from turnout_server.router import Router
from turnout_server.telemetry.metrics.metrics import Metrics
from turnout_server.telemetry.traces.attempt_spans import AttemptSpan
from turnout_server.telemetry.traces.call_spans import CallSpan, Reported
from turnout_server.telemetry.traces.decision_contexts import DECISIONS_MAXIMUM, DecisionContexts
from turnout_server.telemetry.traces.span_building import Spans, address
from turnout_server.telemetry.traces.span_making import ReadableSpans


def spans(limits: SpanLimits | None = None) -> Spans[ReadableSpan]:
    resource = Resource({"service.name": "turnout"})
    maker = ReadableSpans(resource, InstrumentationScope("turnout"), limits or SpanLimits())
    return Spans(maker, DecisionContexts())


def call(late: list[AttemptSpan] | None = None) -> CallSpan:
    ids = iter(range(2, 100))
    return CallSpan(
        "Execute",
        trace_id=1,
        new_span_id=lambda: next(ids),
        parent=None,
        trace_state=None,
        attributes={"rpc.system.name": "grpc"},
        on_decided=lambda *_: None,
        on_finish=lambda _: None,
        on_late_attempt=([] if late is None else late).append,
    )


def spec(number: int = 0, base_url: str = "https://alpha.example/v1") -> TargetSpec:
    target = Target("alpha", f"model-{number}")
    return TargetSpec(target=target, wire="openai", base_url=base_url, name=str(target), needs_credential=False)


def attempted(span: CallSpan, **facts: object) -> AttemptSpan:
    attempt = span.attempt()
    attempt.asked(UpstreamCall(spec=spec(), credential="", chat=ChatInput(messages=())), streaming=False)
    record = AttemptRecord(target=spec().target, attempt_id="a-1", started_at_wall=1.0, **facts)  # type: ignore[arg-type]
    attempt.ended(record, None)
    return attempt


def decided(count: int) -> Decision:
    """A decision over so many targets, by a real router."""
    router = Router(
        Fleet(tuple(map(spec, range(count)))),
        Settings(),
        clock=lambda: 100.0,
        wall=lambda: 1_000.0,
        rng=random.Random(1),
        new_id=lambda: "d-1",
        on_event=lambda _: None,
        instruments=Metrics(),
    )
    return router.deciding.route(RouteQuery())


def attributes(span: ReadableSpan) -> Mapping[str, object]:
    return dict(span.attributes or {})


def test_a_decision_over_many_targets_lists_fifty_and_counts_the_rest() -> None:
    span = call()
    decision = decided(120)
    span.decided(decision)
    span.finish()

    _, decide = spans().of_call(span)

    said = attributes(decide)
    for name in ("targets", "scores", "expected_seconds", "expected_cost_usd", "health"):
        assert len(said[f"turnout.candidates.{name}"]) == 50  # type: ignore[arg-type]
    assert said["turnout.candidates.unlisted"] == 70
    # What is read in short is what the candidates themselves say; a price that nobody knows is -1.
    first = decision.candidates[0]
    assert said["turnout.candidates.targets"] == [each.spec.name for each in decision.candidates[:50]]
    assert said["turnout.candidates.scores"] == [each.score for each in decision.candidates[:50]]
    assert said["turnout.candidates.expected_seconds"] == [
        each.expected_latency_seconds for each in decision.candidates[:50]
    ]
    assert said["turnout.candidates.health"] == [each.health.value for each in decision.candidates[:50]]
    assert said["turnout.candidates.expected_cost_usd"] == [-1.0] * 50
    assert [event.name for event in decide.events] == ["turnout.candidate"] * 3
    factors = {f"turnout.candidate.factor.{name}": value for name, value in first.factors.items()}
    assert factors
    assert dict(decide.events[0].attributes or {}).items() >= factors.items()


def test_every_reason_against_a_target_is_told() -> None:
    span = call()
    reasons = (RejectionReason.CAPABILITY, RejectionReason.BREAKER_OPEN)
    span.undecided("d-1", "nobody can", [Rejection(Target("alpha", f"m-{n}"), reasons) for n in range(60)])
    span.failed("UNAVAILABLE", "ALL_TARGETS_UNAVAILABLE")
    span.finish()

    whole, decide = spans().of_call(span)

    assert attributes(decide)["turnout.rejections.reasons"] == ["CAPABILITY,BREAKER_OPEN"] * 50
    assert attributes(decide)["turnout.rejections.unlisted"] == 10
    assert attributes(decide)["turnout.decision.reason"] == "nobody can"
    assert whole.status.status_code is StatusCode.ERROR


def test_an_attempt_that_outlives_its_call_is_handed_on_alone() -> None:
    late: list[AttemptSpan] = []
    span = call(late)
    attempt = span.attempt()
    span.finish()
    attempt.asked(UpstreamCall(spec=spec(), credential="", chat=ChatInput(messages=())), streaming=True)
    attempt.ended(AttemptRecord(target=spec().target, attempt_id="a-1", started_at_wall=1.0), None)

    assert late == [attempt]
    assert not span.attempts
    built = spans().of_attempt(attempt)
    assert built.parent == span.get_span_context()


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (None, StatusCode.UNSET),
        (FailureKind.TIMEOUT, StatusCode.ERROR),
        (FailureKind.CANCELLED, StatusCode.UNSET),
    ],
)
def test_only_what_failed_is_an_error(failure: FailureKind | None, status: StatusCode) -> None:
    span = call()
    built = spans().of_attempt(attempted(span, failure=failure, detail="why"))

    assert built.status.status_code is status
    assert attributes(built).get("error.type") == (None if failure is None else failure.value.lower())


def test_cached_tokens_and_cost_are_told() -> None:
    usage = Usage(input_tokens=100, output_tokens=20, cached_input_tokens=60, cache_write_tokens=10, reasoning_tokens=5)
    built = spans().of_attempt(attempted(call(), usage=usage, cost_nano_usd=1_500_000, hedge=True))

    assert (
        attributes(built).items()
        >= {
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 20,
            "gen_ai.usage.cache_read.input_tokens": 60,
            "gen_ai.usage.cache_creation.input_tokens": 10,
            "gen_ai.usage.reasoning.output_tokens": 5,
            "turnout.attempt.cost_usd": 0.0015,
            "turnout.attempt.hedge": True,
        }.items()
    )
    assert not [value for value in attributes(built).values() if value is None]


def test_limits_of_the_environment_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "3")
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "5")
    monkeypatch.setenv("OTEL_SPAN_EVENT_COUNT_LIMIT", "1")
    span = call()
    span.decided(decided(4))
    span.finish()

    _, decide = spans(SpanLimits()).of_call(span)

    assert len(attributes(decide)) == 3
    assert decide.dropped_attributes > 0
    assert all(len(str(value)) <= 5 for value in attributes(decide).values() if isinstance(value, str))
    assert len(decide.events) == 1


def test_reports_beyond_the_bound_are_counted() -> None:
    span = call()
    outcome = Outcome(target=spec().target, decision_id="d-1", attempt_id="a-1")
    span.reported([Reported(outcome, "accepted")] * 20)
    span.answered()
    span.finish()

    whole, *reports = spans().of_call(span)

    assert len(reports) == 16
    assert attributes(whole)["turnout.reports.unlisted"] == 4


def test_the_oldest_decisions_are_forgotten() -> None:
    known = DecisionContexts()
    for number in range(DECISIONS_MAXIMUM + 1):
        known.add(f"d-{number}", 1, number + 1)

    assert known.get("d-0") is None
    found = known.get(f"d-{DECISIONS_MAXIMUM}")
    assert found is not None
    assert found.span_id == DECISIONS_MAXIMUM + 1


def test_a_decision_of_an_earlier_call_has_the_time_of_this_one() -> None:
    span = call()
    decision = decided(2)
    assert decision.strategy is Strategy.HYBRID
    assert decision.complexity in Complexity
    # It was made at the second 1,000 of the epoch.
    span.decided(decision)
    span.finish()

    whole, decide = spans().of_call(span)

    assert decide.start_time == whole.start_time


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://api.example/v1", ("api.example", 443)),
        ("http://127.0.0.1:8080/v1", ("127.0.0.1", 8080)),
        ("http://[::1]/v1", ("::1", 80)),
        ("http://host:port", ("", None)),
    ],
)
def test_the_address_is_the_base_urls(base_url: str, expected: tuple[str, int | None]) -> None:
    assert address(base_url) == expected


def test_what_an_answer_says_of_candidates_is_kept_for_the_span_and_no_longer() -> None:
    # Decisions stay in the history: written-out candidates would take more room there than all else.
    span, decision = call(), decided(8)
    candidates = decision.candidates
    assert isinstance(candidates, Candidates)
    span.decided(decision)
    answered = candidates[:5]
    assert candidates._read == answered
    span.finish()
    _, decide = spans().of_call(span)
    span.let_go()

    told = [(event.attributes or {})["turnout.candidate.target"] for event in decide.events]
    assert told == [each.spec.name for each in answered[:3]]
    assert candidates._read is None
