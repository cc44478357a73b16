"""What gRPC stacks of other people send and expect, held at the level of HTTP/2: docs/other-languages.md relies on it.

The answers are read by a library that refuses headers and frames that the standard does not allow.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from tempfile import TemporaryDirectory

import grpc
import h2.config
import h2.connection
import h2.events
import pytest

from tests.api.sidecar import LOCAL, running
from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc
from turnout_server.api.sockets import UnixSocket

Headers = Sequence[tuple[str, str]]
WAIT_SECONDS = 60
ROUTE = "/turnout.v1.RouterService/Route"


def headers(*more: tuple[str, str], path: str = ROUTE) -> Headers:
    """What every gRPC call has, in the order that the standard asks for."""
    pseudo = [pair for pair in more if pair[0].startswith(":")]
    others = [pair for pair in more if not pair[0].startswith(":")]
    fixed = [(":method", "POST"), (":scheme", "http"), (":path", path)]
    return [*fixed, *pseudo, ("te", "trailers"), ("content-type", "application/grpc"), *others]


async def called(socket: str, sent: Headers, body: bytes = b"") -> dict[str, str]:
    """Makes one call over a Unix socket and returns the headers and trailers of its answer, "reset" where it was."""
    reader, writer = await asyncio.open_unix_connection(socket)
    connection = h2.connection.H2Connection(
        h2.config.H2Configuration(header_encoding="utf-8", validate_outbound_headers=False)
    )
    connection.initiate_connection()
    connection.send_headers(1, sent)
    connection.send_data(1, b"\0" + len(body).to_bytes(4, "big") + body, end_stream=True)
    answer: dict[str, str] = {}
    ended = False
    try:
        while not ended:
            writer.write(connection.data_to_send())
            read = await asyncio.wait_for(reader.read(65536), WAIT_SECONDS)
            assert read, "the connection ended"
            for event in connection.receive_data(read):
                if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                    answer.update((str(name), str(value)) for name, value in event.headers)
                elif isinstance(event, h2.events.StreamReset):
                    answer["reset"] = str(event.error_code)
                ended = ended or isinstance(event, h2.events.StreamEnded | h2.events.StreamReset)
    finally:
        writer.close()
    return answer


@pytest.mark.parametrize(
    "authority",
    ["localhost", "127.0.0.1:50151", "run%2Fturnout%2Fturnout.sock", "/run/turnout/turnout.sock", "tonic", ""],
)
async def test_every_authority_that_a_stack_makes_of_a_socket_is_taken(authority: str) -> None:
    with TemporaryDirectory(prefix="turnout-") as short:
        socket = UnixSocket(path=f"{short}/s")
        async with running(settings=dataclasses.replace(LOCAL, socket=socket)):
            answer = await called(f"{short}/s", headers((":authority", authority)))

    assert answer["grpc-status"] == "0"
    assert answer["turnout-decision-id"]


async def test_a_host_does_instead_and_what_is_no_call_of_grpc_is_reset() -> None:
    with TemporaryDirectory(prefix="turnout-") as short:
        async with running(settings=dataclasses.replace(LOCAL, socket=UnixSocket(path=f"{short}/s"))):
            with_host = await called(f"{short}/s", headers(("host", "localhost")))
            with_nothing = await called(f"{short}/s", headers())
            without_te = [pair for pair in headers((":authority", "localhost")) if pair[0] != "te"]
            without_trailers = await called(f"{short}/s", without_te)

    assert with_host["grpc-status"] == "0"
    assert set(with_nothing) == {"reset"}
    assert set(without_trailers) == {"reset"}


async def test_an_error_is_in_one_block_of_headers_with_its_details_in_base64() -> None:
    request = pb.RouteRequest(profile=pb.RequestProfile(task="ü" * 65)).SerializeToString()
    with TemporaryDirectory(prefix="turnout-") as short:
        async with running(settings=dataclasses.replace(LOCAL, socket=UnixSocket(path=f"{short}/s"))):
            answer = await called(f"{short}/s", headers((":authority", "localhost")), request)

    assert answer[":status"] == "200"
    assert answer["grpc-status"] == str(grpc.StatusCode.INVALID_ARGUMENT.value[0])
    assert answer["grpc-status-details-bin"].isascii()


@pytest.mark.full
async def test_a_caller_who_looks_every_few_seconds_whether_we_are_there_is_not_thrown_out() -> None:
    options = [
        ("grpc.keepalive_time_ms", 8_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    seen: list[pb.WatchProviderStatusResponse] = []

    async def watch(channel: grpc.aio.Channel) -> None:
        stub: router_pb2_grpc.RouterServiceAsyncStub = router_pb2_grpc.RouterServiceStub(channel)
        async for message in stub.WatchProviderStatus(pb.WatchProviderStatusRequest()):
            seen.append(message)  # noqa: PERF401 - what has come so far is looked at

    async with running() as sidecar, grpc.aio.insecure_channel(sidecar.bound.address, options) as channel:
        watching = asyncio.ensure_future(watch(channel))
        # Five looks; three were too many for gRPC's own limit of one in five minutes.
        await asyncio.wait((watching,), timeout=44)

        assert seen
        assert not watching.done(), watching
        watching.cancel()
