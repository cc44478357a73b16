"""What all wires and dialects must read alike: the contract of `ports.Upstream`, over real sockets."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from tests.wire.conftest import Bench
from tests.wire.scripted_server import Close, Hang, Head, Raw, Reset, json_answer
from tests.wire.speakers import Speaker, hello, spec_of
from turnout_server.core.chat import (
    Finished,
    Lifecycle,
    ReasoningDelta,
    ResponseStarted,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    UsageReported,
)
from turnout_server.core.model import FailureKind, FinishReason
from turnout_server.ports import UpstreamCall
from turnout_server.providers.dialects import dialect_of
from turnout_server.providers.framing import MAX_EVENT_BYTES
from turnout_server.providers.reading import StreamReading
from turnout_server.providers.upstream import wire_of


def text_of(events: list[StreamEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def finish_of(events: list[StreamEvent]) -> list[FinishReason]:
    return [event.reason for event in events if isinstance(event, Finished)]


def calls_of(events: list[StreamEvent]) -> dict[int, tuple[str, str, str]]:
    calls: dict[int, tuple[str, str, str]] = {}
    for event in events:
        if isinstance(event, ToolCallDelta):
            call_id, name, arguments = calls.get(event.part_index, ("", "", ""))
            calls[event.part_index] = (call_id + event.id, name + event.name, arguments + event.arguments_fragment)
    return calls


def told(bench: Bench, events: list[StreamEvent], ids: list[str]) -> list[tuple[str, str, str]]:
    """The tool calls; ids that the vendor does not give must be there and differ, and stand here as `ids`."""
    calls = list(calls_of(events).values())
    if bench.speaker.own_tool_call_ids:
        return calls
    assert len(ids) == len({call_id for call_id, _, _ in calls} - {""})
    return [(call_id, name, arguments) for call_id, (_, name, arguments) in zip(ids, calls, strict=True)]


async def test_streamed_text_comes_in_order_with_one_finish(bench: Bench) -> None:
    events = await bench.stream([Head(), *bench.speaker.text_stream(["Hel", "lo, ", "wörld"])])

    assert "Hello, wörld" == text_of(events)
    assert [FinishReason.STOP] == finish_of(events)
    assert 200 == bench.head.http_status


async def test_response_is_named_before_its_content(bench: Bench) -> None:
    events = [
        e for e in await bench.stream([Head(), *bench.speaker.text_stream(["x"])]) if not isinstance(e, Lifecycle)
    ]

    assert isinstance(events[0], ResponseStarted)
    assert events[0].response_id or not bench.speaker.names_answers
    assert events[0].model.startswith(bench.speaker.model)


async def test_head_is_given_out_before_any_event_has_come(bench: Bench) -> None:
    bench.server.scripts.append([Head(), Hang()])
    stream = bench.upstream.stream(bench.call)

    assert 200 == (await anext(stream))[0].http_status  # type: ignore[union-attr]
    await stream.aclose()


async def test_usage_counts_cached_written_and_reasoning_tokens_as_parts_of_the_whole(bench: Bench) -> None:
    events = await bench.stream([Head(), *bench.speaker.text_stream(["x"])])

    usage = [event.usage for event in events if isinstance(event, UsageReported)][-1]
    assert bench.speaker.counted == (
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
    )


async def test_nothing_but_usage_follows_the_finish(bench: Bench) -> None:
    events = await bench.stream([Head(), *bench.speaker.text_stream(["x"]), bench.speaker.ping()])

    after = events[[isinstance(e, Finished) for e in events].index(True) + 1 :]
    assert all(isinstance(event, UsageReported) for event in after)


async def test_parallel_tool_calls_keep_their_fragments_apart(bench: Bench) -> None:
    calls = [
        ("call_1", "weather", ['{"ci', 'ty":"Pa', 'ris"}']),
        ("call_2", "time", ['{"zone":', '"CET"}']),
    ]

    events = await bench.stream([Head(), *bench.speaker.tool_stream(calls)])

    expected = [("call_1", "weather", '{"city":"Paris"}'), ("call_2", "time", '{"zone":"CET"}')]
    assert expected == told(bench, events, [call_id for call_id, _, _ in calls])
    assert [FinishReason.TOOL_CALLS] == finish_of(events)


async def test_tool_call_names_itself_with_its_first_fragment_only(bench: Bench) -> None:
    events = await bench.stream([Head(), *bench.speaker.tool_stream([("call_1", "f", ["{", "}"])])])

    named = [bool(event.name) for event in events if isinstance(event, ToolCallDelta)]
    assert [True] + [False] * (len(named) - 1) == named
    assert bench.speaker.argument_fragments is (len(named) > 1)


async def test_reasoning_is_a_part_of_its_own_before_the_text(bench: Bench) -> None:
    events = await bench.stream([Head(), *bench.speaker.reasoning_stream(["Hm, ", "well."], "Yes.")])

    thoughts = [event for event in events if isinstance(event, ReasoningDelta)]
    texts = [event for event in events if isinstance(event, TextDelta)]
    assert ["Hm, ", "well."] == [event.text for event in thoughts]
    assert (0, 1) == (thoughts[0].part_index, texts[0].part_index)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("filter", FinishReason.CONTENT_FILTER),
    ],
)
async def test_finish_reasons_of_an_answer_with_content(bench: Bench, reason: str, expected: FinishReason) -> None:
    if reason == "filter" and not bench.speaker.filters:
        pytest.skip("has no content filter")
    events = await bench.stream([Head(), *bench.speaker.text_stream(["x"], reason=reason)])

    assert [expected] == finish_of(events)


async def test_refusal_before_any_output_is_a_failure(bench: Bench) -> None:
    if not bench.speaker.filters:
        pytest.skip("has no content filter")
    error = await bench.failing_stream([Head(), *bench.speaker.refusal_stream()])

    assert FailureKind.CONTENT_FILTERED is error.kind


async def test_whole_answer_brings_the_same_events_as_a_stream(bench: Bench) -> None:
    streamed = await bench.stream([Head(), *bench.speaker.text_stream(["Hello"])])
    usage = [event for event in streamed if isinstance(event, UsageReported)][-1]

    whole = await bench.complete(json_answer(bench.speaker.whole_text("Hello")))

    assert "Hello" == text_of(whole)
    assert [FinishReason.STOP] == finish_of(whole)
    assert usage.usage.input_tokens == next(e.usage.input_tokens for e in whole if isinstance(e, UsageReported))
    assert isinstance(whole[0], ResponseStarted)


async def test_whole_answer_with_parallel_tool_calls(bench: Bench) -> None:
    calls = [("call_1", "weather", '{"city":"Paris"}'), ("call_2", "time", "{}")]

    events = await bench.complete(json_answer(bench.speaker.whole_tools(calls)))

    assert calls == told(bench, events, [call_id for call_id, _, _ in calls])
    assert [FinishReason.TOOL_CALLS] == finish_of(events)


async def test_server_that_cannot_stream_is_understood_all_the_same(bench: Bench) -> None:
    events = await bench.stream(json_answer(bench.speaker.whole_text("Hello")))

    assert "Hello" == text_of(events)
    assert [FinishReason.STOP] == finish_of(events)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_smallest_chunks_mean_no_more_than_large_ones(speaker: Speaker, size: int) -> None:
    wire = wire_of(speaker.wire)
    call = UpstreamCall(spec=spec_of(speaker, "https://example.com"), credential="", chat=hello())
    decoder = wire.decoder(call, dialect_of(speaker.provider, speaker.wire))
    reading = StreamReading(decoder, wire.splitter())
    whole = b"".join([speaker.ping(), *speaker.reasoning_stream(["Grü", "ße. "], "世界 🚂🛤")])

    events = [event for i in range(0, len(whole), size) for event in reading.feed(whole[i : i + size])]

    assert "世界 🚂🛤" == text_of(events)
    assert "Grüße. " == "".join(event.text for event in events if isinstance(event, ReasoningDelta))
    assert [FinishReason.STOP] == finish_of(events)


@pytest.mark.parametrize("size", [7, 64])
async def test_chunk_boundaries_mean_nothing(bench: Bench, size: int) -> None:
    whole = b"".join(bench.speaker.text_stream(["Grüße, ", "世界 ", "🚂🛤"]))
    pieces = [whole[i : i + size] for i in range(0, len(whole), size)]

    events = await bench.stream([Head(), *pieces])

    assert "Grüße, 世界 🚂🛤" == text_of(events)
    assert [FinishReason.STOP] == finish_of(events)


@pytest.mark.parametrize("ending", [b"\r\n", b"\r"])
async def test_lines_may_end_in_any_of_three_ways(bench: Bench, ending: bytes) -> None:
    whole = b"".join(bench.speaker.text_stream(["a", "b"])).replace(b"\n", ending)

    events = await bench.stream([Head(), whole[:100], whole[100:101], whole[101:]])

    assert "ab" == text_of(events)


async def test_data_on_several_lines_is_one_event(bench: Bench) -> None:
    if not bench.speaker.comments:
        pytest.skip("one event is one line here")
    lines = [line for event in bench.speaker.text_stream(["a", "b"]) for line in event.split(b"\n")]
    cut = [line.replace(b'{"', b'{\ndata: "', 1) if line.startswith(b"data: {") else line for line in lines]

    events = await bench.stream([Head(), b"\n".join(cut)])

    assert "ab" == text_of(events)
    assert [FinishReason.STOP] == finish_of(events)


@pytest.mark.parametrize("reason", ["stop", "length"])
async def test_answer_without_content_is_complete_all_the_same(bench: Bench, reason: str) -> None:
    events = await bench.stream([Head(), *bench.speaker.text_stream([], reason=reason)])

    assert "" == text_of(events)
    assert [FinishReason(reason.upper())] == finish_of(events)


async def test_whole_answer_without_content_is_complete_all_the_same(bench: Bench) -> None:
    events = await bench.complete(json_answer(bench.speaker.whole_text("")))

    assert "" == text_of(events)
    assert [FinishReason.STOP] == finish_of(events)


async def test_many_events_in_one_read_come_as_one_batch(bench: Bench) -> None:
    await bench.stream([Head(), b"".join(bench.speaker.text_stream(["x"] * 50))])

    assert 50 == max(sum(isinstance(e, TextDelta) for e in batch) for batch in bench.batches)


async def test_bytes_without_an_event_are_a_sign_of_life(bench: Bench) -> None:
    first, *rest = bench.speaker.text_stream(["x"])

    comment = b": comment\n\n" if bench.speaker.comments else bench.speaker.ping()

    await bench.stream([Head(), bench.speaker.ping(), comment, first[:20], first[20:], *rest])

    assert [(Lifecycle(),)] * 3 == bench.batches[1:4]


async def test_half_characters_in_two_events_become_one_character(bench: Bench) -> None:
    whole = b"".join(bench.speaker.text_stream(["<1>", "<2>!"]))

    events = await bench.stream([Head(), whole.replace(b"<1>", rb"\ud83d").replace(b"<2>", rb"\ude82")])

    assert "🚂!" == text_of(events)


async def test_event_up_to_the_limit_is_read_and_a_larger_one_is_not(bench: Bench) -> None:
    large = "x" * (MAX_EVENT_BYTES - 1000)
    events = await bench.stream([Head(), *bench.speaker.text_stream([large])])
    assert len(large) == len(text_of(events))

    error = await bench.failing_stream([Head(), *bench.speaker.text_stream(["x" * (MAX_EVENT_BYTES + 1)])])

    assert FailureKind.PROTOCOL is error.kind


async def test_endless_line_is_refused_before_it_fills_the_memory(bench: Bench) -> None:
    error = await bench.failing_stream([Head(), bench.speaker.framed(b"")[:6], *[b"x" * 65536] * 40, Hang()])

    assert FailureKind.PROTOCOL is error.kind


async def test_stream_without_its_end_is_truncated(bench: Bench) -> None:
    error = await bench.failing_stream([Head(), *bench.speaker.cut_before_end(["Hel", "lo"])])

    assert FailureKind.TRUNCATED is error.kind
    assert "Hello" == text_of(bench.events)
    assert error.possibly_billed


@pytest.mark.parametrize("cut", [Close(), Reset()])
async def test_connection_cut_in_mid_answer_is_truncated(bench: Bench, cut: Close | Reset) -> None:
    error = await bench.failing_stream([Head(), *bench.speaker.cut_before_end(["Hel", "lo"]), cut])

    assert FailureKind.TRUNCATED is error.kind


async def test_cut_in_the_middle_of_an_event_is_truncated_not_malformed(bench: Bench) -> None:
    whole = b"".join(bench.speaker.cut_before_end(["Hello"]))

    error = await bench.failing_stream([Head(length=-1), whole[:-20], Close()])

    assert FailureKind.TRUNCATED is error.kind


async def test_whole_answer_that_breaks_off_is_truncated(bench: Bench) -> None:
    body = bench.speaker.whole_text("Hello")

    error = await bench.failing_stream(
        [Head(headers=(("content-type", "application/json"),), length=999), body, Close()]
    )

    assert FailureKind.TRUNCATED is error.kind


async def test_complete_answer_stays_complete_when_its_connection_breaks(bench: Bench) -> None:
    events = await bench.stream([Head(), *bench.speaker.text_stream(["Hello"]), Reset()])

    assert [FinishReason.STOP] == finish_of(events)


async def test_answer_without_length_or_chunks_ends_with_the_connection(bench: Bench) -> None:
    events = await bench.stream([Head(length=-1), *bench.speaker.text_stream(["Hello"]), Close()])

    assert "Hello" == text_of(events)


@pytest.mark.parametrize("bad", [b"{nonsense", b"[1,2]", b'"text"', b"1"])
async def test_malformed_event_is_a_protocol_failure_after_what_came_before(bench: Bench, bad: bytes) -> None:
    script = b"".join(bench.speaker.cut_before_end(["Hello"])) + bench.speaker.framed(bad)

    error = await bench.failing_stream([Head(), script])

    assert FailureKind.PROTOCOL is error.kind
    assert "Hello" == text_of(bench.events)


async def test_invalid_utf8_is_a_protocol_failure(bench: Bench) -> None:
    whole = b"".join(bench.speaker.text_stream(["<1>"])).replace(b"<1>", b"\xff\xfe")

    error = await bench.failing_stream([Head(), whole])

    assert FailureKind.PROTOCOL is error.kind


async def test_web_page_is_a_protocol_failure(bench: Bench) -> None:
    error = await bench.failing_stream([Head(headers=(("content-type", "text/html"),)), b"<html>Sign in</html>"])

    assert FailureKind.PROTOCOL is error.kind
    assert "base URL" in error.detail


async def test_answer_that_is_no_http_is_a_protocol_failure(bench: Bench) -> None:
    error = await bench.failing_stream([Raw(b"SSH-2.0-OpenSSH_9.2\r\n"), Close()])

    assert FailureKind.PROTOCOL is error.kind


@pytest.mark.parametrize("body", [b"{}", b"[]", b"null", b'{"choices":[]}', b'{"content":[]}', b"not json"])
async def test_whole_answer_of_the_wrong_shape_is_a_protocol_failure(bench: Bench, body: bytes) -> None:
    error = await bench.failing_stream(json_answer(body))

    assert FailureKind.PROTOCOL is error.kind


async def test_events_arrive_as_they_are_sent(bench: Bench) -> None:
    await bench.stream([Head(), *bench.speaker.text_stream(["a", "b", "c"])])

    counts = [sum(isinstance(e, TextDelta) for e in batch) for batch in bench.batches]
    assert [1, 1, 1] == [count for count in counts if count]


async def test_streams_at_the_same_time_do_not_mix(bench: Bench) -> None:
    words = ["alpha", "beta", "gamma", "delta"]
    bench.server.scripts += [[Head(), *bench.speaker.text_stream([word] * 20)] for word in words]

    async def read() -> str:
        events = [event async for batch in bench.upstream.stream(bench.call) for event in batch]
        return text_of([event for event in events if isinstance(event, TextDelta)])

    texts = await asyncio.gather(*(read() for _ in words))

    assert sorted(word * 20 for word in words) == sorted(texts)
    assert all(one != other for one, other in pairwise(sorted(texts)))
