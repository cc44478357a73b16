"""Answers that no vendor writes: each wire reads what makes sense of them, and else fails in order."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.mutation import mutated
from tests.wire.every_speaker import SPEAKERS
from tests.wire.speakers import Speaker, hello, spec_of
from turnout_server.core.chat import (
    Finished,
    ReasoningDelta,
    ResponseStarted,
    SignatureDelta,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    UsageReported,
)
from turnout_server.core.model import FailureKind, Usage, UsageSource
from turnout_server.ports import UpstreamCall, UpstreamError
from turnout_server.providers.counts import TOKENS_MAXIMUM
from turnout_server.providers.dialects import dialect_of
from turnout_server.providers.ndjson import LineSplitter
from turnout_server.providers.reading import StreamReading
from turnout_server.providers.sse import EventSplitter
from turnout_server.providers.upstream import wire_of
from turnout_server.providers.wire import Wire

EACH = max(1, settings().max_examples // 4)
"""There are a dozen vendors."""
SECONDS = 3600.0

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["", "stop", "text", "error", "tool_use", "STOP", "length", "🌍", "\u0000", "\ud83d", "\udf0d"])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)


def spoken(speaker: Speaker) -> list[list[bytes]]:
    """Good answers of every kind, as lists of chunks."""
    return [
        speaker.text_stream(["Hel", "lo 🌍"]),
        speaker.tool_stream([("call_1", "find", ['{"q":', '"x"}']), ("call_2", "add", ["{}"])]),
        speaker.reasoning_stream(["let me", " see"], "42"),
        [speaker.ping(), *speaker.cut_before_end(["a", "b"])],
        [*speaker.cut_before_end(["a"]), speaker.error_event("overloaded_error")],
        speaker.refusal_stream() if speaker.filters else speaker.text_stream([]),
    ]


def call_of(speaker: Speaker) -> UpstreamCall:
    return UpstreamCall(spec=spec_of(speaker, "https://vendor.example/v1"), credential="", chat=hello())


def read(speaker: Speaker, chunks: Sequence[bytes]) -> tuple[list[StreamEvent], UpstreamError | None]:
    wire, call = wire_of(speaker.wire), call_of(speaker)
    decoder = wire.decoder(call, dialect_of(speaker.provider, speaker.wire))
    reading = StreamReading(decoder, wire.splitter())
    events: list[StreamEvent] = []
    for chunk in chunks:
        events += reading.feed(chunk)
        if reading.over:
            return events, reading.error
    events += reading.end()
    return events, reading.error


def check(events: Sequence[StreamEvent], error: UpstreamError | None) -> None:
    """What holds of every answer, however bad: it is over, and can be told to the caller and accounted for."""
    finished = [place for place, event in enumerate(events) if isinstance(event, Finished)]
    if error is None:
        assert len(finished) == 1
        assert all(isinstance(event, (UsageReported, Finished)) for event in events[finished[0] :])
    else:
        assert not finished
        check_error(error)
    for event in events:
        match event:
            case TextDelta(text=text) | SignatureDelta(signature=text):
                tellable(text)
            case ReasoningDelta():
                tellable(event.text)
            case ToolCallDelta():
                tellable(event.id, event.name, event.arguments_fragment)
            case ResponseStarted():
                tellable(event.model, event.response_id)
            case UsageReported(usage=usage, cost_usd=cost):
                counts = [getattr(usage, field.name) for field in fields(Usage) if field.name != "source"]
                assert all(count is None or 0 <= count <= 4 * TOKENS_MAXIMUM for count in counts)
                assert cost is None or 0 <= cost < 1e7
                assert usage.source is UsageSource.REPORTED
            case _:
                pass


def check_error(error: UpstreamError) -> None:
    assert len(error.detail) < 1000
    assert error.retry_after_seconds is None or 0 <= error.retry_after_seconds <= SECONDS
    assert isinstance(error.kind, FailureKind)
    tellable(error.detail)


def tellable(*texts: str) -> None:
    for text in texts:
        assert isinstance(text, str)
        # Protobuf takes no half characters.
        text.encode()


@pytest.mark.parametrize("name", SPEAKERS)
@settings(max_examples=EACH)
@given(seed=st.integers(0, 2**32), data=st.data())
def test_damaged_bytes_end_in_an_answer_or_in_one_failure(name: str, seed: int, data: st.DataObject) -> None:
    speaker, rng = SPEAKERS[name](), random.Random(seed)
    scripts = spoken(speaker)
    stream = b"".join(data.draw(st.sampled_from(scripts)))
    other = b"".join(rng.choice(scripts))
    damaged = mutated(stream, other, rng)
    cuts = sorted(rng.randrange(len(damaged) + 1) for _ in range(rng.randrange(4)))
    chunks = [damaged[a:b] for a, b in zip([0, *cuts], [*cuts, len(damaged)], strict=True)]

    check(*read(speaker, chunks))


def events_of(speaker: Speaker, chunks: Sequence[bytes]) -> list[Any]:
    """The JSON of each event, "" for what is none."""
    splitter = wire_of(speaker.wire).splitter()
    found = [event for chunk in chunks for event in splitter.feed(chunk)]
    rest = splitter.rest()
    parsed = []
    for event in [*found, *([] if rest is None else [rest])]:
        try:
            parsed.append(orjson.loads(event))
        except orjson.JSONDecodeError:
            parsed.append(None)
    return parsed


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    found = [path]
    if isinstance(value, dict):
        for key, inner in value.items():
            found += paths(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            found += paths(inner, (*path, number))
    return found


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


@pytest.mark.parametrize("name", SPEAKERS)
@settings(max_examples=EACH)
@given(data=st.data())
def test_events_of_another_shape_end_in_an_answer_or_in_one_failure(name: str, data: st.DataObject) -> None:
    speaker = SPEAKERS[name]()
    chunks = data.draw(st.sampled_from(spoken(speaker)))
    documents = [event for event in events_of(speaker, chunks) if event is not None]
    place = data.draw(st.integers(0, len(documents) - 1))
    path = data.draw(st.sampled_from(paths(documents[place])))
    documents[place] = replaced(documents[place], path, data.draw(values))

    check(*read(speaker, [speaker.framed(json.dumps(document).encode()) for document in documents]))


@pytest.mark.parametrize("name", SPEAKERS)
@settings(max_examples=EACH)
@given(data=st.data())
def test_whole_answers_of_another_shape_end_in_an_answer_or_in_one_failure(name: str, data: st.DataObject) -> None:
    speaker = SPEAKERS[name]()
    wholes = [speaker.whole_text("hello"), speaker.whole_tools([("c1", "find", '{"q": 1}')])]
    document = orjson.loads(data.draw(st.sampled_from(wholes)))
    path = data.draw(st.sampled_from(paths(document)))
    text = json.dumps(replaced(document, path, data.draw(values)))
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        # Halves of characters: refused before a wire sees them.
        return
    wire: Wire = wire_of(speaker.wire)
    try:
        events = wire.whole(document, call_of(speaker), dialect_of(speaker.provider, speaker.wire))
    except UpstreamError as error:
        check_error(error)
    else:
        check(events, None)


@pytest.mark.parametrize("splitter", [EventSplitter, LineSplitter])
@given(stream=st.binary(max_size=200) | st.text(alphabet="data: \r\n{}é", max_size=60).map(str.encode), data=st.data())
def test_any_bytes_are_cut_into_the_same_events_however_they_arrive(
    splitter: Callable[[], Any], stream: bytes, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    whole, pieces = splitter(), splitter()
    at_once = whole.feed(stream)
    in_pieces = [
        event
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for event in pieces.feed(stream[start:end])
    ]

    assert (at_once, whole.rest()) == (in_pieces, pieces.rest())
