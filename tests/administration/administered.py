"""A whole sidecar in this process that has a configuration file and tokens, as an operator meets it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
import structlog.testing
from google.rpc import error_details_pb2  # type: ignore[import-untyped]  # has no types

from tests.api.sidecar import details, reason
from tests.reloading.following import LONG_SECONDS, provider, until
from turnout.v1 import admin_pb2 as pb
from turnout.v1 import admin_pb2_grpc, router_pb2, router_pb2_grpc
from turnout_server.app import running
from turnout_server.config.load import load

ADMIN_KEY, CALL_KEY = "planted-admin-key-0001", "planted-call-key-0001"
HOUSE_KEY = "planted-house-key-0001"
ENVIRON = {
    "ADMIN_TOKEN": ADMIN_KEY,
    "CALL_TOKEN": CALL_KEY,
    "HOUSE_KEY": HOUSE_KEY,
    "OPENAI_API_KEY": "planted-openai-key-01",
}
AS_ADMIN = (("authorization", f"Bearer {ADMIN_KEY}"),)
AS_CALLER = (("authorization", f"Bearer {CALL_KEY}"),)
DENIED = (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
NORTH = provider("north", "http://127.0.0.1:9/v1")
SOUTH = provider("south", "http://127.0.0.1:9/v1")
TOKENS = "tokens: [{token_env: ADMIN_TOKEN, role: admin}, {token_env: CALL_TOKEN, role: call}]"
HEAD = (
    f"listen: {{address: '127.0.0.1:0', auth: {{{TOKENS}}}}}, health: {{address: ''}}, metrics: {{address: ''}}, "
    "drain_seconds: 5"
)

Answer = TypeVar("Answer")


def written(*providers: str, more: str = "") -> str:
    """A configuration file with two tokens."""
    return f"{{{HEAD}, providers: {{{', '.join(providers or (NORTH, SOUTH))}}}{more}}}"


@dataclass
class Administered:
    """A running sidecar. The stubs need one of the tokens as metadata."""

    file: Path
    admin: admin_pb2_grpc.AdminServiceAsyncStub
    stub: router_pb2_grpc.RouterServiceAsyncStub
    log: list[MutableMapping[str, Any]]
    asked: asyncio.Event
    address: str

    def lines(self, *events: str) -> list[MutableMapping[str, Any]]:
        return [line for line in list(self.log) if line["event"] in events]

    async def change_file(self, text: str) -> MutableMapping[str, Any]:
        """Writes the file, has it looked at, and returns what came of it."""
        ends = ("config.reloaded", "config.refused", "config.unchanged")
        before = len(self.lines(*ends))
        other = self.file.with_name("being written")
        other.write_text(text)
        other.replace(self.file)
        self.asked.set()
        await until(lambda: len(self.lines(*ends)) > before)
        return self.lines(*ends)[-1]

    async def call(self, method: Callable[..., Awaitable[Answer]], request: object) -> Answer:
        """Calls with the token of role admin."""
        return await method(request, timeout=LONG_SECONDS, metadata=AS_ADMIN)

    async def routing(self, policy: str = "") -> pb.Routing:
        answer = await self.call(self.admin.GetRouting, pb.GetRoutingRequest(policy=policy))
        return answer.routing

    async def decision(self, policy: str = "") -> router_pb2.Decision:
        request = router_pb2.RouteRequest(options=router_pb2.RoutingOptions(policy=policy))
        answer = await self.stub.Route(request, timeout=LONG_SECONDS, metadata=AS_CALLER)
        return answer.decision

    async def events(self, *names: str) -> list[pb.Event]:
        """Events of these names, the oldest first."""
        answer = await self.call(self.admin.ListEvents, pb.ListEventsRequest(names=names))
        return list(reversed(answer.events))


@asynccontextmanager
async def administered(folder: Path, text: str = "") -> AsyncIterator[Administered]:
    """Starts one; it looks at its file when it is asked to."""
    file = folder / "turnout.yaml"
    file.write_text(text or written())
    asked = asyncio.Event()
    with structlog.testing.capture_logs() as log:
        async with (
            running(load(str(file), ENVIRON), ENVIRON, files_every_seconds=30.0, reload_asked=asked) as listening,
            grpc.aio.insecure_channel(listening.grpc[0]) as channel,
        ):
            yield Administered(
                file,
                admin_pb2_grpc.AdminServiceStub(channel),
                router_pb2_grpc.RouterServiceStub(channel),
                log,
                asked,
                listening.grpc[0],
            )


async def refusal(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    """Returns what a call is refused with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def refused(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    """Returns code and reason of a refusal."""
    error = await refusal(call)
    return error.code(), reason(error)


async def violations(call: Awaitable[object]) -> dict[str, str]:
    """Returns what is wrong with a request by field."""
    error = await refusal(call)

    assert (error.code(), reason(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    bad = error_details_pb2.BadRequest.FromString(details(error)["BadRequest"])
    return {violation.field: violation.description for violation in bad.field_violations}
