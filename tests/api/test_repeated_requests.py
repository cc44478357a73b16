"""Requests made before: ids that stand for one call, answers that are kept; and prompts that are shortened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable

import grpc
import pytest

from tests.api.sidecar import ANSWER, HELLO, SPECS, Sidecar, details, everywhere, reason, running, spec
from turnout.gather import Gatherer
from turnout.v1 import admin_pb2
from turnout.v1 import router_pb2 as pb
from turnout_server.core.settings import CacheSettings, Policy, RoutingSettings, Settings
from turnout_server.telemetry.metrics.metrics import Metrics

COLD = pb.ChatInput(messages=HELLO.messages, temperature=0.0)


def core(policy: Policy) -> Settings:
    return Settings(routing=RoutingSettings(policies={"default": policy}))


def asked(request_id: str = "order-7", chat: pb.ChatInput = HELLO, **facts: object) -> pb.ExecuteRequest:
    return pb.ExecuteRequest(input=chat, request_id=request_id, **facts)  # type: ignore[arg-type]  # tests name fields


def text(output: pb.ChatOutput) -> str:
    return "".join(part.text for part in output.parts)


async def events(stream: AsyncIterable[pb.ExecuteStreamResponse]) -> list[pb.ExecuteStreamResponse]:
    return [message async for message in stream]


def streamed_text(messages: list[pb.ExecuteStreamResponse]) -> str:
    return "".join(message.delta.text for message in messages)


async def waiting(sidecar: Sidecar, count: int) -> None:
    """Returns when so many callers wait for one call."""
    async with asyncio.timeout(60):
        while [call.waiting for call in sidecar.server.answering.once._running.values()] != [count]:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.005)


def scrape(metrics: Metrics) -> str:
    return metrics.render("")[0].decode()


async def trailer(call: grpc.aio.UnaryUnaryCall[pb.ExecuteRequest, pb.ExecuteResponse]) -> str:
    return str(dict(await call.trailing_metadata() or ())["turnout-decision-id"])


async def test_two_callers_of_one_id_get_one_calls_answer_with_its_decision_as_trailer() -> None:
    gate = asyncio.Event()
    async with running(scripts=everywhere(*ANSWER[:1], gate, *ANSWER[1:])) as sidecar:
        first = sidecar.stub.Execute(asked(), timeout=20)
        await sidecar.upstream.began.wait()
        second = sidecar.stub.Execute(asked(), timeout=20)
        await waiting(sidecar, 2)
        gate.set()
        answers = [await first, await second, await sidecar.stub.Execute(asked(), timeout=20)]
        trailers = [await trailer(first), await trailer(second)]
        sidecar.metrics.watch_answers(sidecar.server.answering.once, sidecar.server.answering.cache)
        listed = await sidecar.admin.ListDecisions(admin_pb2.ListDecisionsRequest(), timeout=20)

    assert [text(answer.output) for answer in answers] == ["Hello there!"] * 3
    assert [answer.joined for answer in answers] == [False, True, True]
    assert {answer.decision.decision_id for answer in answers} == set(trailers)
    assert answers[2].attempts == answers[0].attempts
    assert len(sidecar.upstream.calls) == len(listed.decisions) == 1
    assert "turnout_requests_joined_total 2.0" in scrape(sidecar.metrics)


async def test_one_callers_leaving_ends_nothing_for_the_other() -> None:
    gate = asyncio.Event()
    async with running(scripts=everywhere(*ANSWER[:2], gate, *ANSWER[2:])) as sidecar:
        first = sidecar.stub.Execute(asked(), timeout=20)
        await sidecar.upstream.began.wait()
        second = sidecar.stub.Execute(asked(), timeout=20)
        await waiting(sidecar, 2)
        first.cancel()
        await waiting(sidecar, 1)
        closed = sidecar.upstream.closed.is_set()
        gate.set()
        answer = await second

    assert not closed
    assert text(answer.output) == "Hello there!"
    assert len(sidecar.upstream.calls) == 1


async def test_the_last_callers_leaving_closes_the_providers_connection() -> None:
    async with running(scripts=everywhere(*ANSWER[:2], asyncio.Event())) as sidecar:
        calls = [sidecar.stub.Execute(asked(), timeout=20) for _ in range(2)]
        await sidecar.upstream.began.wait()
        await waiting(sidecar, 2)
        for call in calls:
            call.cancel()
        async with asyncio.timeout(60):
            await sidecar.upstream.closed.wait()

        assert len(sidecar.upstream.calls) == 1


async def test_an_id_with_another_payload_is_refused_by_name() -> None:
    async with running() as sidecar:
        await sidecar.stub.Execute(asked(), timeout=20)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await sidecar.stub.Execute(asked(chat=COLD), timeout=20)

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason(caught.value) == "REQUEST_ID_REUSED"
    assert 'request_id "order-7"' in (caught.value.details() or "")
    assert "BadRequest" not in details(caught.value)


async def test_an_id_of_a_running_stream_already_exists() -> None:
    gate = asyncio.Event()
    async with running(scripts=everywhere(*ANSWER[:1], gate, *ANSWER[1:])) as sidecar:
        request = pb.ExecuteStreamRequest(input=HELLO, request_id="order-7")
        stream = asyncio.ensure_future(events(sidecar.stub.ExecuteStream(request, timeout=20)))
        await sidecar.upstream.began.wait()
        refused = []
        for call in (
            sidecar.stub.Execute(asked(), timeout=20),
            events(sidecar.stub.ExecuteStream(request, timeout=20)),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            refused.append((caught.value.code(), reason(caught.value)))
        gate.set()
        messages = await stream
        later = await events(sidecar.stub.ExecuteStream(request, timeout=20))

    assert refused == [(grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")] * 2
    assert streamed_text(messages) == streamed_text(later) == "Hello there!"


async def test_tenants_never_share_an_id() -> None:
    async with running() as sidecar:
        answers = [
            await sidecar.stub.Execute(asked(caller=pb.Caller(tenant=tenant)), timeout=20) for tenant in ("a", "b", "a")
        ]

    assert [answer.joined for answer in answers] == [False, False, True]


async def test_each_who_joins_has_its_own_deadline() -> None:
    gate = asyncio.Event()
    async with running(scripts=everywhere(*ANSWER[:1], gate, *ANSWER[1:])) as sidecar:
        first = sidecar.stub.Execute(asked(), timeout=60)
        await sidecar.upstream.began.wait()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await sidecar.stub.Execute(asked(), timeout=0.3)
        gate.set()
        answer = await first

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert text(answer.output) == "Hello there!"


async def test_a_kept_answer_costs_nothing_and_is_marked_in_both_methods_and_in_the_history() -> None:
    async with running(core=core(Policy(cache=CacheSettings()))) as sidecar:
        sidecar.metrics.watch_answers(sidecar.server.answering.once, sidecar.server.answering.cache)
        first = await sidecar.stub.Execute(asked("", COLD), timeout=20)
        call = sidecar.stub.Execute(asked("", COLD), timeout=20)
        hit, decision_id = await call, await trailer(call)
        messages = await events(sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=COLD), timeout=20))
        record = await sidecar.admin.GetDecision(admin_pb2.GetDecisionRequest(decision_id=decision_id), timeout=20)
        page = scrape(sidecar.metrics)
    kinds = [message.WhichOneof("event") for message in messages]
    gathered = Gatherer()
    for message in messages:
        gathered.add(message)
    of_client = gathered.answer()

    assert (of_client.text, of_client.cached, of_client.joined) == ("Hello there!", True, False)
    assert (first.cached, hit.cached) == (False, True)
    assert hit.output == first.output
    assert (hit.HasField("cost_usd"), hit.cost_usd, len(hit.attempts)) == (True, 0.0, 0)
    assert hit.decision.decision_id == decision_id
    assert kinds == ["decision", "delta", "completion"]
    assert streamed_text(messages) == "Hello there!"
    assert messages[-1].completion.cached
    assert record.decision.cached
    assert record.decision.result == admin_pb2.DECISION_RESULT_OK
    assert len(sidecar.upstream.calls) == 1
    assert 'turnout_cache_requests_total{policy="default",result="hit"} 2.0' in page
    assert 'turnout_cache_requests_total{policy="default",result="miss"} 1.0' in page
    assert 'turnout_answers_kept_bytes{what="cache"}' in page


async def test_a_stream_that_was_answered_answers_a_unary_call() -> None:
    async with running(core=core(Policy(cache=CacheSettings()))) as sidecar:
        await events(sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=COLD), timeout=20))
        hit = await sidecar.stub.Execute(asked("", COLD), timeout=20)
        other = await sidecar.stub.Execute(asked("", COLD, caller=pb.Caller(tenant="other")), timeout=20)

    assert hit.cached
    assert not other.cached
    assert text(hit.output) == "Hello there!"


def long_chat() -> pb.ChatInput:
    messages = [pb.Message(role=pb.ROLE_SYSTEM, parts=[pb.Part(text="be kind")])]
    for number in range(10):
        messages.append(pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text=f"{number}" + "x" * 40_000)]))
        messages.append(pb.Message(role=pb.ROLE_ASSISTANT, parts=[pb.Part(text=f"{number}" + "y" * 40_000)]))
    messages.append(pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text="and now?")]))
    return pb.ChatInput(messages=messages, max_output_tokens=100)


@pytest.mark.parametrize("streaming", [False, True], ids=["unary", "stream"])
async def test_a_prompt_beyond_every_window_is_shortened_and_the_caller_is_told(
    streaming: bool,  # noqa: FBT001  # a table's column
) -> None:
    # Ten exchanges of 20,000 tokens each, for windows of 128,000.
    async with running(core=core(Policy(trim=True))) as sidecar:
        if streaming:
            request = pb.ExecuteStreamRequest(input=long_chat())
            notices = (await events(sidecar.stub.ExecuteStream(request, timeout=20)))[-1].completion.notices
        else:
            notices = (await sidecar.stub.Execute(asked("", long_chat()), timeout=20)).notices
        sent = sidecar.upstream.calls[0].chat.messages
    report = notices.trimming

    assert (len(sent), report.removed_messages, report.repeated_messages) == (14, 8, 0)
    assert report.removed_tokens == report.tokens_before - report.tokens_after
    assert 80_000 <= report.removed_tokens <= 80_100
    assert report.reason == "longer than the window of every target that can be used"


async def test_without_leave_a_prompt_beyond_every_window_is_refused() -> None:
    async with running() as sidecar:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await sidecar.stub.Execute(asked("", long_chat()), timeout=20)

    assert reason(caught.value) == "NO_ELIGIBLE_TARGET"
    assert sidecar.upstream.calls == []


async def test_answers_of_a_target_that_is_gone_are_not_given_any_more() -> None:
    async with running(core=core(Policy(cache=CacheSettings()))) as sidecar:
        first = await sidecar.stub.Execute(asked("", COLD), timeout=20)
        gone = f"{first.target.provider}/{first.target.model}"
        left = tuple(each for each in (*SPECS, spec("beta", "new")) if each.name != gone)
        sidecar.router.adopt(type(sidecar.router.configured.fleet)(left), sidecar.router.configured.settings)
        second = await sidecar.stub.Execute(asked("", COLD), timeout=20)

    assert not second.cached
    assert f"{second.target.provider}/{second.target.model}" != gone
