"""The application's own HTTP call in advise mode: as small as an application would write it, on both wires."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from turnout.attempt import PlanAttempt
from turnout.v1 import router_pb2 as pb
from turnout_server.demo.scene import Scene

_TIMEOUT_SECONDS = 5.0
_MAX_OUTPUT_TOKENS = 200


@dataclass(slots=True, kw_only=True)
class OwnAnswer:
    """What came of one call; `complete` only when the wire said that it ended."""

    text: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    complete: bool = False


class OwnCaller:
    """Calls the targets of a plan over HTTP, with the application's own keys."""

    def __init__(self, http: httpx.AsyncClient, scene: Scene) -> None:
        self._http = http
        self._scene = scene

    async def call(self, attempt: PlanAttempt, prompt: str, *, streamed: bool) -> OwnAnswer:
        """Makes the call and tells the attempt what it learned; raises httpx's errors for what goes wrong."""
        anthropic = attempt.wire == "anthropic"
        url = attempt.base_url + ("/messages" if anthropic else "/chat/completions")
        key = self._scene.provider(attempt.provider).key
        headers = {"x-api-key": key, "anthropic-version": "2023-06-01"} if anthropic else _bearer(key)
        body: dict[str, Any] = {
            "model": attempt.model,
            "max_tokens": _MAX_OUTPUT_TOKENS,
            "messages": [{"role": "user", "content": prompt}],
        }
        attempt.outcome.credential = "demo-application"
        if streamed:
            body |= {"stream": True} if anthropic else {"stream": True, "stream_options": {"include_usage": True}}
            answer = await self._streamed(attempt, url, body, headers)
        else:
            response = await self._http.post(url, json=body, headers=headers, timeout=_TIMEOUT_SECONDS)
            response.raise_for_status()
            answer = _whole(orjson.loads(response.content), anthropic=anthropic)
        if answer.complete:
            attempt.usage(input_tokens=answer.input_tokens, output_tokens=answer.output_tokens)
        else:
            attempt.failed(pb.FAILURE_KIND_TRUNCATED)
        return answer

    async def _streamed(
        self, attempt: PlanAttempt, url: str, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> OwnAnswer:
        answer = OwnAnswer()
        stream = self._http.stream("POST", url, json=body, headers=headers, timeout=_TIMEOUT_SECONDS)
        async with stream as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                if not line.startswith("data:"):
                    continue
                data = line.removeprefix("data:").strip()
                before = len(answer.text)
                if data == "[DONE]":
                    answer.complete = True
                else:
                    _take(orjson.loads(data), answer)
                if len(answer.text) > before:
                    attempt.first_token()
        return answer


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def _whole(body: Mapping[str, Any], *, anthropic: bool) -> OwnAnswer:
    usage = body["usage"]
    if anthropic:
        return OwnAnswer(
            text="".join(block.get("text", "") for block in body["content"]),
            input_tokens=usage["input_tokens"],
            output_tokens=usage["output_tokens"],
            complete=body["stop_reason"] is not None,
        )
    choice = body["choices"][0]
    return OwnAnswer(
        text=choice["message"]["content"] or "",
        input_tokens=usage["prompt_tokens"],
        output_tokens=usage["completion_tokens"],
        complete=choice["finish_reason"] is not None,
    )


def _take(event: Mapping[str, Any], answer: OwnAnswer) -> None:
    """Takes one event of either wire."""
    match event.get("type"):
        case "message_start":
            answer.input_tokens = event["message"]["usage"]["input_tokens"]
        case "content_block_delta":
            answer.text += event["delta"].get("text", "")
        case "message_delta":
            answer.output_tokens = event["usage"]["output_tokens"]
        case "message_stop":
            answer.complete = True
        case _:
            for choice in event.get("choices", ()):
                answer.text += choice["delta"].get("content") or ""
            if event.get("usage"):
                answer.input_tokens = event["usage"]["prompt_tokens"]
                answer.output_tokens = event["usage"]["completion_tokens"]
