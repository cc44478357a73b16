"""What a trace says of a call: names, parents, attributes, events and links, as the SDK's own exporter gets them."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from tests.api.sidecar import ANSWER, HELLO, SPECS, Script, details, everywhere, failing, first_delta, running
from tests.api.traced_sidecar import (
    CALL,
    CALLERS_SPAN,
    TRACE_ID,
    TRACEPARENT,
    UNSAMPLED,
    attributes,
    decisions,
    ids,
    metadata,
    named,
    traced,
)
from turnout.v1 import router_pb2 as pb
from turnout_server.core.chat import TextDelta
from turnout_server.core.model import FailureKind
from turnout_server.ports import ResponseHead
from turnout_server.telemetry.traces.tracing import add_to_span


async def test_an_execute_with_a_failover_is_one_trace_below_the_callers_span() -> None:
    first = failing(FailureKind.OVERLOADED, status=529, possibly_billed=False)
    async with traced({"alpha/large": (first,)}) as sidecar:
        request = pb.ExecuteRequest(input=HELLO, options=pb.RoutingOptions(strategy=pb.STRATEGY_QUALITY))
        request.input.temperature = 0.5
        request.input.max_output_tokens = 100
        answer = await sidecar.sidecar.stub.Execute(request, metadata=metadata())
        spans = await sidecar.spans(5)
        calls = sidecar.sidecar.upstream.calls

    call, decide, again, failed, chat = (
        named(spans, f"{CALL}Execute"),
        *decisions(spans),
        *(span for span in spans if span.kind is SpanKind.CLIENT),
    )
    assert ids(call)[::2] == (TRACE_ID, CALLERS_SPAN)
    assert call.kind is SpanKind.SERVER
    assert attributes(call) == {
        "rpc.system.name": "grpc",
        "rpc.method": f"{CALL}Execute",
        "rpc.status_code": "OK",
        "turnout.decision.id": answer.decision.decision_id,
    }
    for child in (decide, again, failed, chat):
        assert ids(child)[::2] == (TRACE_ID, ids(call)[1])
        assert call.start_time <= child.start_time <= child.end_time <= call.end_time  # type: ignore[operator]
    assert {span.get_span_context().trace_state.get("vendor") for span in spans} == {"x"}  # type: ignore[union-attr]

    said = attributes(decide)
    assert said["turnout.decision.id"] == answer.decision.decision_id
    assert said["turnout.decision.chosen"] == "alpha/large"
    assert said["turnout.candidates.targets"] == [str_of(candidate) for candidate in answer.decision.candidates]
    assert len(said["turnout.candidates.scores"]) == len(SPECS)  # type: ignore[arg-type]
    assert [event.name for event in decide.events] == ["turnout.candidate"] * 3
    assert attributes(decide.events[0])["turnout.candidate.target"] == "alpha/large"  # type: ignore[arg-type]

    # Where to go next was decided again, of those that were left.
    assert (
        attributes(again).items()
        >= {
            "turnout.decision.id": answer.decision.decision_id,
            "turnout.decision.hop": 1,
            "turnout.decision.cause": "alpha/large failed: OVERLOADED",
            "turnout.decision.chosen": str_of_target(answer.target),
        }.items()
    )
    assert "alpha/large" not in attributes(again)["turnout.candidates.targets"]  # type: ignore[operator]
    assert "turnout.decision.hop" not in said

    assert failed.status.status_code is StatusCode.ERROR
    assert (
        attributes(failed).items()
        >= {
            "error.type": "overloaded",
            "turnout.attempt.number": 1,
            "turnout.target": "alpha/large",
            "http.response.status_code": 529,
            "turnout.attempt.possibly_billed": False,
        }.items()
    )
    target = answer.target
    assert chat.name == f"chat {target.model}"
    assert chat.status.status_code is StatusCode.UNSET
    assert (
        attributes(chat).items()
        >= {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": target.provider,
            "gen_ai.request.model": target.model,
            "gen_ai.request.max_tokens": 100,
            "gen_ai.request.temperature": 0.5,
            "gen_ai.response.model": "m-1",
            "gen_ai.response.id": "r-1",
            "gen_ai.response.finish_reasons": ("stop",),
            "gen_ai.usage.input_tokens": 10,
            "gen_ai.usage.output_tokens": 5,
            "server.address": f"{target.provider}.example",
            "server.port": 443,
            "turnout.attempt.number": 2,
            "turnout.attempt.cost_usd": 20e-6,
        }.items()
    )
    assert "error.type" not in attributes(chat)
    assert "overloaded" in str(attributes(chat)["turnout.attempt.retry_reason"]).lower()
    # Each provider gets the span of its own attempt for a parent, and no baggage.
    assert [dict(made.trace_headers) for made in calls] == [
        {"traceparent": f"00-{TRACE_ID}-{ids(span)[1]}-01", "tracestate": "vendor=x"} for span in (failed, chat)
    ]


def str_of(candidate: pb.Candidate) -> str:
    return str_of_target(candidate.target)


def str_of_target(target: pb.Target) -> str:
    return f"{target.provider}/{target.model}"


async def test_a_stream_has_its_time_to_first_chunk_and_ends_with_its_call() -> None:
    async with traced() as sidecar:
        async for _ in sidecar.sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=HELLO)):
            pass
        spans = await sidecar.spans(3)

    call, chat = named(spans, f"{CALL}ExecuteStream"), next(s for s in spans if s.kind is SpanKind.CLIENT)
    assert call.parent is None
    assert attributes(call)["rpc.status_code"] == "OK"
    assert attributes(chat)["gen_ai.request.stream"] is True
    assert 0 <= float(str(attributes(chat)["gen_ai.response.time_to_first_chunk"])) <= seconds(chat)


def seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


async def test_a_caller_who_leaves_a_stream_leaves_cancelled_spans() -> None:
    held = asyncio.Event()
    async with traced(everywhere(*ANSWER[:2], held)) as sidecar:
        stream = sidecar.sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=HELLO))
        await first_delta(stream)
        stream.cancel()
        spans = await sidecar.spans(3)

    call, chat = named(spans, f"{CALL}ExecuteStream"), next(s for s in spans if s.kind is SpanKind.CLIENT)
    assert attributes(call).items() >= {"rpc.status_code": "CANCELLED", "error.type": "CANCELLED"}.items()
    assert attributes(chat)["error.type"] == "cancelled"
    assert call.status.status_code is chat.status.status_code is StatusCode.UNSET


async def test_a_stream_that_breaks_has_its_failure() -> None:
    broken: Script = (
        (ResponseHead(http_status=200),),
        (TextDelta(part_index=0, text="Hello"),),
        failing(FailureKind.TRUNCATED, status=200),
    )
    async with traced(everywhere(*broken)) as sidecar:
        with pytest.raises(grpc.aio.AioRpcError):
            async for _ in sidecar.sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=HELLO)):
                pass
        spans = await sidecar.spans(3)

    call, chat = named(spans, f"{CALL}ExecuteStream"), next(s for s in spans if s.kind is SpanKind.CLIENT)
    assert attributes(call).items() >= {"rpc.status_code": "DATA_LOSS", "error.type": "STREAM_INTERRUPTED"}.items()
    assert attributes(chat)["error.type"] == "truncated"
    assert call.status.status_code is chat.status.status_code is StatusCode.ERROR


async def test_a_decision_without_a_target_tells_every_reason() -> None:
    async with traced() as sidecar:
        request = pb.RouteRequest(options=pb.RoutingOptions(exclude=["alpha", "beta"]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await sidecar.sidecar.stub.Route(request)
        spans = await sidecar.spans(2)

    assert "ErrorInfo" in details(caught.value)
    decide = attributes(named(spans, "turnout.decide"))
    assert decide["turnout.rejections.targets"] == [spec.name for spec in SPECS]
    assert all("EXCLUDED" in reasons for reasons in decide["turnout.rejections.reasons"])  # type: ignore[attr-defined]
    assert "turnout.candidates.targets" not in decide
    call = named(spans, f"{CALL}Route")
    assert attributes(call)["error.type"] == "NO_ELIGIBLE_TARGET"
    assert attributes(call)["turnout.decision.id"] == decide["turnout.decision.id"]
    # The caller's own doing is no fault of the server's.
    assert call.status.status_code is StatusCode.UNSET


async def test_a_report_is_linked_to_the_span_of_its_decision() -> None:
    async with traced() as sidecar:
        plan = await sidecar.sidecar.stub.Route(pb.RouteRequest(), metadata=metadata())
        decision = plan.decision
        report = pb.ReportOutcomeRequest(
            outcomes=[
                pb.Outcome(
                    decision_id=decision.decision_id,
                    attempt_id="mine",
                    target=decision.candidates[0].target,
                    failure=pb.FAILURE_KIND_RATE_LIMITED,
                ),
                pb.Outcome(decision_id="unknown", attempt_id="else", ok=True, target=decision.candidates[0].target),
            ]
        )
        await sidecar.sidecar.stub.ReportOutcome(report)
        spans = await sidecar.spans(5)

    call, decide = named(spans, f"{CALL}ReportOutcome"), named(spans, "turnout.decide")
    linked, unlinked = sorted((s for s in spans if s.name == "turnout.report"), key=lambda s: not s.links)
    (link,) = linked.links
    assert (format_trace_id(link.context.trace_id), format_span_id(link.context.span_id)) == ids(decide)[:2]
    assert ids(linked)[2] == ids(unlinked)[2] == ids(call)[1]
    assert ids(call)[0] != TRACE_ID
    assert attributes(linked)["turnout.decision.id"] == decision.decision_id
    assert attributes(linked)["error.type"] == "rate_limited"
    assert not unlinked.links


@pytest.mark.parametrize("traceparent", [UNSAMPLED, "00-nonsense", "ff" + TRACEPARENT[2:]])
async def test_the_callers_choice_is_kept_and_nonsense_is_no_trace(traceparent: str) -> None:
    async with traced() as sidecar:
        await sidecar.sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), metadata=metadata(traceparent))
        sampled = traceparent != UNSAMPLED
        if sampled:
            spans = await sidecar.spans(3)
            assert named(spans, f"{CALL}Execute").parent is None
        (made,) = sidecar.sidecar.upstream.calls
    if not sampled:
        assert not sidecar.now()
        # What the caller does not record, a provider is told not to record either.
        assert dict(made.trace_headers)["traceparent"] == UNSAMPLED


@pytest.mark.parametrize(
    "baggage",
    [
        ("team=planted,user.id=planted;ttl=30;secret",),
        ("name=planted%20J%C3%BCrgen%2C%20und", "again=planted"),
        (',,;=planted%,%zz= =,=,"planted"',),
        (",".join(f"planted{number}=planted" for number in range(400)),),
    ],
    ids=["valid", "twice", "malformed", "much"],
)
async def test_baggage_of_any_kind_leaves_the_trace_joined_and_goes_nowhere(baggage: tuple[str, ...]) -> None:
    sent = (("traceparent", TRACEPARENT), *(("baggage", each) for each in baggage))
    async with traced() as sidecar:
        await sidecar.sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), metadata=sent, timeout=60)
        spans = await sidecar.spans(3)
        (made,) = sidecar.sidecar.upstream.calls

    assert ids(named(spans, f"{CALL}Execute"))[::2] == (TRACE_ID, CALLERS_SPAN)
    assert {ids(span)[0] for span in spans} == {TRACE_ID}
    assert not [span.name for span in spans if "planted" in span.to_json()]
    assert "planted" not in repr(made)


@pytest.mark.parametrize(
    ("sampler", "traceparent", "told"),
    [
        # A trace that the sidecar begins and does not record: providers need not begin one either.
        ("always_off", "", None),
        # Its caller records it, the sidecar does not.
        ("always_off", TRACEPARENT, UNSAMPLED),
        ("parentbased_always_on", UNSAMPLED, UNSAMPLED),
        # That the id is random stays true.
        ("always_off", f"{TRACEPARENT[:-2]}03", f"{TRACEPARENT[:-2]}02"),
    ],
)
async def test_providers_are_told_that_a_call_is_not_recorded(
    monkeypatch: pytest.MonkeyPatch, sampler: str, traceparent: str, told: str | None
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    async with traced() as sidecar:
        own = metadata(traceparent) if traceparent else ()
        await sidecar.sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), metadata=own)
        (made,) = sidecar.sidecar.upstream.calls
        headers = dict(made.trace_headers)

    assert not sidecar.now()
    assert set(headers) == ({"traceparent", "tracestate"} if traceparent else {"traceparent"})
    if told is None:
        _, trace_id, span_id, flags = headers["traceparent"].split("-")
        assert (flags, int(trace_id, 16) > 0, int(span_id, 16) > 0) == ("02", True, True)
    else:
        assert headers["traceparent"] == told


async def test_without_tracing_the_callers_own_context_is_passed_on() -> None:
    async with running() as sidecar:
        await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), metadata=metadata())
        await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO))
        first, second = sidecar.upstream.calls

    assert dict(first.trace_headers) == {"traceparent": TRACEPARENT, "tracestate": "vendor=x"}
    assert second.trace_headers == ()


async def test_attempts_below_a_random_trace_id_say_that_it_is() -> None:
    async with traced() as sidecar:
        await sidecar.sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO))
        await sidecar.sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), metadata=metadata())
        first, second = sidecar.sidecar.upstream.calls

    # Ours are random; of a caller's it is for the caller to say.
    assert dict(first.trace_headers)["traceparent"].endswith("-03")
    assert dict(second.trace_headers)["traceparent"].endswith("-01")


async def test_a_sampler_of_the_environment_is_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    async with traced() as sidecar:
        await sidecar.sidecar.stub.Route(pb.RouteRequest())
        await sidecar.sidecar.stub.Route(pb.RouteRequest(), metadata=metadata())
        spans = await sidecar.spans(2)

    assert {ids(span)[0] for span in spans} == {TRACE_ID}
    assert len(sidecar.now()) == len(spans)


async def test_what_happens_in_a_call_is_an_event_of_its_span() -> None:
    async with traced() as sidecar:
        span = sidecar.tracing.begin("Route", metadata())
        for count in range(40):
            add_to_span("breaker.opened", {"target": "alpha/large", "count": count})
        span.finish()
        add_to_span("breaker.closed", {"target": "alpha/large"})
        (call,) = await sidecar.spans(1)

    assert len(call.events) == 32
    assert call.events[0].name == "turnout.breaker.opened"
    assert attributes(call)["turnout.events.unlisted"] == 8


async def test_a_call_that_joins_an_earlier_one_has_no_attempt_of_its_own() -> None:
    async with traced() as sidecar:
        request = pb.ExecuteRequest(input=HELLO, request_id="one")
        await sidecar.sidecar.stub.Execute(request)
        again = await sidecar.sidecar.stub.Execute(request, metadata=metadata())
        spans = [span for span in await sidecar.spans(5) if ids(span)[0] == TRACE_ID]

    assert sorted(span.name for span in spans) == ["turnout.decide", f"{CALL}Execute"]
    call, decide = named(spans, f"{CALL}Execute"), named(spans, "turnout.decide")
    assert attributes(decide)["turnout.decision.id"] == again.decision.decision_id
    # The decision was made before this call began; in its trace it stands at its beginning.
    assert decide.start_time == call.start_time
