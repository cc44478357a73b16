"""Lines of JSON come whole out of any chunks."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.providers.framing import MAX_EVENT_BYTES, EventTooLargeError
from turnout_server.providers.ndjson import LineSplitter

LINES = st.lists(st.binary(min_size=1).filter(lambda line: not set(line) & set(b"\r\n") and line.strip() == line))


@given(lines=LINES, ending=st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n"]), cuts=st.lists(st.integers(0, 400)))
def test_lines_are_the_same_however_the_chunks_fell(lines: list[bytes], ending: bytes, cuts: list[int]) -> None:
    whole = b"".join(line + ending for line in lines)
    splitter = LineSplitter()
    places = sorted({0, len(whole), *(min(cut, len(whole)) for cut in cuts)})
    got = [line for start, end in pairwise(places) for line in splitter.feed(whole[start:end])]
    expected = list(lines)
    if expected and expected[0].startswith(b"\xef\xbb\xbf"):
        expected[0] = expected[0][3:].strip()
        expected = [line for line in expected if line]

    assert expected == got
    assert splitter.rest() is None


def test_last_line_without_its_end_is_kept_for_the_end_of_the_stream() -> None:
    splitter = LineSplitter()

    assert [b"{}"] == splitter.feed(b'{}\n{"done":')
    assert [] == splitter.feed(b" true}")
    assert b'{"done": true}' == splitter.rest()
    assert splitter.rest() is None


@pytest.mark.parametrize("ended", [b"", b"\n"])
def test_line_without_an_end_in_sight_is_given_up(ended: bytes) -> None:
    splitter = LineSplitter()
    half = b"x" * (MAX_EVENT_BYTES // 2 + 1)
    splitter.feed(half)

    with pytest.raises(EventTooLargeError):
        splitter.feed(half + ended)
