"""A stream that is cut, wherever, is never shown as a success unless all of the answer had come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import cache
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.provider import FaultyProvider
from tests.faults.sidecar import Place, running
from tests.faults.vendors import ANSWER, PIECES, WIRES
from tests.faults.vendors import events as good_stream
from tests.wire.conftest import connection_of, secrets_of
from tests.wire.speakers import hello, spec_of
from turnout import AsyncClient, CallError
from turnout.v1 import router_pb2 as pb
from turnout_server.core.chat import Finished, ReasoningDelta, TextDelta, ToolCallDelta, UsageReported
from turnout_server.core.model import FailureKind, FinishReason
from turnout_server.execution.gather import Gatherer
from turnout_server.ports import UpstreamCall, UpstreamError, UpstreamEvent
from turnout_server.providers.transport import Answer
from turnout_server.providers.upstream import HttpUpstream, wire_of

CALLS = (("call_1", "look_up", ('{"station": ', '"North ', 'Junction", "depth": 2}')), ("call_2", "wait", ("{", "}")))
THOUGHTS = ("The points ", "are set.")

STREAMS: Mapping[str, Callable[[str], Sequence[bytes]]] = {
    "text": lambda wire: WIRES[wire].text_stream(PIECES),
    "tools": lambda wire: WIRES[wire].tool_stream(CALLS),
    "reasoning": lambda wire: WIRES[wire].reasoning_stream(THOUGHTS, ANSWER),
}


class CutAnswer:
    """An answer of which some chunks came, and then the end: as HTTP wants it, or not."""

    status = 200
    raw_headers: list[tuple[bytes, bytes]] = []  # noqa: RUF012  # nobody changes it

    def __init__(self, content_type: str, chunks: Sequence[bytes], *, clean: bool) -> None:
        self._content_type = content_type
        self._chunks = chunks
        self._clean = clean

    def header(self, name: str) -> str:
        return self._content_type if name == "content-type" else ""

    async def chunks(self) -> AsyncGenerator[bytes]:
        for chunk in self._chunks:
            yield chunk
        if not self._clean:
            raise UpstreamError(FailureKind.TRUNCATED, "the connection broke in the middle of the answer")

    async def aclose(self) -> None:
        pass

    def finish_later(self) -> None:
        pass


class CutTransport:
    """Gives every request the same answer."""

    def __init__(self, answer: CutAnswer) -> None:
        self._answer = answer

    async def post(self, url: str, headers: Mapping[str, str], body: Any) -> Answer:
        del url, headers, body
        return self._answer

    async def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        raise NotImplementedError

    async def aclose(self) -> None:
        pass


async def read(wire: str, chunks: Sequence[bytes], *, clean: bool) -> tuple[list[UpstreamEvent], UpstreamError | None]:
    """Reads what came of an answer; returns its events, and the error that it ended with."""
    speaker = WIRES[wire]
    connection = connection_of(speaker)
    transport = CutTransport(CutAnswer(speaker.content_type, chunks, clean=clean))
    upstream = HttpUpstream(wire_of(wire), transport, secrets_of(connection), connection)
    events: list[UpstreamEvent] = []
    try:
        call = UpstreamCall(spec=spec_of(speaker, "https://provider.example"), credential="main", chat=hello())
        async for batch in upstream.stream(call):
            events += batch
    except UpstreamError as error:
        return events, error
    return events, None


def shown(events: Sequence[UpstreamEvent]) -> object:
    """What a caller would hold, put together."""
    gatherer = Gatherer()
    gatherer.add([event for event in events if isinstance(event, TextDelta | ReasoningDelta | ToolCallDelta)])
    return gatherer.parts("")


@cache
def whole(wire: str, kind: str) -> tuple[bytes, object]:
    """The bytes of a good answer, and what is shown of it."""
    raw = b"".join(STREAMS[kind](wire))
    events, error = asyncio.run(read(wire, [raw], clean=True))
    assert error is None
    return raw, unnamed(shown(events))


def unnamed(parts: object) -> bytes:
    """The parts as bytes; ids of calls that the wire makes up are not compared."""
    made = orjson.loads(orjson.dumps(parts))
    for part in made:
        part["content"].pop("id", None)
    return orjson.dumps(made)


def is_complete(events: Sequence[UpstreamEvent]) -> bool:
    return any(isinstance(event, Finished) for event in events)


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("clean", [True, False], ids=["clean", "broken"])
def test_no_offset_makes_a_part_look_like_the_whole(wire: str, kind: str, clean: bool) -> None:  # noqa: FBT001
    raw, expected = whole(wire, kind)
    completed = []

    async def cut_everywhere() -> None:
        for offset in range(len(raw) + 1):
            events, error = await read(wire, [raw[:offset]], clean=clean)
            if is_complete(events) and error is None:
                completed.append(offset)
                assert expected == unnamed(shown(events)), offset
                assert {event.reason for event in events if isinstance(event, Finished)} <= {
                    FinishReason.STOP,
                    FinishReason.TOOL_CALLS,
                }
            else:
                assert error is not None, offset
                assert FailureKind.TRUNCATED is error.kind, offset

    asyncio.run(cut_everywhere())

    assert completed
    assert completed == list(range(completed[0], len(raw) + 1)), "more of it is never less complete"


@given(data=st.data(), wire=st.sampled_from(list(WIRES)), kind=st.sampled_from(list(STREAMS)))
def test_no_chunking_changes_what_is_shown(data: st.DataObject, wire: str, kind: str) -> None:
    raw, expected = whole(wire, kind)
    end = data.draw(st.one_of(st.just(len(raw)), st.integers(0, len(raw))), label="end")
    cuts = sorted(data.draw(st.lists(st.integers(0, end), max_size=12), label="cuts"))
    chunks = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, end], strict=True) if a < b]
    clean = data.draw(st.booleans(), label="clean")
    events, error = asyncio.run(read(wire, chunks, clean=clean))
    at_once, error_at_once = asyncio.run(read(wire, [raw[:end]], clean=clean))

    assert (error is None) == (error_at_once is None)
    assert is_complete(events) == is_complete(at_once)
    if error is None:
        assert expected == unnamed(shown(events))
    assert [e for e in events if isinstance(e, UsageReported)] == [e for e in at_once if isinstance(e, UsageReported)]


@pytest.mark.full
@pytest.mark.parametrize("wire", WIRES)
async def test_no_offset_on_a_real_socket_makes_a_part_look_like_the_whole(wire: str) -> None:
    length = len(b"".join(good_stream(wire)))
    gate = asyncio.Semaphore(12)
    async with FaultyProvider() as provider:
        places = [
            Place(
                name=f"at-{n}", wire=wire, base_url=provider.url_of(f"cut_at={n}", wire), first_token_timeout_seconds=60
            )
            for n in (*range(0, length, 7), length)
        ]
        async with running(places) as sidecar, AsyncClient(sidecar.bound.address, max_retry_count=0) as client:

            async def ended(place: Place) -> tuple[str, str]:
                async with gate:
                    stream = client.stream(QUESTION, options=pb.RoutingOptions(force_target=place.target))
                    try:
                        return "complete", (await stream.answer()).text
                    except CallError as error:
                        return error.reason, stream.text_so_far

            ends = await asyncio.gather(*map(ended, places))

    assert {"complete", "STREAM_INTERRUPTED", "ATTEMPTS_EXHAUSTED"} == {reason for reason, _ in ends}
    assert {ANSWER} == {text for reason, text in ends if reason == "complete"}
    assert all(ANSWER.startswith(text) for _, text in ends)
    assert {""} == {text for reason, text in ends if reason == "ATTEMPTS_EXHAUSTED"}


QUESTION = pb.ChatInput(
    messages=[pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text="Where to?")])], max_output_tokens=2000
)
