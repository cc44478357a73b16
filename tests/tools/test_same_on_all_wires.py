"""One request with tools or a schema, asked of simulated providers on all four wires through the real sidecar: the same
tools are called with the same arguments, the answer ends for the same reason, and it fits the schema.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.tools.schemas import faults_of
from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc
from turnout_server.app import running
from turnout_server.config.load import load
from turnout_server.providers.simulated.provider import ProviderSettings, WireName
from turnout_server.providers.simulated.server import SimulatedServer

WIRES = ("openai", "anthropic", "gemini", "ollama")
MODELS = {"openai": "gpt-4o", "anthropic": "claude-sonnet-4-6", "gemini": "gemini-3.5-flash", "ollama": "qwen3"}
PROVIDER = """
  {name}:
    wire: {name}
    base_url: {url}
    api_key_env: A_KEY
    allow_insecure: true
    allow_private: true
    models:
      - {{name: {model}, context_window_tokens: 128000, quality: 80, latency_prior_seconds: 0.01,
         capabilities: [STREAMING, TOOLS, PARALLEL_TOOLS, JSON_SCHEMA], price: {{input_per_million_usd: 1,
         output_per_million_usd: 2}}}}"""

BOOKING: dict[str, Any] = {
    "type": "object",
    "$defs": {
        "place": {
            "type": "object",
            "properties": {"name": {"const": 'Zürich "HB" 夜行 \U0001f682\n'}, "id": {"const": 9007199254740993}},
            "required": ["name", "id"],
            "additionalProperties": False,
        }
    },
    "properties": {
        "to": {"$ref": "#/$defs/place"},
        "class": {"anyOf": [{"type": "string", "enum": ["first", "second"]}, {"type": "null"}]},
        "stops": {"type": "array", "items": {"$ref": "#/$defs/place"}},
        "price": {"const": 19.9},
    },
    "required": ["to", "class", "stops", "price"],
    "additionalProperties": False,
}
BOOKED = {
    "to": {"name": 'Zürich "HB" 夜行 \U0001f682\n', "id": 9007199254740993},
    "class": "first",
    "stops": [{"name": 'Zürich "HB" 夜行 \U0001f682\n', "id": 9007199254740993}],
    "price": 19.9,
}
NOTHING: dict[str, Any] = {"type": "object", "properties": {}}
TOOLS = [
    pb.Tool(name="book", description="Books.", parameters_json_schema=json.dumps(BOOKING)),
    pb.Tool(name="cancel", parameters_json_schema=json.dumps(NOTHING)),
]
ANSWER = {
    **BOOKING,
    "properties": {**BOOKING["properties"], "note": {"type": "string"}, "seats": {"type": "integer"}},
    "required": [*BOOKING["required"], "note", "seats"],
}


@dataclass
class Sidecar:
    stub: router_pb2_grpc.RouterServiceAsyncStub

    async def unary(self, wire: str, chat: pb.ChatInput) -> tuple[list[pb.Part], int]:
        answer = await self.stub.Execute(
            pb.ExecuteRequest(input=chat, options=pb.RoutingOptions(force_target=wire)), timeout=20
        )
        return list(answer.output.parts), answer.output.finish_reason

    async def stream(self, wire: str, chat: pb.ChatInput) -> tuple[list[pb.Part], int]:
        """Puts the deltas together as a caller would, by nothing but their part indexes."""
        parts: dict[int, pb.Part] = {}
        finish = None
        async for event in self.stub.ExecuteStream(
            pb.ExecuteStreamRequest(input=chat, options=pb.RoutingOptions(force_target=wire)), timeout=20
        ):
            if event.WhichOneof("event") == "completion":
                finish = event.completion.finish_reason
            if event.WhichOneof("event") != "delta":
                continue
            part, delta = parts.setdefault(event.delta.part_index, pb.Part()), event.delta
            if delta.WhichOneof("content") == "text":
                part.text += delta.text
            elif delta.WhichOneof("content") == "tool_call":
                part.tool_call.id += delta.tool_call.id
                part.tool_call.name += delta.tool_call.name
                part.tool_call.arguments_json += delta.tool_call.arguments_fragment
        assert finish is not None
        return [parts[i] for i in sorted(parts) if parts[i].WhichOneof("content")], finish


@asynccontextmanager
async def simulated(folder: Path) -> AsyncIterator[Sidecar]:
    async with SimulatedServer({wire: ProviderSettings(wire=WireName(wire)) for wire in WIRES}, seed=3) as server:
        providers = "".join(PROVIDER.format(name=wire, url=server.base_url(wire), model=MODELS[wire]) for wire in WIRES)
        file = folder / "turnout.yaml"
        file.write_text(
            'listen: {address: "127.0.0.1:0"}\nhealth: {address: ""}\nmetrics: {address: ""}\n'
            f"drain_seconds: 0\nproviders:{providers}\n"
        )
        environ = {"A_KEY": "key"}
        async with (
            running(load(str(file), environ), environ) as listening,
            grpc.aio.insecure_channel(listening.grpc[0]) as channel,
        ):
            yield Sidecar(router_pb2_grpc.RouterServiceStub(channel))


@pytest.fixture
async def sidecar(tmp_path: Path) -> AsyncIterator[Sidecar]:
    async with simulated(tmp_path) as started:
        yield started


def user(text: str) -> pb.Message:
    return pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text=text)])


def called(parts: list[pb.Part]) -> list[tuple[str, Any]]:
    return [
        (part.tool_call.name, json.loads(part.tool_call.arguments_json)) for part in parts if part.HasField("tool_call")
    ]


async def test_tools_are_called_alike_on_all_wires_unary_and_streamed(sidecar: Sidecar) -> None:
    chat = pb.ChatInput(messages=[user("book it, and cancel the other")], tools=TOOLS, max_output_tokens=4000)

    for wire in WIRES:
        for way in (sidecar.unary, sidecar.stream):
            parts, finish = await way(wire, chat)

            assert [("book", BOOKED), ("cancel", {})] == called(parts), (wire, way.__name__)
            assert pb.FINISH_REASON_TOOL_CALLS == finish, (wire, way.__name__)
            ids = [part.tool_call.id for part in parts]
            assert 2 == len(set(ids)), (wire, way.__name__)
            assert all(ids), (wire, way.__name__)


async def test_a_tool_loop_goes_on_alike_on_all_wires_wherever_it_began(sidecar: Sidecar) -> None:
    chat = pb.ChatInput(messages=[user("book it, and cancel the other")], tools=TOOLS, max_output_tokens=4000)

    for began in WIRES:
        parts, _ = await sidecar.unary(began, chat)
        results = pb.Message(
            role=pb.ROLE_TOOL,
            parts=[
                pb.Part(
                    tool_result=pb.ToolResult(
                        tool_call_id=part.tool_call.id, content=[pb.Part(text="done")], is_error=i == 1
                    )
                )
                for i, part in enumerate(parts)
            ],
        )
        turns = [*chat.messages, pb.Message(role=pb.ROLE_ASSISTANT, parts=parts), results]
        for wire in WIRES:
            further = pb.ChatInput(messages=turns, tools=TOOLS, max_output_tokens=4000)
            answer, finish = await sidecar.stream(wire, further)

            assert ([], pb.FINISH_REASON_STOP) == (called(answer), finish), (began, wire)


async def test_structured_answers_fit_the_schema_on_all_wires(sidecar: Sidecar) -> None:
    chat = pb.ChatInput(
        messages=[user("book it")],
        response_format=pb.ResponseFormat(json_schema=pb.JsonSchema(name="plan", schema_json=json.dumps(ANSWER))),
        max_output_tokens=4000,
    )

    for wire in WIRES:
        for way in (sidecar.unary, sidecar.stream):
            parts, finish = await way(wire, chat)

            answer = json.loads("".join(part.text for part in parts))
            assert [] == faults_of(answer, ANSWER), (wire, way.__name__)
            assert BOOKED == {name: answer[name] for name in BOOKED}, (wire, way.__name__)
            assert pb.FINISH_REASON_STOP == finish, (wire, way.__name__)
