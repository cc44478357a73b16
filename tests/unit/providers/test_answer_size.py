"""A provider cannot fill our memory: an answer that comes in one piece may be 32 MiB, and not a byte more."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping

import pytest

from turnout_server.core.chat import ChatInput, Message, Part, Role, Text
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.model import FailureKind, Target
from turnout_server.ports import UpstreamCall, UpstreamError
from turnout_server.providers.connection import ProviderConnection
from turnout_server.providers.dialects import OPENAI
from turnout_server.providers.large_json import LargeBody
from turnout_server.providers.secrets import Secrets
from turnout_server.providers.upstream import HttpUpstream, wire_of

MIB = 1024 * 1024
SAID = b'{"id": "r", "model": "m", "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}'


class LongAnswer:
    """An answer of that many bytes: white space, and the answer itself at the end."""

    def __init__(self, byte_count: int) -> None:
        self.status = 200
        self.raw_headers: list[tuple[bytes, bytes]] = []
        self._left = byte_count - len(SAID)
        self.closed = False

    def header(self, name: str) -> str:
        return "application/json" if name == "content-type" else ""

    async def chunks(self) -> AsyncGenerator[bytes]:
        while self._left > 0:
            piece = min(self._left, MIB)
            self._left -= piece
            yield b" " * piece
        yield SAID

    async def aclose(self) -> None:
        self.closed = True

    def finish_later(self) -> None:
        """Nothing follows."""


class OneAnswer:
    """A transport that has one answer for everything."""

    def __init__(self, answer: LongAnswer) -> None:
        self._answer = answer

    async def post(self, url: str, headers: Mapping[str, str], body: bytes | LargeBody) -> LongAnswer:  # noqa: ARG002  # the protocol's
        return self._answer

    async def get(self, url: str, headers: Mapping[str, str]) -> LongAnswer:  # noqa: ARG002  # the protocol's
        return self._answer

    async def aclose(self) -> None:
        """Nothing is open."""


async def answered(answer: LongAnswer) -> int:
    """Makes a call that is answered so; returns the number of events."""
    connection = ProviderConnection(provider="p", wire="openai", dialect=OPENAI)
    upstream = HttpUpstream(wire_of("openai"), OneAnswer(answer), Secrets([connection]), connection)
    call = UpstreamCall(
        spec=TargetSpec(target=Target("p", "m"), wire="openai", base_url="https://p.example/v1"),
        credential="",
        chat=ChatInput(messages=(Message(role=Role.USER, parts=(Part(content=Text(text="Hi")),)),)),
    )
    return len(await upstream.complete(call))


async def test_answer_of_32_mib_is_read() -> None:
    assert await answered(LongAnswer(32 * MIB)) > 1


async def test_larger_answer_is_a_protocol_failure_and_is_closed() -> None:
    answer = LongAnswer(32 * MIB + 1)
    with pytest.raises(UpstreamError) as caught:
        await answered(answer)

    assert caught.value.kind is FailureKind.PROTOCOL
    assert answer.closed
