"""The tree of every way that a call can go: which spans there are, whose children they are, and how each one ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode, format_span_id

from tests.api.sidecar import ANSWER, HELLO, LOCAL, SPECS, Script, everywhere, failing, first_delta, reason
from tests.api.traced_sidecar import (
    CALL,
    TRACE_ID,
    TRACEPARENT,
    Traced,
    attempts,
    attributes,
    decisions,
    ids,
    metadata,
    named,
    traced,
)
from turnout.v1 import router_pb2 as pb
from turnout_server.calendars import calendar
from turnout_server.core.budget import BudgetPeriod, BudgetScope, BudgetSpec
from turnout_server.core.chat import TextDelta
from turnout_server.core.model import FailureKind, Strategy
from turnout_server.core.settings import CacheSettings, FailoverSettings, Policy, RoutingSettings, Settings
from turnout_server.ports import ResponseHead

CALL_SECONDS = 60
BEST = pb.RoutingOptions(strategy=pb.STRATEGY_QUALITY)
COLD = pb.ChatInput(messages=HELLO.messages, temperature=0.0)
OTHER_TRACE = TRACE_ID[::-1]
BREAKS: Script = (
    (ResponseHead(http_status=200),),
    (TextDelta(part_index=0, text="Hel"),),
    failing(FailureKind.TRUNCATED, status=200),
)


def core(**policy: object) -> Settings:
    return Settings(routing=RoutingSettings(policies={"default": Policy(strategy=Strategy.QUALITY, **policy)}))  # type: ignore[arg-type]


def asked(**facts: object) -> pb.ExecuteRequest:
    return pb.ExecuteRequest(**{"input": HELLO, "options": BEST, **facts})  # type: ignore[arg-type]


async def made(sidecar: Traced, method: str, seconds: float | None = CALL_SECONDS, **facts: object) -> None:
    """Makes a call below the caller's span, and reads all of its answer."""
    stub, common = sidecar.sidecar.stub, {"timeout": seconds, "metadata": metadata()}
    if method == "Route":
        await stub.Route(pb.RouteRequest(), **common)  # type: ignore[arg-type]
    elif method == "Execute":
        await stub.Execute(asked(**facts), **common)  # type: ignore[arg-type]
    else:
        request = pb.ExecuteStreamRequest(**{"input": HELLO, "options": BEST, **facts})  # type: ignore[arg-type]
        async for _ in stub.ExecuteStream(request, **common):  # type: ignore[arg-type]
            pass


def tree(spans: Sequence[ReadableSpan]) -> tuple[ReadableSpan, list[str]]:
    """The RPC's span, and the names of all others, which are its children."""
    (call,) = (span for span in spans if span.name.startswith(CALL))
    children = [span for span in spans if span is not call]
    assert {ids(span)[2] for span in children} <= {ids(call)[1]}
    assert {ids(span)[0] for span in children} <= {ids(call)[0]}
    for span in children:
        assert call.start_time <= span.start_time <= span.end_time <= call.end_time  # type: ignore[operator]
    return call, [span.name for span in children]


def error(span: ReadableSpan) -> tuple[object, StatusCode]:
    return attributes(span).get("error.type"), span.status.status_code


async def test_a_hedge_is_a_sibling_of_the_attempt_that_was_late() -> None:
    held = asyncio.Event()
    async with traced({"alpha/large": (held,)}, core=core(hedge=True)) as sidecar:
        answer = await sidecar.sidecar.stub.Execute(asked(), timeout=CALL_SECONDS)
        spans = await sidecar.spans(5)

    call, names = tree(spans)
    late, second = attempts(spans)
    assert sorted(names) == ["chat large", f"chat {answer.target.model}", "turnout.decide", "turnout.decide"]
    assert error(call) == (None, StatusCode.UNSET)
    # Whoever is let go has not failed.
    assert error(late) == ("cancelled", StatusCode.UNSET)
    assert error(second) == (None, StatusCode.UNSET)
    assert attributes(second)["turnout.attempt.hedge"] is True
    assert "turnout.attempt.hedge" not in attributes(late)
    assert [attributes(span)["turnout.attempt.number"] for span in (late, second)] == [1, 2]
    assert str(attributes(second)["turnout.attempt.retry_reason"]).startswith("hedge: alpha/large had no content")
    first, again = decisions(spans)
    assert "turnout.decision.cause" not in attributes(first)
    assert attributes(again)["turnout.decision.cause"] == attributes(second)["turnout.attempt.retry_reason"]
    # They overlap: that is what a hedge is.
    assert second.start_time < late.end_time  # type: ignore[operator]


@pytest.mark.parametrize("method", ["Execute", "ExecuteStream"])
async def test_a_kept_answer_has_no_attempt_and_says_so(method: str) -> None:
    async with traced(core=core(cache=CacheSettings())) as sidecar:
        await sidecar.sidecar.stub.Execute(asked(input=COLD), timeout=CALL_SECONDS)
        await made(sidecar, method, input=COLD)
        all_spans = await sidecar.spans(5)

    call, names = tree([span for span in all_spans if ids(span)[0] == TRACE_ID])
    assert names == ["turnout.decide"]
    assert attributes(call).items() >= {"turnout.answer.cached": True, "turnout.answer.joined": False}.items()
    (before,) = (span for span in all_spans if span.name == f"{CALL}Execute" and span is not call)
    assert "turnout.answer.cached" not in attributes(before)
    # It is a decision of its own, which tells of the answer.
    assert attributes(call)["turnout.decision.id"] != attributes(before)["turnout.decision.id"]
    decide = next(span for span in decisions(all_spans) if ids(span)[2] == ids(call)[1])
    assert "answered an equal request" in str(attributes(decide)["turnout.decision.reason"])


@pytest.mark.parametrize("method", ["Execute", "ExecuteStream"])
async def test_an_answer_of_an_earlier_request_is_linked_to_its_decision(method: str) -> None:
    async with traced() as sidecar:
        await sidecar.sidecar.stub.Execute(asked(request_id="one"), timeout=CALL_SECONDS)
        await made(sidecar, method, request_id="one")
        spans = await sidecar.spans(5)

    call, names = tree([span for span in spans if ids(span)[0] == TRACE_ID])
    source = next(span for span in decisions(spans) if ids(span)[0] != TRACE_ID)
    assert names == ["turnout.decide"]
    assert attributes(call).items() >= {"turnout.answer.cached": False, "turnout.answer.joined": True}.items()
    (link,) = call.links
    assert format_span_id(link.context.span_id) == ids(source)[1]
    assert dict(link.attributes or {}) == {"turnout.decision.id": attributes(source)["turnout.decision.id"]}


async def test_requests_that_wait_for_the_same_call_are_linked_to_the_one_that_makes_it() -> None:
    gate = asyncio.Event()
    async with traced(everywhere(gate, *ANSWER)) as sidecar:
        stub = sidecar.sidecar.stub
        first = stub.Execute(asked(request_id="one"), timeout=CALL_SECONDS)
        await sidecar.sidecar.upstream.began.wait()
        second = stub.Execute(asked(request_id="one"), timeout=CALL_SECONDS, metadata=metadata())
        async with asyncio.timeout(CALL_SECONDS):
            while [call.waiting for call in sidecar.sidecar.server.answering.once._running.values()] != [2]:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.005)
        gate.set()
        await asyncio.gather(first, second)
        spans = await sidecar.spans(5)

    joined, names = tree([span for span in spans if ids(span)[0] == TRACE_ID])
    source = next(span for span in decisions(spans) if ids(span)[0] != TRACE_ID)
    assert names == ["turnout.decide"]
    assert attributes(joined)["turnout.answer.joined"] is True
    assert [format_span_id(link.context.span_id) for link in joined.links] == [ids(source)[1]]
    (chat,) = attempts(spans)
    assert ids(chat)[0] == ids(source)[0]


async def test_a_stream_that_begins_anew_tells_when_and_why() -> None:
    async with traced({"alpha/large": BREAKS}) as sidecar:
        options = pb.RoutingOptions(strategy=pb.STRATEGY_QUALITY, mid_stream=pb.MID_STREAM_POLICY_RESTART)
        await made(sidecar, "ExecuteStream", options=options)
        spans = await sidecar.spans(5)

    call, _ = tree(spans)
    broken, whole = attempts(spans)
    assert error(call) == (None, StatusCode.UNSET)
    assert error(broken) == ("truncated", StatusCode.ERROR)
    assert error(whole) == (None, StatusCode.UNSET)
    # Both have delivered something, and the RPC ends when the second has.
    for span in (broken, whole):
        assert attributes(span)["gen_ai.response.time_to_first_chunk"] is not None
    (restarted,) = (event for event in call.events if event.name == "turnout.restarted")
    assert dict(restarted.attributes or {}) == {
        "turnout.attempt.id": attributes(broken)["turnout.attempt.id"],
        "error.type": "truncated",
    }
    assert broken.end_time <= restarted.timestamp <= whole.start_time  # type: ignore[operator]


async def test_a_forced_target_has_all_others_rejected() -> None:
    async with traced() as sidecar:
        options = pb.RoutingOptions(force_target="beta/large")
        await sidecar.sidecar.stub.Execute(asked(options=options), timeout=CALL_SECONDS)
        spans = await sidecar.spans(3)

    (decide,) = decisions(spans)
    assert attributes(decide)["turnout.decision.chosen"] == "beta/large"
    assert attributes(decide)["turnout.rejections.targets"] == ["alpha/large", "alpha/small"]
    assert attributes(decide)["turnout.rejections.reasons"] == ["NOT_FORCED", "NOT_FORCED"]


class Ends(NamedTuple):
    """How a call ends that finds nobody, and what is held against every target."""

    settings: Settings
    code: str
    reason: str
    status: StatusCode
    rejection: str


MONTH = calendar(BudgetPeriod.MONTH, "UTC")
BROKE = BudgetSpec(name="all", scope=BudgetScope.GLOBAL, limit_nano_usd=1, calendar=MONTH, per_pod=True)
NOBODY = (
    Ends(Settings(drained=("alpha", "beta")), "UNAVAILABLE", "ALL_TARGETS_UNAVAILABLE", StatusCode.ERROR, "DRAINED"),
    # Whoever has no money left is the cause of it.
    Ends(Settings(budgets=(BROKE,)), "RESOURCE_EXHAUSTED", "BUDGET_EXHAUSTED", StatusCode.UNSET, "BUDGET"),
)


@pytest.mark.parametrize("ends", NOBODY, ids=lambda ends: str(ends.reason))
@pytest.mark.parametrize("method", ["Route", "Execute", "ExecuteStream"])
async def test_a_call_that_finds_nobody_has_a_decision_that_failed(method: str, ends: Ends) -> None:
    async with traced(core=ends.settings) as sidecar:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await made(sidecar, method)
        spans = await sidecar.spans(2)

    call, names = tree(spans)
    decide = named(spans, "turnout.decide")
    assert reason(caught.value) == ends.reason
    assert names == ["turnout.decide"]
    assert attributes(call)["rpc.status_code"] == ends.code
    assert error(call) == error(decide) == (ends.reason, ends.status)
    assert attributes(call)["turnout.decision.id"] == attributes(decide)["turnout.decision.id"]
    assert set(attributes(decide)["turnout.rejections.reasons"]) == {ends.rejection}  # type: ignore[call-overload]
    assert attributes(decide)["turnout.decision.reason"]


async def test_a_call_that_is_cut_at_the_stop_says_that_it_was() -> None:
    held = asyncio.Event()
    async with traced(everywhere(*ANSWER[:2], held), settings=replace(LOCAL, drain_seconds=1.2)) as sidecar:
        stream = sidecar.sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=HELLO), timeout=CALL_SECONDS)
        await first_delta(stream)
        await sidecar.sidecar.server.stop()
        spans = await sidecar.spans(3)

    call, _ = tree(spans)
    assert attributes(call)["rpc.status_code"] == "UNAVAILABLE"
    assert error(call) == ("DRAINING", StatusCode.ERROR)
    (chat,) = attempts(spans)
    assert error(chat) == ("cancelled", StatusCode.UNSET)


async def test_a_caller_who_leaves_leaves_cancelled_spans() -> None:
    held = asyncio.Event()
    async with traced(everywhere(held)) as sidecar:
        call = sidecar.sidecar.stub.Execute(asked(), timeout=CALL_SECONDS)
        await sidecar.sidecar.upstream.began.wait()
        call.cancel()
        spans = await sidecar.spans(3)

    whole, _ = tree(spans)
    assert attributes(whole)["rpc.status_code"] == "CANCELLED"
    assert error(whole) == ("CANCELLED", StatusCode.UNSET)
    assert [error(span) for span in attempts(spans)] == [("cancelled", StatusCode.UNSET)]


@pytest.mark.parametrize("method", ["Execute", "ExecuteStream"])
async def test_a_call_whose_time_runs_out_says_so(method: str) -> None:
    held = asyncio.Event()
    # The sidecar's own limit: how soon a caller's is noticed on a busy machine is not what is tested.
    short = Settings(failover=FailoverSettings(request_timeout_seconds=0.2))
    async with traced(everywhere(held), core=short) as sidecar:
        with pytest.raises(grpc.aio.AioRpcError):
            await made(sidecar, method, None, options=pb.RoutingOptions(force_target="beta/large"))
        spans = await sidecar.spans(3)

    call, _ = tree(spans)
    assert attributes(call)["rpc.status_code"] == "DEADLINE_EXCEEDED"
    assert error(call) == ("DEADLINE", StatusCode.ERROR)
    # The target has done nothing wrong.
    assert [error(span) for span in attempts(spans)] == [("cancelled", StatusCode.UNSET)]


async def test_every_attempt_fails_and_each_says_how() -> None:
    scripts: dict[str, Script] = {
        "alpha/large": (failing(FailureKind.RATE_LIMITED, status=429, possibly_billed=False),),
        "alpha/small": (failing(FailureKind.OVERLOADED, status=503, possibly_billed=False),),
        "beta/large": (failing(FailureKind.QUOTA_EXHAUSTED, status=402, possibly_billed=False),),
    }
    async with traced(scripts) as sidecar:
        with pytest.raises(grpc.aio.AioRpcError):
            await sidecar.sidecar.stub.Execute(asked(), timeout=CALL_SECONDS)
        spans = await sidecar.spans(8)

    call, _ = tree(spans)
    assert attributes(call)["rpc.status_code"] == "UNAVAILABLE"
    assert error(call) == ("ALL_ATTEMPTS_REFUSED", StatusCode.ERROR)
    assert {error(span) for span in attempts(spans)} == {
        ("rate_limited", StatusCode.ERROR),
        ("overloaded", StatusCode.ERROR),
        ("quota_exhausted", StatusCode.ERROR),
    }
    first, *hops = decisions(spans)
    assert "turnout.decision.hop" not in attributes(first)
    assert [attributes(hop)["turnout.decision.hop"] for hop in hops] == list(range(1, len(hops) + 1))
    # The last says of every target why it could not be asked any more.
    assert "turnout.candidates.targets" not in attributes(hops[-1])
    assert len(attributes(hops[-1])["turnout.rejections.reasons"]) == len(SPECS)  # type: ignore[arg-type]


async def test_a_batch_of_reports_is_linked_to_every_decision_that_is_known() -> None:
    async with traced() as sidecar:
        stub = sidecar.sidecar.stub
        plans = [(await stub.Route(pb.RouteRequest(), timeout=CALL_SECONDS)).decision for _ in range(3)]
        target = plans[0].candidates[0].target

        def report(decision_id: str, attempt: int) -> pb.Outcome:
            return pb.Outcome(decision_id=decision_id, attempt_id=f"a-{attempt}", target=target, ok=True)

        outcomes = [report(plans[0].decision_id, 0), report(plans[1].decision_id, 1), report("long-forgotten", 2)]
        outcomes += [report(plans[0].decision_id, n) for n in range(3, 16)]
        # Beyond the sixteenth there is no span for each.
        outcomes += [report(plans[2].decision_id, n) for n in range(16, 18)]
        answer = await stub.ReportOutcome(
            pb.ReportOutcomeRequest(outcomes=outcomes),
            metadata=(("traceparent", TRACEPARENT.replace(TRACE_ID, OTHER_TRACE)),),
            timeout=CALL_SECONDS,
        )
        spans = await sidecar.spans(6 + 17)

    assert len(answer.results) == len(outcomes)
    of_decision = {attributes(span)["turnout.decision.id"]: ids(span)[1] for span in decisions(spans)}
    call = named(spans, f"{CALL}ReportOutcome")
    reports = [span for span in spans if span.name == "turnout.report"]
    assert {ids(span)[::2] for span in reports} == {(OTHER_TRACE, ids(call)[1])}
    for span, outcome in zip(reports, outcomes, strict=False):
        said = attributes(span)
        assert said["turnout.decision.id"] == outcome.decision_id
        assert said["turnout.attempt.id"] == outcome.attempt_id
        linked = [format_span_id(link.context.span_id) for link in span.links]
        assert linked == [of for decision_id, of in of_decision.items() if decision_id == outcome.decision_id]
    assert attributes(call)["turnout.reports.unlisted"] == 2
    assert [format_span_id(link.context.span_id) for link in call.links] == [of_decision[plans[2].decision_id]]


async def test_a_report_that_comes_twice_or_is_of_nobody_says_so() -> None:
    async with traced() as sidecar:
        stub = sidecar.sidecar.stub
        decision = (await stub.Route(pb.RouteRequest(), timeout=CALL_SECONDS)).decision
        known = pb.Outcome(
            decision_id=decision.decision_id, attempt_id="a", target=decision.candidates[0].target, ok=True
        )
        nobody = pb.Outcome(attempt_id="b", target=pb.Target(provider="no", model="body"), ok=True)
        await stub.ReportOutcome(pb.ReportOutcomeRequest(outcomes=[known, known, nobody]), timeout=CALL_SECONDS)
        spans = await sidecar.spans(6)

    said = [attributes(span) for span in spans if span.name == "turnout.report"]
    assert sorted(str(one["turnout.report.result"]) for one in said) == ["accepted", "duplicate", "rejected"]
