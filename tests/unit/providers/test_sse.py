from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.providers.framing import MAX_EVENT_BYTES, EventTooLargeError
from turnout_server.providers.sse import EventSplitter

LINES = st.text(alphabet=st.characters(blacklist_characters="\r\n", blacklist_categories=["Cs"]), max_size=20)


def split(*chunks: bytes) -> list[bytes]:
    splitter = EventSplitter()
    return [event for chunk in chunks for event in splitter.feed(chunk)]


@given(
    st.lists(st.lists(LINES, min_size=1, max_size=3), max_size=6), st.sampled_from([b"\n", b"\r\n", b"\r"]), st.data()
)
def test_events_are_the_same_however_the_bytes_are_cut(
    events: list[list[str]], ending: bytes, data: st.DataObject
) -> None:
    block = [ending.join(b"data: " + line.encode() for line in lines) + ending * 2 for lines in events]
    whole = b"".join(block)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    chunks = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    assert ["\n".join(lines).encode() for lines in events] == split(*chunks)


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data\n\n", [b""]),
        (b": comment\n\n", []),
        (b": comment\ndata: a\n\n", [b"a"]),
        (b"event: x\nid: 1\nretry: 5\ndata: a\n\n", [b"a"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"\n\n\ndata: a\n\n\n\ndata: b\n\n", [b"a", b"b"]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b"event: x\n\n", []),
        (b"database: a\n\n", []),
        (b"data: a\n", []),
    ],
)
def test_fields_are_read_as_the_standard_says(stream: bytes, expected: list[bytes]) -> None:
    assert expected == split(stream)
    assert expected == split(*(stream[i : i + 1] for i in range(len(stream))))


def test_event_that_only_lacks_its_blank_line_is_kept_for_the_end() -> None:
    splitter = EventSplitter()
    splitter.feed(b"data: a\n\ndata: b\n")

    assert b"b" == splitter.rest()


def test_end_after_a_complete_event_leaves_nothing() -> None:
    splitter = EventSplitter()
    splitter.feed(b"data: a\n\n")

    assert splitter.rest() is None


def test_endless_event_is_refused_when_it_passes_the_limit() -> None:
    splitter = EventSplitter()
    splitter.feed(b"data: " + b"x" * (MAX_EVENT_BYTES - 6))
    with pytest.raises(EventTooLargeError):
        splitter.feed(b"x")
