"""The six methods over a real connection, with real decisions and calls behind them."""

import asyncio
import dataclasses
from collections.abc import AsyncIterable
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2  # type: ignore[import-untyped]  # has no types

from tests.api.sidecar import (
    ANSWER,
    HELLO,
    LOCAL,
    Sidecar,
    details,
    everywhere,
    failing,
    first_delta,
    next_state,
    reason,
    running,
    spec,
)
from turnout.v1 import router_pb2 as pb
from turnout_server.core.fleet import Fleet
from turnout_server.core.model import FailureKind, Target

UNAVAILABLE = failing(FailureKind.SERVER_ERROR, status=500)
REFUSED = failing(FailureKind.RATE_LIMITED, status=429, possibly_billed=False)
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


async def error_of(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def collected(
    stream: AsyncIterable[pb.ExecuteStreamResponse], into: list[pb.ExecuteStreamResponse] | None = None
) -> list[pb.ExecuteStreamResponse]:
    """Adds message by message, so that `into` has what came before an error."""
    messages = into if into is not None else []
    async for message in stream:
        messages.append(message)
    return messages


def text_of(messages: list[pb.ExecuteStreamResponse]) -> str:
    return "".join(message.delta.text for message in messages if message.WhichOneof("event") == "delta")


# Route


async def test_a_route_accounts_for_every_target(sidecar: Sidecar) -> None:
    request = pb.RouteRequest(options=pb.RoutingOptions(min_quality=85))
    decision = (await sidecar.stub.Route(request, timeout=60)).decision

    assert decision.candidate_count == len(decision.candidates) == 2
    assert dict(decision.rejection_counts) == {"QUALITY": 1}
    assert not decision.rejections
    assert decision.strategy != pb.STRATEGY_UNSPECIFIED
    assert decision.valid_for.ToSeconds() == 5


async def test_a_candidate_holds_what_an_own_call_needs(sidecar: Sidecar) -> None:
    request = pb.RouteRequest(options=pb.RoutingOptions(force_target="beta/large"))
    [candidate] = (await sidecar.stub.Route(request, timeout=60)).decision.candidates

    assert (candidate.target.provider, candidate.wire, candidate.base_url) == (
        "beta",
        "openai",
        "https://beta.example/v1",
    )
    assert candidate.attempt_timeout.ToSeconds() >= 1
    assert candidate.health == pb.HEALTH_STATE_HEALTHY


async def test_full_detail_lists_every_rejection_with_its_reasons(sidecar: Sidecar) -> None:
    options = pb.RoutingOptions(exclude=["alpha"], detail=pb.DECISION_DETAIL_FULL)
    decision = (await sidecar.stub.Route(pb.RouteRequest(options=options), timeout=60)).decision

    assert [(r.target.provider, list(r.reasons)) for r in decision.rejections] == [
        ("alpha", [pb.REJECTION_REASON_EXCLUDED]),
        ("alpha", [pb.REJECTION_REASON_EXCLUDED]),
    ]


async def test_basic_detail_lists_the_best_five_and_counts_the_rest() -> None:
    specs = tuple(spec("alpha", f"m-{i}") for i in range(9))
    async with running(specs=specs) as sidecar:
        basic = (await sidecar.stub.Route(pb.RouteRequest(), timeout=60)).decision
        full = (
            await sidecar.stub.Route(
                pb.RouteRequest(options=pb.RoutingOptions(detail=pb.DECISION_DETAIL_FULL)), timeout=5
            )
        ).decision

    assert (len(basic.candidates), basic.candidate_count) == (5, 9)
    assert (len(full.candidates), full.candidate_count) == (9, 9)


async def test_the_answer_carries_the_decision_id_as_trailer(sidecar: Sidecar) -> None:
    call = sidecar.stub.Route(pb.RouteRequest(), timeout=60)
    answer = await call
    trailers = dict(await call.trailing_metadata() or ())

    assert trailers["turnout-decision-id"] == answer.decision.decision_id


async def test_a_faulty_request_is_told_field_by_field(sidecar: Sidecar) -> None:
    request = pb.RouteRequest(options=pb.RoutingOptions(min_quality=120, max_candidates=0))
    error = await error_of(sidecar.stub.Route(request, timeout=60))
    bad = error_details_pb2.BadRequest.FromString(details(error)["BadRequest"])

    assert (error.code(), reason(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert {v.field for v in bad.field_violations} == {"options.min_quality", "options.max_candidates"}


@pytest.mark.parametrize(
    ("options", "code", "expected"),
    [
        (pb.RoutingOptions(policy="nightly"), grpc.StatusCode.NOT_FOUND, "UNKNOWN_POLICY"),
        (pb.RoutingOptions(include=["gamma"]), grpc.StatusCode.NOT_FOUND, "UNKNOWN_TARGET"),
        (pb.RoutingOptions(regions=["mars"]), grpc.StatusCode.FAILED_PRECONDITION, "NO_ELIGIBLE_TARGET"),
        (pb.RoutingOptions(strategy=pb.STRATEGY_ADAPTIVE), grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED"),
    ],
)
async def test_errors_of_a_decision_have_their_code_and_reason(
    sidecar: Sidecar, options: pb.RoutingOptions, code: grpc.StatusCode, expected: str
) -> None:
    error = await error_of(sidecar.stub.Route(pb.RouteRequest(options=options), timeout=60))

    assert (error.code(), reason(error)) == (code, expected)


async def test_a_route_stays_fast_while_calls_fill_the_sidecar() -> None:
    never = asyncio.Event()
    scripts = everywhere(*ANSWER[:2], never)
    settings = dataclasses.replace(LOCAL, max_concurrent_calls=1, max_queue=0, drain_seconds=0.1)
    async with running(scripts=scripts, settings=settings) as sidecar:
        stream = sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=HELLO), timeout=60)
        await first_delta(stream)
        error = await error_of(sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=60))
        answer = await sidecar.stub.Route(pb.RouteRequest(), timeout=60)
        stream.cancel()

    retry = error_details_pb2.RetryInfo.FromString(details(error)["RetryInfo"])

    assert (error.code(), reason(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SIDECAR_OVERLOADED")
    assert retry.retry_delay.ToMilliseconds() == 100
    assert answer.decision.candidates


# Execute


async def test_an_executed_call_answers_with_usage_cost_and_attempts(sidecar: Sidecar) -> None:
    call = sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=60)
    answer = await call

    assert [part.text for part in answer.output.parts] == ["Hello there!"]
    assert answer.output.finish_reason == pb.FINISH_REASON_STOP
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (10, 5)
    assert answer.cost_usd == pytest.approx(20e-6)
    assert [attempt.ok for attempt in answer.attempts] == [True]
    assert dict(await call.trailing_metadata() or ())["turnout-decision-id"] == answer.decision.decision_id


async def test_an_executed_call_fails_over_and_tells_of_it() -> None:
    async with running(scripts={"alpha/large": [UNAVAILABLE], "alpha/small": [UNAVAILABLE]}) as sidecar:
        options = pb.RoutingOptions(strategy=pb.STRATEGY_QUALITY)
        answer = await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO, options=options), timeout=60)

    assert answer.target.provider == "beta"
    assert answer.attempts[0].failure == pb.FAILURE_KIND_SERVER_ERROR
    assert answer.attempts[-1].ok


async def test_a_call_that_nobody_billed_is_unavailable_and_may_be_repeated() -> None:
    async with running(scripts=everywhere(REFUSED)) as sidecar:
        error = await error_of(sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=60))
    failure = pb.CallFailure.FromString(details(error)["CallFailure"])

    assert (error.code(), reason(error)) == (grpc.StatusCode.UNAVAILABLE, "ALL_ATTEMPTS_REFUSED")
    assert {attempt.failure for attempt in failure.attempts} == {pb.FAILURE_KIND_RATE_LIMITED}


async def test_a_call_that_may_have_been_billed_must_not_be_repeated_blindly() -> None:
    async with running(scripts=everywhere(UNAVAILABLE)) as sidecar:
        error = await error_of(sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=60))
    trailers = dict(error.trailing_metadata() or ())

    assert (error.code(), reason(error)) == (grpc.StatusCode.INTERNAL, "ATTEMPTS_EXHAUSTED")
    assert trailers["grpc-retry-pushback-ms"] == "-1"
    assert trailers["turnout-decision-id"]


async def test_a_call_without_input_is_refused(sidecar: Sidecar) -> None:
    error = await error_of(sidecar.stub.Execute(pb.ExecuteRequest(), timeout=60))

    assert reason(error) == "INVALID_REQUEST"


async def test_a_call_runs_within_its_deadline() -> None:
    scripts = everywhere(ANSWER[0], asyncio.Event())
    async with running(scripts=scripts, settings=dataclasses.replace(LOCAL, drain_seconds=0.2)) as sidecar:
        error = await error_of(sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=0.6))
        for seconds in (2.0, 10.0, 50.0):
            # On a busy machine the caller's own clock may be first, which knows no reason: with more time it is not.
            if "grpc-status-details-bin" in dict(error.trailing_metadata() or ()):
                break
            error = await error_of(sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=seconds))

    assert (error.code(), reason(error)) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE")


async def test_an_unexpected_fault_is_a_bug_and_tells_nothing_more() -> None:
    def broken() -> str:
        raise RuntimeError("sk-secret-0123456789")

    async with running() as sidecar:
        sidecar.router.deciding._new_id = broken
        error = await error_of(sidecar.stub.Route(pb.RouteRequest(), timeout=60))

    assert (error.code(), reason(error)) == (grpc.StatusCode.INTERNAL, "BUG")
    assert "secret" not in (error.details() or "")


# ExecuteStream


async def test_a_stream_ends_with_its_completion(sidecar: Sidecar) -> None:
    messages = await collected(sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=HELLO), timeout=60))
    kinds = [message.WhichOneof("event") for message in messages]

    # What came together is joined.
    assert kinds == ["decision", "attempt", "delta", "delta", "completion"]
    assert text_of(messages) == "Hello there!"
    assert {m.delta.attempt_id for m in messages[2:4]} == {messages[1].attempt.attempt_id}
    assert messages[-1].completion.usage.output_tokens == 5
    assert messages[-1].completion.response_id == "r-1"


async def test_a_stream_that_breaks_after_output_ends_with_failure_and_data_loss() -> None:
    broken = failing(FailureKind.TRUNCATED, status=200)
    async with running(scripts=everywhere(*ANSWER[:2], broken)) as sidecar:
        stream = sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=HELLO), timeout=60)
        seen: list[pb.ExecuteStreamResponse] = []
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await collected(stream, seen)

    assert seen[-1].WhichOneof("event") == "failure"
    assert seen[-1].failure.delivered_bytes == 5
    assert (caught.value.code(), reason(caught.value)) == (grpc.StatusCode.DATA_LOSS, "STREAM_INTERRUPTED")


async def test_a_stream_restarts_on_another_target_where_that_is_asked_for() -> None:
    broken = failing(FailureKind.TRUNCATED, status=200)
    scripts = everywhere(*ANSWER[:2], broken) | {"beta/large": ANSWER}
    options = pb.RoutingOptions(strategy=pb.STRATEGY_QUALITY, mid_stream=pb.MID_STREAM_POLICY_RESTART)
    async with running(scripts=scripts) as sidecar:
        request = pb.ExecuteStreamRequest(input=HELLO, options=options)
        messages = await collected(sidecar.stub.ExecuteStream(request, timeout=60))
    restarts = [m.restart for m in messages if m.WhichOneof("event") == "restart"]
    answering = messages[-1].completion.attempts[-1].attempt_id
    answer = "".join(m.delta.text for m in messages if m.delta.attempt_id == answering)

    assert restarts
    assert {restart.failure for restart in restarts} == {pb.FAILURE_KIND_TRUNCATED}
    assert answer == "Hello there!"


async def test_a_caller_that_goes_away_ends_the_call_at_once() -> None:
    never = asyncio.Event()
    async with running(scripts=everywhere(*ANSWER[:2], never)) as sidecar:
        stream = sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=HELLO), timeout=60)
        await first_delta(stream)
        stream.cancel()
        await asyncio.wait_for(sidecar.upstream.closed.wait(), timeout=60)
        await asyncio.wait_for(sidecar.server.calls.idle(), timeout=60)

        assert sidecar.server.calls.running == 0


# ReportOutcome


async def test_each_report_has_its_own_result_in_order(sidecar: Sidecar) -> None:
    decision = (await sidecar.stub.Route(pb.RouteRequest(), timeout=60)).decision
    good = pb.Outcome(
        decision_id=decision.decision_id,
        attempt_id="a-1",
        target=decision.candidates[0].target,
        ok=True,
        latency=Duration(seconds=1),
        usage=pb.Usage(input_tokens=10, output_tokens=5),
    )
    faulty = pb.Outcome(attempt_id="a-2", target=decision.candidates[0].target, ok=False)
    unknown = pb.Outcome(attempt_id="a-3", target=pb.Target(provider="gamma", model="x"), ok=True)
    feedback = pb.Feedback(decision_id=decision.decision_id, attempt_id="a-1", quality=0.9)
    answer = await sidecar.stub.ReportOutcome(
        pb.ReportOutcomeRequest(outcomes=[good, faulty, unknown, good], feedback=[feedback]), timeout=5
    )

    assert [result.status for result in answer.results] == [
        pb.OUTCOME_STATUS_ACCEPTED,
        pb.OUTCOME_STATUS_REJECTED,
        pb.OUTCOME_STATUS_REJECTED,
        pb.OUTCOME_STATUS_DUPLICATE,
    ]
    assert "failure" in answer.results[1].reason
    assert "gamma" in answer.results[2].reason
    assert [result.status for result in answer.feedback_results] == [pb.OUTCOME_STATUS_ACCEPTED]


async def test_too_many_reports_at_once_are_refused(sidecar: Sidecar) -> None:
    request = pb.ReportOutcomeRequest(outcomes=[pb.Outcome()] * 1001)
    error = await error_of(sidecar.stub.ReportOutcome(request, timeout=60))

    assert reason(error) == "INVALID_REQUEST"


# ProviderStatus and WatchProviderStatus


async def test_the_status_tells_every_target(sidecar: Sidecar) -> None:
    await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=60)
    status = await sidecar.stub.ProviderStatus(pb.ProviderStatusRequest(), timeout=60)
    targets = [state for provider in status.providers for state in provider.targets]

    assert [provider.provider for provider in status.providers] == ["alpha", "beta"]
    assert {state.breaker for state in targets} == {pb.BREAKER_STATE_CLOSED}
    assert sum(state.request_count for state in targets) == 1
    assert status.aggregate.target_count == 3
    assert status.HasField("as_of")


async def test_the_status_of_an_unknown_provider_is_not_found(sidecar: Sidecar) -> None:
    error = await error_of(sidecar.stub.ProviderStatus(pb.ProviderStatusRequest(providers=["gamma"]), timeout=60))

    assert (error.code(), reason(error)) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_PROVIDER")


async def test_a_window_that_is_not_kept_is_refused(sidecar: Sidecar) -> None:
    request = pb.ProviderStatusRequest(window=Duration(seconds=77))
    error = await error_of(sidecar.stub.ProviderStatus(request, timeout=60))

    assert reason(error) == "INVALID_REQUEST"


async def test_a_watch_begins_with_everything_and_goes_on_with_what_changes(sidecar: Sidecar) -> None:
    stream = sidecar.stub.WatchProviderStatus(pb.WatchProviderStatusRequest(), timeout=60)
    first = await next_state(stream)
    options = pb.RoutingOptions(force_target="beta/large")
    await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO, options=options), timeout=60)
    second = await next_state(stream)
    stream.cancel()

    assert (first.snapshot, [state.provider for state in first.changed]) == (True, ["alpha", "beta"])
    assert (second.snapshot, [state.provider for state in second.changed]) == (False, ["beta"])
    assert second.revision > first.revision


async def test_a_watch_changes_at_most_four_times_a_second(sidecar: Sidecar) -> None:
    stream = sidecar.stub.WatchProviderStatus(pb.WatchProviderStatusRequest(), timeout=60)
    await stream.read()
    begin = asyncio.get_running_loop().time()
    for _ in range(2):
        for _ in range(5):
            await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=60)
        await stream.read()
    elapsed = asyncio.get_running_loop().time() - begin
    stream.cancel()

    assert elapsed >= 0.3


async def test_a_watch_resumes_with_what_changed_since(sidecar: Sidecar) -> None:
    first_stream = sidecar.stub.WatchProviderStatus(pb.WatchProviderStatusRequest(), timeout=60)
    first = await next_state(first_stream)
    first_stream.cancel()
    options = pb.RoutingOptions(force_target="beta/large")
    await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO, options=options), timeout=60)
    request = pb.WatchProviderStatusRequest(resume_revision=first.revision)
    second_stream = sidecar.stub.WatchProviderStatus(request, timeout=60)
    second = await next_state(second_stream)
    second_stream.cancel()

    assert (second.snapshot, [state.provider for state in second.changed]) == (False, ["beta"])


@pytest.mark.parametrize("revision", [0, 5, 2**62])
async def test_a_revision_of_another_start_is_too_old(sidecar: Sidecar, revision: int) -> None:
    request = pb.WatchProviderStatusRequest(resume_revision=revision)
    error = await error_of(sidecar.stub.WatchProviderStatus(request, timeout=60).read())

    assert (error.code(), reason(error)) == (grpc.StatusCode.OUT_OF_RANGE, "RESUME_TOO_OLD")


async def test_a_watch_of_an_unknown_provider_is_not_found(sidecar: Sidecar) -> None:
    request = pb.WatchProviderStatusRequest(providers=["gamma"])
    error = await error_of(sidecar.stub.WatchProviderStatus(request, timeout=60).read())

    assert reason(error) == "UNKNOWN_PROVIDER"


@pytest.mark.parametrize("watched", [["beta"], []])
async def test_a_watch_tells_of_targets_that_are_removed(sidecar: Sidecar, watched: list[str]) -> None:
    stream = sidecar.stub.WatchProviderStatus(pb.WatchProviderStatusRequest(providers=watched), timeout=60)
    first = await next_state(stream)
    before = sidecar.router.configured.fleet.specs
    alpha = tuple(s for s in before if s.target.provider == "alpha")
    sidecar.router.adopt(Fleet(alpha), sidecar.router.configured.settings)
    second = await next_state(stream)
    stream.cancel()

    assert {target.provider for target in second.removed} == {"beta"}
    assert len(second.removed) == len(before) - len(alpha)
    assert [state.provider for state in second.changed] == ([] if watched else ["alpha"])
    assert second.revision > first.revision


async def test_a_watch_does_not_tell_of_targets_of_providers_that_it_does_not_watch(sidecar: Sidecar) -> None:
    stream = sidecar.stub.WatchProviderStatus(pb.WatchProviderStatusRequest(providers=["alpha"]), timeout=60)
    await next_state(stream)
    alpha = tuple(s for s in sidecar.router.configured.fleet.specs if s.target.provider == "alpha")
    sidecar.router.adopt(Fleet(alpha), sidecar.router.configured.settings)
    second = await next_state(stream)
    stream.cancel()

    assert list(second.removed) == []


async def test_a_watch_of_everything_tells_of_a_provider_that_is_new(sidecar: Sidecar) -> None:
    stream = sidecar.stub.WatchProviderStatus(pb.WatchProviderStatusRequest(), timeout=60)
    await next_state(stream)
    specs = sidecar.router.configured.fleet.specs
    new = dataclasses.replace(specs[0], target=Target("gamma", "large"), name="gamma/large")
    sidecar.router.adopt(Fleet((*specs, new)), sidecar.router.configured.settings)
    second = await next_state(stream)
    stream.cancel()

    assert "gamma" in [state.provider for state in second.changed]


# Trace context


@pytest.mark.parametrize(
    ("traceparent", "expected"),
    [(f"00-{TRACE_ID}-b7ad6b7169203331-01", TRACE_ID), ("malformed", None), (None, None)],
)
async def test_the_callers_trace_is_the_current_one_while_the_provider_is_called(
    sidecar: Sidecar, traceparent: str | None, expected: str | None
) -> None:
    metadata = (("traceparent", traceparent),) if traceparent is not None else ()
    await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=60, metadata=metadata)
    await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=60)

    assert sidecar.upstream.trace_ids == [expected, None]
