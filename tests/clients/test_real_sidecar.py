"""Both clients against the real sidecar in front of simulated providers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests.clients.driving import AsyncDriver, BlockingDriver, Driver, Streamed
from tests.clients.real_sidecar import World, world
from turnout import AsyncClient, Client
from turnout.attempt import PlanAttempt
from turnout.errors import (
    AllAttemptsRefusedError,
    AttemptsExhaustedError,
    DeadlineError,
    InvalidRequestError,
    NotFoundError,
    StreamInterruptedError,
    UnsupportedError,
)
from turnout.v1 import router_pb2 as pb

NORTH = pb.Target(provider="north", model="m")
SOUTH = pb.Target(provider="south", model="m")
ADD = pb.Tool(name="add", description="Adds", parameters_json_schema='{"type": "object", "properties": {}}')


@pytest.fixture
def real(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as running:
        yield running


@pytest.fixture(params=["blocking", "asyncio"])
async def client(request: pytest.FixtureRequest, real: World) -> AsyncIterator[Driver]:
    driver: Driver
    if request.param == "blocking":
        driver = BlockingDriver(Client(real.address, max_retry_count=0))
    else:
        driver = AsyncDriver(AsyncClient(real.address, max_retry_count=0))
    yield driver
    await driver.close()


def own_call(attempt: PlanAttempt) -> None:
    """Calls the target as an application would."""
    path = "/messages" if attempt.wire == "anthropic" else "/chat/completions"
    body = {"model": attempt.model, "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]}
    headers = {"anthropic-version": "2023-06-01"}
    answer = httpx.post(attempt.base_url + path, json=body, headers=headers, trust_env=False, timeout=60)
    answer.raise_for_status()
    attempt.usage(input_tokens=5, output_tokens=6)


async def test_both_calls_give_a_complete_answer_of_one_type(client: Driver) -> None:
    seen = Streamed()

    unary = await client.execute("What is a turnout?", task="chat", max_output_tokens=60)
    await client.stream("What is a turnout?", seen, task="chat", max_output_tokens=60)

    assert seen.answer is not None
    for answer in (unary, seen.answer):
        assert answer.text
        assert answer.target == NORTH
        assert answer.finish_reason in (pb.FINISH_REASON_STOP, pb.FINISH_REASON_LENGTH)
        assert answer.usage is not None
        assert answer.usage.source == pb.USAGE_SOURCE_REPORTED
        assert answer.cost_usd is not None
        assert answer.decision.decision_id
        assert [attempt.ok for attempt in answer.attempts] == [True]
    assert seen.kinds[0] == "decision"
    assert seen.kinds[-1] == "completion"


async def test_tool_calls_are_gathered_from_their_fragments(client: Driver) -> None:
    seen = Streamed()

    unary = await client.execute("Please add", tools=[ADD])
    await client.stream("Please add", seen, tools=[ADD])

    assert seen.answer is not None
    assert [call.name for call in seen.answer.tool_calls] == ["add"]
    assert [call.arguments_json for call in seen.answer.tool_calls] == [
        call.arguments_json for call in unary.tool_calls
    ]
    assert seen.answer.finish_reason == unary.finish_reason == pb.FINISH_REASON_TOOL_CALLS


async def test_a_failing_provider_is_passed_over(real: World, client: Driver) -> None:
    real.fault("north", kind="error", status=503)

    answer = await client.execute("Hi")

    assert answer.target == SOUTH
    assert {attempt.failure for attempt in answer.attempts[:-1]} == {pb.FAILURE_KIND_OVERLOADED}


async def test_a_cut_stream_under_restart_becomes_a_whole_answer_of_another(real: World, client: Driver) -> None:
    real.fault("north", kind="cut", after_pieces=3)
    seen = Streamed()

    options = pb.RoutingOptions(mid_stream=pb.MID_STREAM_POLICY_RESTART)
    await client.stream("Tell a story", seen, options=options, max_output_tokens=60)

    assert "restart" in seen.kinds
    assert seen.answer is not None
    assert seen.answer.target == SOUTH
    last = seen.kinds.index("restart")
    pieces = [event.delta.text for event in seen.events[last:]]
    assert seen.answer.text == "".join(pieces)


async def test_a_cut_stream_under_fail_is_an_error_that_says_what_came(real: World, client: Driver) -> None:
    real.fault("north", kind="cut", after_pieces=3)

    with pytest.raises(StreamInterruptedError) as caught:
        await client.stream("Tell a story", Streamed(), max_output_tokens=60)

    failure = caught.value.details.call_failure
    assert failure is not None
    assert failure.delivered_bytes > 0
    assert caught.value.details.retry_forbidden
    assert caught.value.decision_id


async def test_refusals_by_all_are_told_with_a_wait(real: World, client: Driver) -> None:
    for provider in ("north", "south"):
        real.fault(provider, kind="error", status=429, retry_after_seconds=600)

    with pytest.raises(AllAttemptsRefusedError) as caught:
        await client.execute("Hi", timeout_seconds=60)

    assert caught.value.retry_after_seconds is not None
    assert caught.value.retry_after_seconds >= 500
    assert {attempt.failure for attempt in caught.value.attempts} == {pb.FAILURE_KIND_RATE_LIMITED}


async def test_broken_connections_everywhere_are_not_retried_blindly(real: World, client: Driver) -> None:
    for provider in ("north", "south"):
        real.fault(provider, kind="error", status=500)

    with pytest.raises(AttemptsExhaustedError) as caught:
        await client.execute("Hi", timeout_seconds=60)

    assert len(caught.value.attempts) >= 2
    assert caught.value.details.retry_forbidden


async def test_the_deadline_comes_with_what_was_tried(real: World, client: Driver) -> None:
    for provider in ("north", "south"):
        real.fault(provider, kind="silence")

    errors: list[DeadlineError] = []
    # Who says so first is a matter of milliseconds; on a busy machine it may be the client's own stack.
    for seconds in (1.5, 3.0, 6.0, 12.0, 24.0):
        with pytest.raises(DeadlineError) as caught:
            await client.execute("Hi", timeout_seconds=seconds)
        errors.append(caught.value)
        if errors[-1].reason:
            break

    assert errors[-1].reason == "DEADLINE"
    assert errors[-1].attempts


async def test_wrong_requests_name_what_is_wrong(client: Driver) -> None:
    with pytest.raises(NotFoundError) as unknown:
        await client.route(options=pb.RoutingOptions(policy="nightly"))
    with pytest.raises(InvalidRequestError) as invalid:
        await client.route(options=pb.RoutingOptions(min_quality=120))
    with pytest.raises(UnsupportedError):
        await client.route(options=pb.RoutingOptions(strategy=pb.STRATEGY_ADAPTIVE))

    assert unknown.value.reason == "UNKNOWN_POLICY"
    assert ["min_quality" in violation.field for violation in invalid.value.field_violations] == [True]


async def test_a_plan_moves_on_and_its_reports_change_what_the_sidecar_knows(real: World, client: Driver) -> None:
    real.fault("north", kind="error", status=500)

    used = []
    for attempt in await client.plan(task="chat", input_tokens=10, max_output_tokens=20):
        with attempt:
            used.append(attempt.target)
            own_call(attempt)
    assert await client.flush()

    assert used == ["north/m", "south/m"]
    assert client.unreported_count() == 0
    states = {state.provider: state.targets[0] for state in (await client.status()).providers}
    assert states["north"].success_rate == 0
    assert states["south"].success_rate == 1


async def test_a_report_counts_once(client: Driver) -> None:
    decision = (await client.route(task="chat")).decision
    outcome = pb.Outcome(decision_id=decision.decision_id, attempt_id="a-1", target=NORTH, ok=True)

    first = await client.report(outcome)
    second = await client.report(outcome)

    assert [result.status for result in first.results] == [pb.OUTCOME_STATUS_ACCEPTED]
    assert [result.status for result in second.results] == [pb.OUTCOME_STATUS_DUPLICATE]
