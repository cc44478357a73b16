"""What both clients do, against a real gRPC server on a real socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from tests.clients.driving import AsyncDriver, BlockingDriver, Driver, Streamed
from tests.clients.scripted_sidecar import Hang, Refusal, ScriptedSidecar, Serving, Step
from turnout import AsyncClient, Client
from turnout.errors import (
    AllTargetsUnavailableError,
    AttemptsExhaustedError,
    ContractError,
    DeadlineError,
    RestartedError,
    StreamInterruptedError,
    UnreachableError,
)
from turnout.v1 import router_pb2 as pb

TOKEN = "planted-token"
TARGET = pb.Target(provider="openai", model="gpt")
OTHER = pb.Target(provider="anthropic", model="claude")
ANSWER = pb.ExecuteResponse(
    output=pb.ChatOutput(parts=[pb.Part(text="Hello")], finish_reason=pb.FINISH_REASON_STOP),
    target=TARGET,
    decision=pb.Decision(decision_id="d-1"),
)
DECISION = pb.ExecuteStreamResponse(decision=pb.Decision(decision_id="d-1"))
COMPLETION = pb.ExecuteStreamResponse(
    completion=pb.Completion(target=TARGET, finish_reason=pb.FINISH_REASON_STOP, cost_usd=0.5)
)
NOT_NOW = Refusal(reason="ALL_TARGETS_UNAVAILABLE", retry_seconds=0.01)
BARE_UNAVAILABLE = Refusal(code=grpc.StatusCode.UNAVAILABLE, message="connection reset")
PLAN = pb.RouteResponse(
    decision=pb.Decision(decision_id="d-9", candidates=[pb.Candidate(target=TARGET), pb.Candidate(target=OTHER)])
)


def started(attempt_id: str, target: pb.Target = TARGET) -> Step:
    return pb.ExecuteStreamResponse(attempt=pb.AttemptStarted(attempt_id=attempt_id, target=target))


def text(attempt_id: str, piece: str) -> Step:
    return pb.ExecuteStreamResponse(delta=pb.Delta(attempt_id=attempt_id, text=piece))


def restart(attempt_id: str) -> Step:
    failure = pb.FAILURE_KIND_TRUNCATED
    return pb.ExecuteStreamResponse(restart=pb.Restart(discarded_attempt_id=attempt_id, failure=failure))


@pytest.fixture
def sidecar() -> Iterator[ScriptedSidecar]:
    scripted = ScriptedSidecar()
    with Serving(scripted):
        yield scripted


@pytest.fixture(params=["blocking", "asyncio"])
async def client(request: pytest.FixtureRequest, sidecar: ScriptedSidecar) -> AsyncIterator[Driver]:
    driver: Driver
    if request.param == "blocking":
        driver = BlockingDriver(Client(sidecar.address, token=TOKEN))
    else:
        driver = AsyncDriver(AsyncClient(sidecar.address, token=TOKEN))
    yield driver
    await driver.close()


async def test_execute_sends_the_prompt_and_returns_the_answer(sidecar: ScriptedSidecar, client: Driver) -> None:
    sidecar.will("Execute", ANSWER)

    answer = await client.execute("Hi", system="Be short", task="chat", max_output_tokens=9)

    assert answer.text == "Hello"
    request = sidecar.calls[0].request
    assert request.profile.task == "chat"
    assert request.input.max_output_tokens == 9
    assert [pb.Role.Name(turn.role) for turn in request.input.messages] == ["ROLE_SYSTEM", "ROLE_USER"]


async def test_every_call_carries_the_token(sidecar: ScriptedSidecar, client: Driver) -> None:
    sidecar.will("Execute", ANSWER)

    await client.execute("Hi")

    assert sidecar.calls[0].metadata["authorization"] == f"Bearer {TOKEN}"


async def test_execute_has_the_sidecars_own_default_as_deadline(sidecar: ScriptedSidecar, client: Driver) -> None:
    sidecar.will("Execute", ANSWER)

    await client.execute("Hi")

    assert sidecar.calls[0].remaining_seconds == pytest.approx(600, abs=5)


async def test_route_has_a_short_default_deadline(sidecar: ScriptedSidecar, client: Driver) -> None:
    sidecar.will("Route", PLAN)

    await client.route(task="chat")

    assert sidecar.calls[0].remaining_seconds == pytest.approx(2, abs=0.5)


@pytest.mark.parametrize(
    "refusal",
    [
        NOT_NOW,
        Refusal(reason="ALL_ATTEMPTS_REFUSED", retry_seconds=0.01),
        Refusal(code=grpc.StatusCode.RESOURCE_EXHAUSTED, reason="SIDECAR_OVERLOADED", pushback="5"),
        Refusal(reason="DRAINING"),
    ],
    ids=lambda refusal: refusal.reason,
)
async def test_execute_is_made_again_where_nothing_was_billed(
    sidecar: ScriptedSidecar, client: Driver, refusal: Refusal
) -> None:
    sidecar.will("Execute", refusal, ANSWER)

    answer = await client.execute("Hi")

    assert answer.text == "Hello"
    assert sidecar.methods() == ["Execute", "Execute"]


async def test_execute_is_not_made_again_after_a_bare_unavailable(sidecar: ScriptedSidecar, client: Driver) -> None:
    sidecar.will("Execute", BARE_UNAVAILABLE, ANSWER)

    with pytest.raises(UnreachableError):
        await client.execute("Hi")

    assert sidecar.methods() == ["Execute"]


async def test_a_reason_of_another_domain_does_not_allow_a_retry(sidecar: ScriptedSidecar, client: Driver) -> None:
    sidecar.will("Execute", Refusal(reason="DRAINING", domain="somebody.else"), ANSWER)

    with pytest.raises(UnreachableError):
        await client.execute("Hi")

    assert sidecar.methods() == ["Execute"]


async def test_negative_pushback_forbids_a_retry(sidecar: ScriptedSidecar, client: Driver) -> None:
    sidecar.will("Execute", Refusal(reason="DRAINING", pushback="-1"), ANSWER)

    with pytest.raises(Exception, match="DRAINING"):
        await client.execute("Hi")

    assert sidecar.methods() == ["Execute"]


async def test_exhausted_attempts_are_told_with_what_was_tried(sidecar: ScriptedSidecar, client: Driver) -> None:
    tried = pb.CallFailure(attempts=[pb.Attempt(target=TARGET, failure=pb.FAILURE_KIND_TIMEOUT)], cost_usd=0.1)
    refusal = Refusal(
        code=grpc.StatusCode.INTERNAL, reason="ATTEMPTS_EXHAUSTED", pushback="-1", decision_id="d-7", extra=[tried]
    )
    sidecar.will("Execute", refusal)

    with pytest.raises(AttemptsExhaustedError) as caught:
        await client.execute("Hi")

    assert [attempt.failure for attempt in caught.value.attempts] == [pb.FAILURE_KIND_TIMEOUT]
    assert caught.value.decision_id == "d-7"
    assert caught.value.details.call_failure == tried


async def test_a_wait_past_the_deadline_is_not_begun(sidecar: ScriptedSidecar, client: Driver) -> None:
    sidecar.will("Execute", Refusal(reason="ALL_TARGETS_UNAVAILABLE", retry_seconds=300))
    began = time.monotonic()

    with pytest.raises(AllTargetsUnavailableError) as caught:
        await client.execute("Hi", timeout_seconds=100)

    assert caught.value.retry_after_seconds == 300
    # It would have waited to the deadline.
    assert time.monotonic() - began < 90


async def test_retries_share_one_deadline(sidecar: ScriptedSidecar, client: Driver) -> None:
    sidecar.will("Execute", Refusal(reason="DRAINING", retry_seconds=0.3), ANSWER)

    # From ten seconds on gRPC tells the deadline in whole seconds.
    await client.execute("Hi", timeout_seconds=9)

    first, second = (call.remaining_seconds for call in sidecar.calls)
    assert first is not None
    assert second is not None
    assert second < first - 0.2


async def test_retries_are_bounded(sidecar: ScriptedSidecar, client: Driver) -> None:
    sidecar.will("Execute", *[NOT_NOW] * 10)

    with pytest.raises(AllTargetsUnavailableError):
        await client.execute("Hi")

    assert sidecar.methods() == ["Execute"] * 4


async def test_the_deadline_ends_a_silent_call(sidecar: ScriptedSidecar, client: Driver) -> None:
    sidecar.will("Execute", Hang())

    with pytest.raises(DeadlineError):
        await client.execute("Hi", timeout_seconds=0.1)


async def test_route_is_made_again_on_a_lost_connection(sidecar: ScriptedSidecar, client: Driver) -> None:
    sidecar.will("Route", BARE_UNAVAILABLE, PLAN)

    response = await client.route(task="chat", input_tokens=12)

    assert response.decision.decision_id == "d-9"
    assert sidecar.calls[1].request.profile == pb.RequestProfile(task="chat", input_tokens=12)


async def test_route_without_a_usable_target_is_told_at_once(sidecar: ScriptedSidecar, client: Driver) -> None:
    sidecar.will("Route", NOT_NOW, PLAN)

    with pytest.raises(AllTargetsUnavailableError):
        await client.route(task="chat")

    assert sidecar.methods() == ["Route"]


async def test_report_and_status_are_made_again_on_a_lost_connection(sidecar: ScriptedSidecar, client: Driver) -> None:
    sidecar.will("ReportOutcome", BARE_UNAVAILABLE, pb.ReportOutcomeResponse())
    sidecar.will("ProviderStatus", BARE_UNAVAILABLE, pb.ProviderStatusResponse())

    await client.report(pb.Outcome(attempt_id="a"))
    await client.status("openai", window_seconds=60)

    assert sidecar.methods() == ["ReportOutcome", "ReportOutcome", "ProviderStatus", "ProviderStatus"]
    expected = pb.ProviderStatusRequest(providers=["openai"], window=Duration(seconds=60))
    assert sidecar.calls[-1].request == expected


async def test_watch_resumes_where_told_and_yields_what_comes(sidecar: ScriptedSidecar, client: Driver) -> None:
    changes = [pb.WatchProviderStatusResponse(revision=8), pb.WatchProviderStatusResponse(revision=9)]
    sidecar.will("WatchProviderStatus", changes)

    seen = await client.watch(2)

    assert seen == changes
    assert sidecar.calls[0].request.resume_revision == 7


async def test_stream_yields_the_events_and_gathers_the_answer(sidecar: ScriptedSidecar, client: Driver) -> None:
    sidecar.will("ExecuteStream", [DECISION, started("a"), text("a", "Hel"), text("a", "lo"), COMPLETION])
    seen = Streamed()

    await client.stream("Hi", seen)

    assert seen.kinds == ["decision", "attempt", "delta", "delta", "completion"]
    assert seen.answer is not None
    assert (seen.answer.text, seen.answer.cost_usd) == ("Hello", 0.5)
    assert seen.answer.decision.decision_id == "d-1"


async def test_restart_forgets_what_came_before(sidecar: ScriptedSidecar, client: Driver) -> None:
    script = [DECISION, started("a"), text("a", "Wrong"), restart("a"), started("b"), text("b", "Right"), COMPLETION]
    sidecar.will("ExecuteStream", script)
    seen = Streamed()

    await client.stream("Hi", seen)

    assert seen.answer is not None
    assert seen.answer.text == "Right"


async def test_text_calls_back_on_restart(sidecar: ScriptedSidecar, client: Driver) -> None:
    sidecar.will("ExecuteStream", [DECISION, text("a", "Wrong"), restart("a"), text("b", "Right"), COMPLETION])
    seen = Streamed()

    await client.stream_text("Hi", seen, tell_restart=True)

    assert (seen.pieces, seen.restart_count) == (["Right"], 1)


async def test_text_raises_on_a_restart_that_nobody_hears_of(sidecar: ScriptedSidecar, client: Driver) -> None:
    sidecar.will("ExecuteStream", [DECISION, text("a", "Wrong"), restart("a"), text("b", "Right"), COMPLETION])
    seen = Streamed()

    with pytest.raises(RestartedError):
        await client.stream_text("Hi", seen, tell_restart=False)

    assert seen.pieces == ["Wrong"]


async def test_a_stream_without_its_completion_is_no_answer(sidecar: ScriptedSidecar, client: Driver) -> None:
    sidecar.will("ExecuteStream", [DECISION, started("a"), text("a", "Hel")])
    seen = Streamed()

    with pytest.raises(ContractError):
        await client.stream("Hi", seen)

    assert seen.answer is None


async def test_a_broken_stream_is_told_with_the_full_failure(sidecar: ScriptedSidecar, client: Driver) -> None:
    full = pb.CallFailure(attempts=[pb.Attempt(target=TARGET), pb.Attempt(target=OTHER)], delivered_bytes=3)
    refusal = Refusal(
        code=grpc.StatusCode.DATA_LOSS,
        reason="STREAM_INTERRUPTED",
        pushback="-1",
        extra=[pb.CallFailure(truncated=True)],
    )
    sidecar.will(
        "ExecuteStream",
        [DECISION, started("a"), text("a", "Hel"), pb.ExecuteStreamResponse(failure=full), refusal],
    )
    seen = Streamed()

    with pytest.raises(StreamInterruptedError) as caught:
        await client.stream("Hi", seen)

    assert caught.value.details.call_failure == full
    assert seen.kinds == ["decision", "attempt", "delta"]


async def test_a_stream_is_made_again_before_content(sidecar: ScriptedSidecar, client: Driver) -> None:
    failure = pb.ExecuteStreamResponse(failure=pb.CallFailure(attempts=[pb.Attempt(target=TARGET)]))
    refused = Refusal(reason="ALL_ATTEMPTS_REFUSED", retry_seconds=0.01)
    sidecar.will(
        "ExecuteStream",
        [DECISION, started("a"), failure, refused],
        [DECISION, started("b"), text("b", "Hello"), COMPLETION],
    )
    seen = Streamed()

    await client.stream("Hi", seen)

    assert seen.answer is not None
    assert seen.answer.text == "Hello"
    assert sidecar.methods() == ["ExecuteStream", "ExecuteStream"]


async def test_a_stream_is_never_made_again_after_content(sidecar: ScriptedSidecar, client: Driver) -> None:
    refused = Refusal(reason="ALL_ATTEMPTS_REFUSED", retry_seconds=0.01)
    sidecar.will("ExecuteStream", [DECISION, text("a", "Hel"), refused], [DECISION, COMPLETION])

    with pytest.raises(Exception, match="ALL_ATTEMPTS_REFUSED"):
        await client.stream("Hi", Streamed())

    assert sidecar.methods() == ["ExecuteStream"]


async def test_a_stream_is_never_made_again_after_discarded_content(sidecar: ScriptedSidecar, client: Driver) -> None:
    refused = Refusal(reason="ALL_ATTEMPTS_REFUSED", retry_seconds=0.01)
    sidecar.will("ExecuteStream", [DECISION, text("a", "Hel"), restart("a"), refused], [DECISION, COMPLETION])

    with pytest.raises(Exception, match="ALL_ATTEMPTS_REFUSED"):
        await client.stream("Hi", Streamed())

    assert sidecar.methods() == ["ExecuteStream"]


async def test_a_lost_connection_after_completion_loses_nothing(sidecar: ScriptedSidecar, client: Driver) -> None:
    sidecar.will("ExecuteStream", [DECISION, text("a", "Hello"), COMPLETION, BARE_UNAVAILABLE])
    seen = Streamed()

    await client.stream("Hi", seen)

    assert seen.answer is not None
    assert seen.answer.text == "Hello"


async def test_leaving_a_stream_cancels_the_call(sidecar: ScriptedSidecar, client: Driver) -> None:
    sidecar.will("ExecuteStream", [DECISION, Hang()])

    event = await client.stream_first_event("Hi")

    assert event.decision.decision_id == "d-1"
    assert await asyncio.to_thread(sidecar.ended.wait, 5)


async def test_plan_goes_on_to_the_next_target_and_reports_both_in_one_batch(
    sidecar: ScriptedSidecar, client: Driver
) -> None:
    sidecar.will("Route", PLAN)
    called = []

    for attempt in await client.plan(task="chat"):
        with attempt:
            called.append(attempt.target)
            if attempt.provider == "openai":
                raise ConnectionResetError
            attempt.usage(input_tokens=3, output_tokens=4)
    assert await client.flush()

    assert called == ["openai/gpt", "anthropic/claude"]
    reports = [call.request for call in sidecar.calls if call.method == "ReportOutcome"]
    assert len(reports) == 1
    failed, succeeded = reports[0].outcomes
    assert (failed.ok, failed.failure, failed.decision_id) == (False, pb.FAILURE_KIND_CONNECTION, "d-9")
    assert (succeeded.ok, succeeded.usage.output_tokens) == (True, 4)
    assert len({failed.attempt_id, succeeded.attempt_id}) == 2


async def test_a_failing_report_never_reaches_the_caller(sidecar: ScriptedSidecar, client: Driver) -> None:
    sidecar.will("Route", PLAN)
    sidecar.will("ReportOutcome", Refusal(code=grpc.StatusCode.INTERNAL, reason="BUG"))

    for attempt in await client.plan(task="chat"):
        with attempt:
            pass
    assert await client.flush()

    assert client.unreported_count() == 1


async def test_closing_sends_what_is_left(sidecar: ScriptedSidecar, client: Driver) -> None:
    sidecar.will("Route", PLAN)
    for attempt in await client.plan(task="chat"):
        with attempt:
            pass

    await client.close()

    assert sidecar.methods() == ["Route", "ReportOutcome"]
