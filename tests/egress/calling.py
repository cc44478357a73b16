"""One provider as an operator configured it, called over real sockets."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from time import monotonic

import pytest

from tests.wire.conftest import KEY, connection_of
from tests.wire.scripted_server import ScriptedServer, json_answer
from tests.wire.speakers import OpenAISpeaker, hello, spec_of
from turnout_server.core.model import FailureKind
from turnout_server.ports import UpstreamCall, UpstreamError
from turnout_server.providers.connection import SecretReference
from turnout_server.providers.secrets import Secrets
from turnout_server.providers.upstream import HttpUpstream, build_upstreams

SPEAKER = OpenAISpeaker()
PATIENCE_SECONDS = 60.0
"""No machine is too slow to connect in."""


def answers(server: ScriptedServer, count: int = 1) -> None:
    """Has the server answer the next calls well."""
    server.scripts += [json_answer(SPEAKER.whole_text("x"))] * count


@dataclass
class Egress:
    """`faults` are what the operator was told."""

    upstream: HttpUpstream
    faults: list[str] = field(default_factory=list)

    async def call(self, url: str) -> None:
        spec = spec_of(SPEAKER, url)
        await self.upstream.complete(UpstreamCall(spec=spec, credential="main", chat=hello()))

    async def failure(self, url: str) -> UpstreamError:
        with pytest.raises(UpstreamError) as caught:
            await self.call(url)
        return caught.value

    async def connection_failure(self, url: str) -> str:
        """What is told of a call that could not even be sent."""
        error = await self.failure(url)
        assert FailureKind.CONNECTION is error.kind
        assert not error.possibly_billed
        return error.detail


@contextlib.asynccontextmanager
async def egress(
    *,
    clock: Callable[[], float] = monotonic,
    credentials: Mapping[str, SecretReference] | None = None,
    connect_timeout_seconds: float = PATIENCE_SECONDS,
    **changes: object,
) -> AsyncIterator[Egress]:
    faults: list[str] = []
    connection = replace(connection_of(SPEAKER), connect_timeout_seconds=connect_timeout_seconds, **changes)  # type: ignore[arg-type]
    if credentials is not None:
        connection = replace(connection, credentials=credentials)
    secrets = Secrets([connection], environ={"TEST_KEY": KEY}, clock=clock, on_fault=faults.append)
    (upstream,) = build_upstreams([connection], secrets).values()
    try:
        yield Egress(upstream, faults)
    finally:
        await upstream.aclose()
        await secrets.aclose()
