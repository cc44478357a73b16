"""What callers and models say, through the real server: in no span unless it is asked for, then in its attempt's."""

from __future__ import annotations

import json

import grpc
import pytest

from tests.api.sidecar import Script, everywhere, failing
from tests.api.traced_sidecar import attempts, attributes, traced
from turnout.v1 import router_pb2 as pb
from turnout_server.core.chat import Finished, TextDelta, ToolCallDelta
from turnout_server.core.model import FailureKind, FinishReason
from turnout_server.ports import ResponseHead
from turnout_server.telemetry.traces.message_content import VARIABLE

CALL_SECONDS = 60
CALLS_A_TOOL: Script = (
    (ResponseHead(http_status=200), TextDelta(part_index=0, text="planted-answer")),
    (
        ToolCallDelta(part_index=1, id="planted-call", name="planted_tool", arguments_fragment='{"planted-name": 1}'),
        Finished(reason=FinishReason.TOOL_CALLS),
    ),
)
ASKED = pb.ChatInput(
    messages=[
        pb.Message(role=pb.ROLE_SYSTEM, parts=[pb.Part(text="planted-system")]),
        pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text="planted-question")]),
    ],
    tools=[pb.Tool(name="planted_tool", description="planted-description", parameters_json_schema='{"type":"object"}')],
    stop=["planted-stop"],
)
SECRET = (
    ("authorization", "Bearer planted-token"),
    ("x-secret", "planted-header"),
    ("baggage", "user=planted-baggage"),
)


@pytest.mark.parametrize("value", ["", "NO_CONTENT", "true"])
async def test_nothing_of_what_is_said_is_in_a_span(value: str) -> None:
    breaks: Script = (*CALLS_A_TOOL[:1], failing(FailureKind.TRUNCATED, status=200))
    async with traced({**everywhere(*CALLS_A_TOOL), "alpha/large": breaks}, {VARIABLE: value}) as sidecar:
        stub = sidecar.sidecar.stub
        options = pb.RoutingOptions(strategy=pb.STRATEGY_QUALITY)
        caller = pb.Caller(user="planted-user")
        await stub.Execute(
            pb.ExecuteRequest(input=ASKED, options=options, caller=caller), timeout=CALL_SECONDS, metadata=SECRET
        )
        async for _ in stub.ExecuteStream(pb.ExecuteStreamRequest(input=ASKED), timeout=CALL_SECONDS, metadata=SECRET):
            pass
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Execute(
                pb.ExecuteRequest(input=ASKED, options=pb.RoutingOptions(exclude=["alpha", "beta"])),
                timeout=CALL_SECONDS,
                metadata=SECRET,
            )
        spans = await sidecar.spans(5 + 3 + 2)

    assert len(attempts(spans)) >= 3
    for span in spans:
        assert "planted" not in span.to_json()


async def test_where_it_is_asked_for_it_is_with_the_attempt_that_it_is_of() -> None:
    breaks: Script = (*CALLS_A_TOOL[:1], failing(FailureKind.TRUNCATED, status=200))
    scripts = {**everywhere(*CALLS_A_TOOL), "alpha/large": breaks}
    async with traced(scripts, {VARIABLE: "SPAN_ONLY"}) as sidecar:
        options = pb.RoutingOptions(strategy=pb.STRATEGY_QUALITY, mid_stream=pb.MID_STREAM_POLICY_RESTART)
        request = pb.ExecuteStreamRequest(input=ASKED, options=options)
        async for _ in sidecar.sidecar.stub.ExecuteStream(request, timeout=CALL_SECONDS, metadata=SECRET):
            pass
        spans = await sidecar.spans(5)

    broken, whole = attempts(spans)
    for span in (broken, whole):
        said = attributes(span)
        assert json.loads(str(said["gen_ai.system_instructions"])) == [{"type": "text", "content": "planted-system"}]
        assert "planted-question" in str(said["gen_ai.input.messages"])
        assert "planted-description" in str(said["gen_ai.tool.definitions"])
    (answered,) = json.loads(str(attributes(whole)["gen_ai.output.messages"]))
    assert answered["finish_reason"] == "tool_call"
    assert [part["type"] for part in answered["parts"]] == ["text", "tool_call"]
    assert json.loads(str(attributes(broken)["gen_ai.output.messages"])) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "planted-answer"}]}
    ]
    for span in spans:
        if span not in (broken, whole):
            assert "planted" not in span.to_json()
    assert not any(secret in span.to_json() for span in spans for secret in ("planted-token", "planted-header"))
