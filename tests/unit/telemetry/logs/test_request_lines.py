"""What a line of the request log says, and what none ever says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.execution.scripted import World, asking
from tests.virtual_time import in_virtual_time
from turnout_server.core.budget import Notices
from turnout_server.core.call import AttemptRecord, CallResult
from turnout_server.core.chat import (
    ChatInput,
    ChatOutput,
    Media,
    MediaKind,
    Message,
    Part,
    PartContent,
    Reasoning,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from turnout_server.core.model import (
    Caller,
    FailureKind,
    FinishReason,
    RequestProfile,
    RouteQuery,
    Target,
    Usage,
)
from turnout_server.core.trimming import TrimReport
from turnout_server.telemetry.logs.request_lines import LINE_BYTES, RequestRecord, dropped_line, request_line

TARGET = Target("a", "m")
KEY = "sk-ant-planted0123456789abcdef"
OWN = "planted-house-key"
QUERY = RouteQuery(
    request_id="order-7",
    session_id="s-1",
    caller=Caller(tenant="acme", user="ann", tier="pro", labels={"team": "blue", "api_key": "hidden"}),
    profile=RequestProfile(task="chat"),
)
ATTEMPTS = (
    AttemptRecord(
        target=Target("b", "n"),
        region="eu",
        attempt_id="at-1",
        started_at_wall=0.0,
        credential="main",
        failure=FailureKind.OVERLOADED,
        http_status=529,
        detail="busy",
        latency_seconds=0.25,
    ),
    AttemptRecord(
        target=TARGET,
        attempt_id="at-2",
        started_at_wall=0.0,
        latency_seconds=1.5,
        time_to_first_token_seconds=0.5,
        usage=Usage(input_tokens=10, output_tokens=5),
        cost_nano_usd=20_000,
        hedge=True,
    ),
)


def chat(*contents: PartContent) -> ChatInput:
    parts = tuple(Part(content=content) for content in contents)
    return ChatInput(messages=(Message(role=Role.USER, parts=parts),), tools=(Tool(name="look"),), temperature=0.0)


@in_virtual_time
async def ended_in(results: list[CallResult], *contents: PartContent, **facts: Any) -> None:
    decision = World({"a/m": []}).router.deciding.look_ahead(asking())
    parts = tuple(Part(content=content) for content in contents)
    output = ChatOutput(parts=parts, finish_reason=FinishReason.STOP, model="served", response_id="r-1")
    results.append(CallResult(output=output, target=TARGET, decision=decision, attempts=ATTEMPTS, **facts))


def ended(*contents: PartContent, **facts: Any) -> CallResult:
    results: list[CallResult] = []
    ended_in(results, *contents, **facts)
    return results[0]


def record(**facts: Any) -> RequestRecord:
    usual: dict[str, Any] = {
        "method": "Execute",
        "began_at_wall": 1_800_000_000.25,
        "latency_seconds": 2.0000001,
        "result": "OK",
        "query": QUERY,
    }
    return RequestRecord(**{**usual, **facts})


def line(made: RequestRecord, *secrets: str) -> dict[str, Any]:
    written = request_line(made, secrets)
    assert written.endswith(b"\n")
    assert written.count(b"\n") == 1
    found = json.loads(written)
    assert isinstance(found, dict)
    return found


def test_a_line_says_who_asked_what_was_tried_and_what_it_cost() -> None:
    trimming = TrimReport(4, 2, 900, 300, "too long")
    notices = Notices(trimming=trimming)
    made = record(
        decision_id="d-1",
        policy="default",
        strategy="HYBRID",
        attempts=ATTEMPTS,
        usage=Usage(input_tokens=10, output_tokens=5),
        cost_nano_usd=20_000,
        ended=ended(joined=True, notices=notices),
        trace_id="0af7651916cd43dd8448eb211c80319c",
    )

    assert line(made) == {
        "time": "2027-01-15T08:00:00.250+00:00",
        "method": "Execute",
        "result": "OK",
        "request_id": "order-7",
        "session_id": "s-1",
        "caller": {
            "tenant": "acme",
            "user": "ann",
            "tier": "pro",
            "labels": {"team": "blue", "api_key": "[redacted]"},
        },
        "priority": "NORMAL",
        "task": "chat",
        "decision_id": "d-1",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "policy": "default",
        "strategy": "HYBRID",
        "target": "a/m",
        "model": "served",
        "response_id": "r-1",
        "finish_reason": "STOP",
        "joined": True,
        "trimming": {
            "removed_messages": 4,
            "repeated_messages": 2,
            "tokens_before": 900,
            "tokens_after": 300,
            "reason": "too long",
        },
        "latency_seconds": 2.0,
        "usage": {"input_tokens": 10, "output_tokens": 5, "source": "REPORTED"},
        "cost_usd": 0.00002,
        "attempts": [
            {
                "target": "b/n",
                "region": "eu",
                "attempt_id": "at-1",
                "credential": "main",
                "failure": "OVERLOADED",
                "http_status": 529,
                "detail": "busy",
                "latency_seconds": 0.25,
            },
            {
                "target": "a/m",
                "attempt_id": "at-2",
                "latency_seconds": 1.5,
                "time_to_first_token_seconds": 0.5,
                "usage": {"input_tokens": 10, "output_tokens": 5, "source": "REPORTED"},
                "cost_usd": 0.00002,
                "hedge": True,
            },
        ],
    }


def test_nothing_that_was_said_is_in_a_line_unless_it_was_asked_for() -> None:
    written = request_line(record(ended=ended(Text(text="the answer"))))

    assert b"answer" not in written
    assert "output" not in line(record(ended=ended(Text(text="the answer"))))


def test_a_request_that_could_not_be_read_has_its_error() -> None:
    found = line(record(query=None, result="INVALID_REQUEST", error="input.messages: is empty"))

    assert found == {
        "time": "2027-01-15T08:00:00.250+00:00",
        "method": "Execute",
        "result": "INVALID_REQUEST",
        "error": "input.messages: is empty",
        "latency_seconds": 2.0,
    }


def test_content_that_was_asked_for_has_every_kind_of_part_and_no_media() -> None:
    asked = chat(
        Text(text="look"),
        Media(kind=MediaKind.IMAGE, media_type="image/png", data=b"secret pixels"),
        Media(kind=MediaKind.DOCUMENT, url="https://files.example/a.pdf?signature=secret"),
        ToolCall(id="1", name="look", arguments_json='{"a":1}'),
        ToolResult(tool_call_id="1", content=(Part(content=Text(text="found")),), is_error=True),
        Reasoning(text="hm", redacted_data=b"opaque"),
    )
    found = line(record(chat=asked, ended=ended(Text(text="the answer"))))

    assert found["input"] == {
        "messages": [
            {
                "role": "USER",
                "parts": [
                    {"text": "look"},
                    {"image": {"media_type": "image/png", "bytes": 13}},
                    {"document": {"media_type": "", "url": "https://files.example/a.pdf"}},
                    {"tool_call": {"id": "1", "name": "look", "arguments": '{"a":1}'}},
                    {"tool_result": {"id": "1", "content": [{"text": "found"}], "is_error": True}},
                    {"reasoning": "hm"},
                ],
            }
        ],
        "tools": ["look"],
        "temperature": 0.0,
    }
    assert found["output"] == [{"text": "the answer"}]


def test_credentials_are_taken_out_wherever_they_stand() -> None:
    query = RouteQuery(request_id=KEY, caller=Caller(tenant=OWN, labels={KEY: "x", "note": f"Bearer {KEY}"}))
    asked = chat(
        Text(text=f"my key is {KEY} and {OWN}!"),
        ToolCall(id=OWN, name="look", arguments_json=f'{{"key":"{KEY}","url":"https://me:{OWN}@host/"}}'),
        ToolResult(tool_call_id="1", content=(Part(content=Text(text=f"{OWN}\n{KEY}")),)),
        Media(kind=MediaKind.IMAGE, url=f"https://host/{KEY}"),
        Reasoning(text=OWN),
    )
    failed = AttemptRecord(target=TARGET, attempt_id="at", started_at_wall=0.0, detail=f"refused {KEY}, {OWN}")
    made = record(query=query, chat=asked, error=f"refused {OWN}", attempts=(failed,), ended=ended(Text(text=KEY)))
    written = request_line(made, [OWN]).decode()

    assert "planted" not in written
    assert written.count("[redacted]") >= 12


def test_long_texts_are_cut_and_the_rest_is_counted() -> None:
    asked = chat(*(Text(text=str(number) * 40_000) for number in range(5)))
    found = line(record(chat=asked, ended=ended(Text(text="x" * 10))))
    sizes = [len(part["text"]) for part in found["input"]["messages"][0]["parts"]]

    assert sizes == [32_768, 32_768, 32_768, 32_768, 0]
    assert found["output"] == [{"text": ""}]
    assert found["cut_characters"] == 200_010 - 131_072


def test_a_line_that_would_be_too_long_is_written_without_content() -> None:
    asked = chat(*(Text(text="\U0001f600" * 32_768) for _ in range(4)))
    written = request_line(record(chat=asked, ended=ended(Text(text="x"))))
    found = json.loads(written)

    assert len(written) < 2_000
    assert "input" not in found
    assert "output" not in found
    assert found["cut_bytes"] > LINE_BYTES


@pytest.mark.parametrize("count", [1, 20_000])
def test_no_number_of_parts_makes_a_line_too_long(count: int) -> None:
    asked = chat(*(Text(text="x") for _ in range(count)))

    assert len(request_line(record(chat=asked))) <= LINE_BYTES


@given(words=st.text(alphabet=st.characters(exclude_categories=())), name=st.text())
def test_any_words_make_one_line_of_json(words: str, name: str) -> None:
    query = RouteQuery(request_id=name, caller=Caller(labels={words: name}))

    assert line(record(query=query, chat=chat(Text(text=words)), error=words))["method"] == "Execute"


def test_lines_that_are_missing_have_a_line() -> None:
    assert json.loads(dropped_line(3, 1_800_000_000.0)) == {
        "time": "2027-01-15T08:00:00.000+00:00",
        "dropped_lines": 3,
    }
