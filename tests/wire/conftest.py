from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import TypeGuard

import pytest

from tests.wire.every_speaker import SPEAKERS
from tests.wire.scripted_server import Head, Script, ScriptedServer, Step, scripted_server
from tests.wire.speakers import Speaker, hello, spec_of
from turnout_server.core.chat import ChatInput, StreamEvent
from turnout_server.ports import ResponseHead, UpstreamCall, UpstreamError, UpstreamEvent
from turnout_server.providers.connection import ProviderConnection, SecretReference
from turnout_server.providers.dialects import dialect_of
from turnout_server.providers.secrets import Secrets
from turnout_server.providers.upstream import HttpUpstream, build_upstreams

KEY = "sk-planted-0123456789"


@dataclass(slots=True)
class Bench:
    """One upstream in front of a scripted server."""

    speaker: Speaker
    server: ScriptedServer
    upstream: HttpUpstream
    call: UpstreamCall
    batches: list[tuple[UpstreamEvent, ...]] = field(default_factory=list)

    async def stream(self, script: Script, chat: ChatInput | None = None) -> list[StreamEvent]:
        """Streams the answer of the script; returns its events without the head. `batches` has them as they came."""
        self.server.scripts.append(self.spoken(script))
        self.batches.clear()
        call = self.call if chat is None else replace(self.call, chat=chat)
        async for batch in self.upstream.stream(call):
            self.batches.append(tuple(batch))
        return self.events

    def spoken(self, script: Script) -> Script:
        """The script with the vendor's content type where it names none of its own."""
        head = Head(headers=(("content-type", self.speaker.content_type),))
        return [replace(step, headers=head.headers) if _is_plain(step) else step for step in script]

    async def complete(self, script: Script, chat: ChatInput | None = None) -> list[StreamEvent]:
        self.server.scripts.append(script)
        call = self.call if chat is None else replace(self.call, chat=chat)
        self.batches[:] = [tuple(await self.upstream.complete(call))]
        return self.events

    async def failing_stream(self, script: Script, chat: ChatInput | None = None) -> UpstreamError:
        with pytest.raises(UpstreamError) as caught:
            await self.stream(script, chat)
        return caught.value

    @property
    def events(self) -> list[StreamEvent]:
        return [event for batch in self.batches for event in batch if not isinstance(event, ResponseHead)]

    @property
    def head(self) -> ResponseHead:
        head = self.batches[0][0]
        assert isinstance(head, ResponseHead)
        return head


def _is_plain(step: Step) -> TypeGuard[Head]:
    return isinstance(step, Head) and step.headers == Head().headers


def connection_of(speaker: Speaker, *, provider: str = "", allow_private: bool = True) -> ProviderConnection:
    name = provider or speaker.provider
    return ProviderConnection(
        provider=name,
        wire=speaker.wire,
        dialect=dialect_of(name, speaker.wire),
        credentials={"main": SecretReference(env="TEST_KEY")},
        allow_private=allow_private,
    )


def secrets_of(*connections: ProviderConnection) -> Secrets:
    return Secrets(connections, environ={"TEST_KEY": KEY})


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as running:
        yield running


WIRES = ("openai", "anthropic", "gemini", "ollama")
"""Those of the quick run. The others speak one of these with a dialect, which `test_dialects.py` always tries."""


@pytest.fixture(params=[name if name in WIRES else pytest.param(name, marks=pytest.mark.full) for name in SPEAKERS])
def speaker(request: pytest.FixtureRequest) -> Speaker:
    return SPEAKERS[request.param]()


@contextlib.asynccontextmanager
async def bench_of(speaker: Speaker, server: ScriptedServer) -> AsyncIterator[Bench]:
    connection = connection_of(speaker)
    upstream = build_upstreams([connection], secrets_of(connection))[connection.provider]
    call = UpstreamCall(spec=spec_of(speaker, server.url), credential="main", chat=hello())
    yield Bench(speaker=speaker, server=server, upstream=upstream, call=call)
    await upstream.aclose()


@pytest.fixture
async def bench(speaker: Speaker, server: ScriptedServer) -> AsyncIterator[Bench]:
    async with bench_of(speaker, server) as made:
        yield made
