"""Compression that nobody asked for is undone piece by piece, and a bomb is recognised long before it is large."""

import gzip
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.ollama_speaker import OllamaSpeaker
from tests.wire.speakers import AnthropicSpeaker, OpenAISpeaker, Speaker
from turnout_server.core.model import FailureKind
from turnout_server.ports import UpstreamError
from turnout_server.providers.unpacking import FREE_BYTES, PIECE_BYTES, unpacked


async def unpack(chunks: Sequence[bytes], encoding: str = "gzip") -> list[bytes]:
    async def source() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return [piece async for piece in unpacked(source(), encoding)]


def raw_deflate(body: bytes) -> bytes:
    squeeze = zlib.compressobj(6, zlib.DEFLATED, -15)
    return squeeze.compress(body) + squeeze.flush()


PACKERS: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate ": raw_deflate,
}


@pytest.mark.parametrize("encoding", PACKERS)
@given(body=st.binary(max_size=2000), cuts=st.lists(st.integers(1, 50), max_size=20))
async def test_any_body_comes_out_as_it_went_in_however_it_was_cut(encoding: str, body: bytes, cuts: list[int]) -> None:
    packed, chunks = PACKERS[encoding](body), []
    for cut in cuts:
        chunks.append(packed[:cut])
        packed = packed[cut:]

    assert body == b"".join(await unpack([*chunks, packed], encoding))


async def test_members_that_follow_each_other_are_one_body() -> None:
    assert b"onetwo" == b"".join(await unpack([gzip.compress(b"one") + gzip.compress(b"two")]))


async def test_what_comes_is_passed_on_before_the_rest_has_come() -> None:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    first = squeeze.compress(b"data: 1\n\n") + squeeze.flush(zlib.Z_SYNC_FLUSH)

    assert b"data: 1\n\n" == b"".join(await unpack([first]))


async def test_large_body_comes_in_small_pieces() -> None:
    body = b"".join(b'{"index": %d, "text": "%x"}\n' % (i, hash((i, "x")) & 0xFFFFFFFF) for i in range(60_000))
    pieces = await unpack([gzip.compress(body)])

    assert body == b"".join(pieces)
    assert max(map(len, pieces)) <= PIECE_BYTES


@pytest.mark.parametrize("speaker", [OpenAISpeaker(), AnthropicSpeaker(), OllamaSpeaker()], ids=lambda s: s.wire)
async def test_model_that_says_one_word_for_ever_is_no_bomb(speaker: Speaker) -> None:
    body = b"".join(speaker.text_stream(["a"] * 40_000))

    assert len(body) == sum(map(len, await unpack([gzip.compress(body)])))


async def test_bomb_is_recognised_soon_after_what_any_answer_may_have() -> None:
    seen = 0

    async def source() -> AsyncIterator[bytes]:
        yield gzip.compress(b" " * 100_000_000)

    async def read() -> None:
        nonlocal seen
        async for piece in unpacked(source(), "gzip"):
            seen += len(piece)

    with pytest.raises(UpstreamError, match="times") as caught:
        await read()

    assert FailureKind.PROTOCOL is caught.value.kind
    assert FREE_BYTES <= seen <= FREE_BYTES + 10 * PIECE_BYTES


@pytest.mark.parametrize("body", [b"not gzip at all", gzip.compress(b"x")[:4] + b"\xff" * 30])
async def test_what_is_no_gzip_is_a_broken_answer(body: bytes) -> None:
    with pytest.raises(UpstreamError, match="compress") as caught:
        await unpack([body])

    assert FailureKind.PROTOCOL is caught.value.kind


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "x" * 5000])
async def test_other_ways_to_compress_are_not_taken(encoding: str) -> None:
    with pytest.raises(UpstreamError, match="compress") as caught:
        await unpack([b"x"], encoding)

    assert FailureKind.PROTOCOL is caught.value.kind
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("encoding", PACKERS)
@pytest.mark.parametrize("length", [PIECE_BYTES + i for i in (-1, 0, 1, 100, 200, 258, 300, PIECE_BYTES)])
async def test_nothing_is_left_behind_where_a_piece_ends_with_what_has_come(encoding: str, length: int) -> None:
    body = b"\n" * length
    packed = PACKERS[encoding](body)

    assert [body, body] == [
        b"".join(await unpack([packed], encoding)),
        b"".join(await unpack([packed[:-1], packed[-1:]], encoding)),
    ]
