"""A model server of one's own, from the configuration that its operator writes to the answer: here one around ONNX."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import orjson

from tests.unit.config.loading import parts
from tests.wire.dialect_speakers import LocalSpeaker
from tests.wire.scripted_server import Head, ScriptedServer, json_answer
from tests.wire.speakers import hello
from turnout_server.core.chat import Finished, ReasoningDelta, StreamEvent, TextDelta
from turnout_server.core.model import Capability, FinishReason
from turnout_server.ports import ResponseHead, UpstreamCall
from turnout_server.providers.secrets import Secrets
from turnout_server.providers.upstream import build_upstreams

CONFIGURATION = """
providers:
  onnx:
    wire: openai
    base_url: {url}/v1
    allow_insecure: true
    allow_private: true
    models:
      - name: phi-4-mini-onnx
        context_window_tokens: 16384
        max_output_tokens: 4096
        price: {{input_per_million_usd: 0, output_per_million_usd: 0}}
        capabilities: [STREAMING, TOOLS]
        quality: 55
"""


async def test_server_of_ones_own_answers_without_a_key(server: ScriptedServer, tmp_path: Path) -> None:
    speaker = LocalSpeaker()
    built = parts(tmp_path, CONFIGURATION.format(url=server.url))
    (spec,) = built.fleet.specs
    upstream = build_upstreams(built.connections, Secrets(built.connections, environ={}))["onnx"]
    call = UpstreamCall(spec=spec, credential="", chat=hello())
    server.scripts += [
        [Head(), *speaker.reasoning_stream(["Hm."], "Hello")],
        json_answer(speaker.whole_text("Hello")),
    ]

    streamed = [event async for batch in upstream.stream(call) for event in batch]
    whole = await upstream.complete(call)
    await upstream.aclose()

    assert ("Hm.", "Hello", [FinishReason.STOP]) == told(streamed)
    assert ("", "Hello", [FinishReason.STOP]) == told(whole)
    assert ["/v1/chat/completions"] * 2 == [request.path for request in server.requests]
    assert all("authorization" not in request.headers for request in server.requests)
    assert {"model", "messages"} == orjson.loads(server.requests[1].body).keys()
    assert not spec.needs_credential


def told(events: Iterable[ResponseHead | StreamEvent]) -> tuple[str, str, list[FinishReason]]:
    thinking = text = ""
    reasons: list[FinishReason] = []
    for event in events:
        match event:
            case ReasoningDelta():
                thinking += event.text
            case TextDelta():
                text += event.text
            case Finished():
                reasons.append(event.reason)
            case _:
                pass
    return thinking, text, reasons


def test_vendor_that_fetches_no_pictures_is_not_chosen_for_their_urls(tmp_path: Path) -> None:
    text = """
providers:
  {name}:
    wire: openai
    base_url: https://api.example.com/v1
    api_key_env: KEY
    models: [{{name: sees, capabilities: [VISION]}}]
"""

    kimi, other = (parts(tmp_path, text.format(name=name)).fleet.specs[0] for name in ("kimi", "house-llm"))

    assert Capability.VISION in kimi.capabilities
    assert (frozenset(), frozenset({Capability.VISION})) == (kimi.url_capabilities, other.url_capabilities)
