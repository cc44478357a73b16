"""What another target is sent when one fails, by the bytes that it received, and what the caller is told of it."""

from __future__ import annotations

import contextlib
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence

import grpc
import orjson
import pytest

from tests.faults.provider import Exchange, FaultyProvider
from tests.faults.sidecar import Place, running
from tests.faults.vendors import ANSWER, HALF, TOOL_CALL, WIRES
from turnout import (
    AllAttemptsRefusedError,
    AsyncClient,
    AttemptsExhaustedError,
    NoEligibleTargetError,
    StreamInterruptedError,
)
from turnout.v1 import router_pb2 as pb
from turnout_server.core.fleet import Prefill

RESTART = pb.RoutingOptions(strategy=pb.STRATEGY_PRIORITY, mid_stream=pb.MID_STREAM_POLICY_RESTART)
FAIL = pb.RoutingOptions(strategy=pb.STRATEGY_PRIORITY, mid_stream=pb.MID_STREAM_POLICY_FAIL)
PATIENT_SECONDS = 20.0
SEALED = b64encode(b"sealed by its vendor, for its vendor").decode()
REDACTED = b64encode(b"thoughts that nobody may read").decode()


def said(role: pb.Role.ValueType, *parts: pb.Part) -> pb.Message:
    return pb.Message(role=role, parts=parts)


QUESTION = said(pb.ROLE_USER, pb.Part(text="Where does the line go?"))
PREFILLED = pb.ChatInput(
    messages=[QUESTION, said(pb.ROLE_ASSISTANT, pb.Part(text="It goes to"))], max_output_tokens=2000
)


@contextlib.asynccontextmanager
async def line_up(*places: Place) -> AsyncIterator[AsyncClient]:
    """A sidecar with these places, asked in this order, and a client of it."""
    async with running(places) as sidecar, AsyncClient(sidecar.bound.address, max_retry_count=0) as client:
        yield client


def place(
    provider: FaultyProvider, rank: int, wire: str, fault: str = "good", *, name: str = "", **facts: Prefill | bool
) -> Place:
    called = name or f"p{rank}-{wire}"
    return Place(
        name=called,
        wire=wire,
        base_url=provider.url_of(fault, wire, called),
        rank=rank,
        first_token_timeout_seconds=PATIENT_SECONDS,
        **facts,  # type: ignore[arg-type]  # tests name them
    )


def case_bodies(provider: FaultyProvider, name: str) -> list[bytes]:
    return [exchange.body for exchange in provider.of_case(name)]


def ends_with_assistant(exchange: Exchange) -> bool:
    body = orjson.loads(exchange.body)
    return (body.get("messages") or body["contents"])[-1]["role"] in {"assistant", "model"}


@pytest.mark.parametrize("fault", ["reset_before_headers", "html_502", "error_status", "cut"])
@pytest.mark.parametrize("wire", WIRES)
async def test_prefill_goes_to_the_first_fallback_that_is_known_to_take_it(wire: str, fault: str) -> None:
    others = [other for other in WIRES if other != wire]
    async with FaultyProvider() as provider:
        first = place(provider, 0, wire, fault, name="first")
        refuses = place(provider, 1, others[0], prefill=Prefill.REFUSED)
        unknown = place(provider, 2, others[1])
        takes = place(provider, 3, others[2], prefill=Prefill.TAKEN)
        async with line_up(first, refuses, unknown, takes) as client:
            answer = await client.stream(PREFILLED, options=RESTART).answer()
        of_takes = provider.of_case(takes.name)

        assert (takes.name, ANSWER) == (answer.target.provider, answer.text)
        assert [] == provider.of_case(refuses.name) + provider.of_case(unknown.name)
        assert all(ends_with_assistant(exchange) for exchange in (*provider.of_case("first"), *of_takes))
        assert 1 == len(of_takes)


@pytest.mark.parametrize("unary", [True, False])
async def test_where_no_fallback_takes_a_prefill_the_first_failure_is_what_is_told(*, unary: bool) -> None:
    async with FaultyProvider() as provider:
        first = place(provider, 0, "openai", "html_502", name="first")
        refuses = place(provider, 1, "anthropic", prefill=Prefill.REFUSED)
        unknown = place(provider, 2, "gemini")
        async with line_up(first, refuses, unknown) as client:
            with pytest.raises(AttemptsExhaustedError) as caught:
                await (client.execute(PREFILLED) if unary else client.stream(PREFILLED, options=RESTART).answer())

        assert {("first", pb.FAILURE_KIND_SERVER_ERROR)} == {
            (attempt.target.provider, attempt.failure) for attempt in caught.value.attempts
        }
        assert [] == provider.of_case(refuses.name) + provider.of_case(unknown.name)
    reasons = {rejection.target.provider: rejection for rejection in caught.value.rejections}
    assert [pb.REJECTION_REASON_CAPABILITY] == list(reasons[refuses.name].reasons)
    assert [pb.REJECTION_REASON_CAPABILITY] == list(reasons[unknown.name].reasons)
    assert "assistant" in reasons[unknown.name].detail


async def test_prefill_that_all_refuse_is_told_before_anything_is_sent() -> None:
    async with FaultyProvider() as provider:
        refuses = place(provider, 0, "anthropic", prefill=Prefill.REFUSED)
        async with line_up(refuses) as client:
            with pytest.raises(NoEligibleTargetError):
                await client.execute(PREFILLED)

        assert 0 == provider.connections


async def test_prefill_and_thinking_do_not_go_together_where_the_vendor_says_so() -> None:
    chat = pb.ChatInput(reasoning_effort=pb.REASONING_EFFORT_LOW)
    chat.MergeFrom(PREFILLED)
    async with FaultyProvider() as provider:
        claude = place(provider, 0, "anthropic", prefill=Prefill.TAKEN_WITHOUT_THINKING, thinks=True)
        other = place(provider, 1, "gemini", prefill=Prefill.TAKEN, thinks=True)
        async with line_up(claude, other) as client:
            thinking = await client.execute(chat, options=FAIL)
            plain = await client.execute(PREFILLED, options=FAIL)

    assert (other.name, claude.name) == (thinking.target.provider, plain.target.provider)


def conversation(origin: str) -> pb.ChatInput:
    """An answer of `origin`'s with everything that is sealed for it alone, and a further question."""
    thought = pb.Part(reasoning=pb.Reasoning(text="The points are set."), signature=SEALED, origin_provider=origin)
    redacted = pb.Part(reasoning=pb.Reasoning(redacted_data=REDACTED.encode()), origin_provider=origin)
    text = pb.Part(text="I look.", signature=SEALED, origin_provider=origin)
    call = pb.Part(
        tool_call=pb.ToolCall(id="call_1", name="look", arguments_json="{}"), signature=SEALED, origin_provider=origin
    )
    result = pb.Part(tool_result=pb.ToolResult(tool_call_id="call_1", name="look", content=[pb.Part(text="clear")]))
    return pb.ChatInput(
        messages=[
            QUESTION,
            said(pb.ROLE_ASSISTANT, thought, redacted, text, call),
            said(pb.ROLE_TOOL, result),
        ],
        tools=[pb.Tool(name="look", description="Looks.", parameters_json_schema='{"type": "object"}')],
        max_output_tokens=2000,
    )


@pytest.mark.parametrize("fault", ["html_502", "cut"])
@pytest.mark.parametrize("wire", WIRES)
async def test_what_a_vendor_sealed_goes_back_to_it_and_to_no_fallback(wire: str, fault: str) -> None:
    async with FaultyProvider() as provider:
        first = place(provider, 0, wire, fault, name="first")
        # The same wire again, at another provider, is another vendor too.
        for rank, other in enumerate(WIRES, start=1):
            fallback = place(provider, rank, other)
            async with line_up(first, fallback) as client:
                answer = await client.stream(conversation("first"), options=RESTART).answer()

            assert (fallback.name, ANSWER) == (answer.target.provider, answer.text)
            (received,) = case_bodies(provider, fallback.name)
            assert SEALED.encode() not in received
            assert REDACTED.encode() not in received
            assert b"thoughtSignature" not in received.replace(b"skip_thought_signature_validator", b"")
            assert b"The points are set." not in received, "thoughts of another vendor's model are not this one's"
            assert b"I look." in received
    sealed_for_first = [SEALED.encode() in body for body in case_bodies(provider, "first")]
    assert (wire in {"anthropic", "gemini"}) == all(sealed_for_first)
    assert (wire == "anthropic") == all(REDACTED.encode() in body for body in case_bodies(provider, "first"))


@pytest.mark.parametrize("wire", WIRES)
async def test_tool_call_that_broke_off_is_forgotten_whole_when_the_answer_begins_anew(wire: str) -> None:
    async with FaultyProvider() as provider:
        first = place(provider, 0, wire, "cut_tool_call", name="first")
        other = place(provider, 1, "openai")
        async with line_up(first, other) as client:
            stream = client.stream(PLAIN, options=RESTART)
            events = [event async for event in stream]
            answer = await stream.answer()
            unary = await client.execute(PLAIN, options=RESTART)

    kinds = [event.WhichOneof("event") for event in events]
    restart = next(event.restart for event in events if event.WhichOneof("event") == "restart")
    before = [event.delta for event in events[: kinds.index("restart")] if event.WhichOneof("event") == "delta"]
    assert TOOL_CALL[1] == before[0].tool_call.name
    assert {restart.discarded_attempt_id} == {delta.attempt_id for delta in before}
    assert ((), ANSWER) == (answer.tool_calls, answer.text)
    assert ((), ANSWER) == (unary.tool_calls, unary.text)


PLAIN = pb.ChatInput(messages=[QUESTION], max_output_tokens=2000)


@pytest.mark.parametrize("wire", WIRES)
async def test_caller_of_a_broken_stream_learns_what_it_holds_and_what_each_attempt_did(wire: str) -> None:
    async with FaultyProvider() as provider:
        refuses = place(provider, 0, wire, "error_status", name="refuses")
        breaks = place(provider, 1, wire, "cut", name="breaks")
        async with line_up(refuses, breaks) as client:
            stream = client.stream(PLAIN, options=FAIL)
            with pytest.raises(StreamInterruptedError) as caught:
                await stream.answer()

    error = caught.value
    assert grpc.StatusCode.DATA_LOSS is error.code
    assert (HALF, len(HALF.encode())) == (stream.text_so_far, error.delivered_bytes)
    assert [HALF] == [part.text for part in stream.parts_so_far]
    failed = told(error.attempts)
    assert ("breaks", pb.FAILURE_KIND_TRUNCATED, True) == failed[-1]
    assert {"refuses"} == {name for name, _, _ in failed[:-1]}
    assert not any(billed for _, _, billed in failed[:-1])
    assert all(attempt.attempt_id and attempt.detail and attempt.latency for attempt in error.attempts)
    assert error.usage is not None
    assert pb.USAGE_SOURCE_ESTIMATED == error.usage.source
    assert error.cost_usd is not None
    assert error.cost_usd > 0
    assert error.details.retry_forbidden


async def test_restart_stops_at_the_most_attempts_and_says_that_the_caller_holds_nothing_whole() -> None:
    async with FaultyProvider() as provider:
        places = [place(provider, rank, "openai", "cut") for rank in range(6)]
        async with line_up(*places) as client:
            stream = client.stream(PLAIN, options=RESTART)
            with pytest.raises(StreamInterruptedError) as caught:
                await stream.answer()
        asked = [len(provider.of_case(each.name)) for each in places]

    assert [1, 1, 1, 1, 0, 0] == asked, "four attempts, and never the same target again"
    assert (HALF, len(HALF)) == (stream.text_so_far, caught.value.delivered_bytes)
    assert 4 == len(caught.value.attempts)


async def test_failure_after_a_restart_tells_that_nothing_is_held() -> None:
    async with FaultyProvider() as provider:
        breaks, refuses = place(provider, 0, "openai", "cut"), place(provider, 1, "anthropic", "rate_limit=3000")
        async with line_up(breaks, refuses) as client:
            stream = client.stream(PLAIN, options=RESTART)
            with pytest.raises(AttemptsExhaustedError) as caught:
                await stream.answer()

    assert ("", (), 0) == (stream.text_so_far, stream.parts_so_far, caught.value.delivered_bytes)


async def test_what_nobody_was_charged_for_is_known_to_cost_nothing() -> None:
    async with FaultyProvider() as provider, line_up(place(provider, 0, "openai", "refused")) as client:
        with pytest.raises(AllAttemptsRefusedError) as caught:
            await client.execute(PLAIN)

    assert (None, 0.0, 0) == (caught.value.usage, caught.value.cost_usd, caught.value.delivered_bytes)


async def test_connection_that_died_while_it_was_idle_costs_no_more_than_a_quick_retry() -> None:
    async with FaultyProvider() as provider:
        stale = place(provider, 0, "openai", "reset_on_reuse", name="stale")
        async with line_up(stale, place(provider, 1, "anthropic")) as client:
            answers = [await client.execute(PLAIN, options=FAIL) for _ in range(2)]

    assert ["stale", "stale"] == [answer.target.provider for answer in answers]
    assert [1, 2] == [len(answer.attempts) for answer in answers]


def told(attempts: Sequence[pb.Attempt]) -> list[tuple[str, pb.FailureKind.ValueType, bool]]:
    return [(attempt.target.provider, attempt.failure, attempt.possibly_billed) for attempt in attempts]
