"""What both wires do with their connections: reuse, close at once, hold back, refuse private addresses."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from tests.wire.conftest import KEY, Bench, connection_of, secrets_of
from tests.wire.scripted_server import Early, Hang, Head, Script, ScriptedServer, json_answer
from tests.wire.speakers import Speaker, hello, spec_of
from turnout_server.core.chat import ChatInput, Media, MediaKind, Message, Part, Role
from turnout_server.core.model import FailureKind
from turnout_server.ports import UpstreamCall, UpstreamError
from turnout_server.providers.connection import SecretReference
from turnout_server.providers.secrets import Secrets
from turnout_server.providers.transport import HttpTransport
from turnout_server.providers.upstream import HttpUpstream, build_upstreams

LONG_SECONDS = 60


def upstream_of(speaker: Speaker, **changes: object) -> HttpUpstream:
    connection = replace(connection_of(speaker), **changes)  # type: ignore[arg-type]
    return build_upstreams([connection], secrets_of(connection))[connection.provider]


async def test_connection_is_used_again_after_a_complete_stream(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turnout_server.providers.transport.DRAIN_SECONDS", LONG_SECONDS)
    transport = bench.upstream._transport
    assert isinstance(transport, HttpTransport)
    for _ in range(3):
        await bench.stream([Head(), *bench.speaker.text_stream(["x"])])
        # The end of the body comes in a packet of its own, and is read when the caller has its answer.
        await asyncio.gather(*transport._finishing)

    assert 1 == bench.server.connections


async def test_connection_is_used_again_after_a_whole_answer_and_after_an_error(bench: Bench) -> None:
    await bench.complete(json_answer(bench.speaker.whole_text("x")))
    await bench.failing_stream(json_answer(bench.speaker.error_body("rate_limit_error", ""), status=429))
    await bench.complete(json_answer(bench.speaker.whole_text("x")))

    assert 1 == bench.server.connections


async def test_closing_the_stream_closes_the_connection_at_once(bench: Bench) -> None:
    bench.server.scripts.append([Head(), *bench.speaker.cut_before_end(["x"]), Hang()])
    stream = bench.upstream.stream(bench.call)
    await anext(stream)
    await anext(stream)

    await stream.aclose()

    async with asyncio.timeout(LONG_SECONDS):
        await bench.server.peer_closed.wait()


@pytest.mark.parametrize("begun", [False, True])
async def test_cancelling_closes_the_connection_at_once(bench: Bench, *, begun: bool) -> None:
    bench.server.scripts.append([Head(), Hang()] if begun else [Hang()])
    started = asyncio.Event()

    async def read() -> None:
        async for _ in bench.upstream.stream(bench.call):
            started.set()

    task = asyncio.ensure_future(read())
    async with asyncio.timeout(LONG_SECONDS):
        if begun:
            await started.wait()
        else:
            await bench.server.requested.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

    async with asyncio.timeout(LONG_SECONDS):
        await bench.server.peer_closed.wait()


async def test_cancelling_a_whole_answer_closes_the_connection(bench: Bench) -> None:
    bench.server.scripts.append([Hang()])
    task = asyncio.ensure_future(bench.upstream.complete(bench.call))
    async with asyncio.timeout(LONG_SECONDS):
        await bench.server.requested.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async with asyncio.timeout(LONG_SECONDS):
        await bench.server.peer_closed.wait()


async def test_slow_reader_slows_the_provider(bench: Bench) -> None:
    piece = b"".join(bench.speaker.cut_before_end(["x" * 50_000]))
    bench.server.scripts.append([Head(), *[piece] * 400])
    stream = bench.upstream.stream(bench.call)
    await anext(stream)

    for _ in range(100):
        await asyncio.sleep(0.005)
    written = bench.server.written

    # About 20 MB were to come; what is under way fits into the sockets' buffers and ours.
    assert written < 10_000_000
    await stream.aclose()


async def test_large_request_arrives_whole(bench: Bench) -> None:
    image = Media(kind=MediaKind.IMAGE, media_type="image/png", data=bytes(3 * 1024 * 1024))
    chat = ChatInput(messages=(Message(role=Role.USER, parts=(Part(content=image),)),))

    await bench.complete(json_answer(bench.speaker.whole_text("x")), chat)

    assert len(bench.server.requests[0].body) > 4 * 1024 * 1024
    assert "transfer-encoding" not in bench.server.requests[0].headers


async def test_refusal_before_the_request_was_read_is_understood_at_once(bench: Bench) -> None:
    image = Media(kind=MediaKind.IMAGE, media_type="image/png", data=bytes(20 * 1024 * 1024))
    chat = ChatInput(messages=(Message(role=Role.USER, parts=(Part(content=image),)),))
    script: Script = [Early(), Head(413, (("content-type", "application/json"),), 2), b"{}", Hang()]

    # Who waits for the server to read it all waits for ever: that script hangs.
    async with asyncio.timeout(LONG_SECONDS):
        error = await bench.failing_stream(script, chat)

    assert FailureKind.CONTEXT_LENGTH is error.kind


async def test_private_address_is_refused_unless_allowed(speaker: Speaker, server: ScriptedServer) -> None:
    upstream = upstream_of(speaker, allow_private=False)
    for host in ("127.0.0.1", "localhost"):
        call = UpstreamCall(spec=spec_of(speaker, f"http://{host}:{server.port}"), credential="main", chat=hello())
        with pytest.raises(UpstreamError) as caught:
            await upstream.complete(call)

        assert FailureKind.CONNECTION is caught.value.kind
        assert "allow_private" in caught.value.detail
        assert not caught.value.possibly_billed
    await upstream.aclose()

    assert 0 == server.connections


async def test_proxy_is_used_and_trusted_with_private_addresses(speaker: Speaker, server: ScriptedServer) -> None:
    upstream = upstream_of(speaker, allow_private=False, proxy_url=server.url)
    server.scripts.append(json_answer(speaker.whole_text("x")))
    call = UpstreamCall(spec=spec_of(speaker, "http://api.example.com"), credential="main", chat=hello())

    await upstream.complete(call)
    await upstream.aclose()

    assert server.requests[0].path.startswith("http://api.example.com/")


async def test_environment_proxies_are_not_used(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    await bench.complete(json_answer(bench.speaker.whole_text("x")))

    assert 1 == len(bench.server.requests)


async def test_cookies_are_neither_kept_nor_sent(bench: Bench) -> None:
    # Not by its number: jars keep no cookies of hosts without a name.
    url = bench.server.url.replace("127.0.0.1", "localhost")
    bench.call = replace(bench.call, spec=replace(bench.call.spec, base_url=url))
    cookie = (("set-cookie", "session=1"),)
    await bench.complete(json_answer(bench.speaker.whole_text("x"), headers=cookie))
    await bench.complete(json_answer(bench.speaker.whole_text("x")))

    assert "cookie" not in bench.server.requests[1].headers


async def test_operators_headers_are_sent_and_cannot_break_the_request(
    speaker: Speaker, server: ScriptedServer, tmp_path: Path
) -> None:
    path = tmp_path / "headers"
    path.write_text("# organisation\nX-Team: routing\n\nx-cost-centre: 7\n")
    upstream = upstream_of(speaker, headers_from_file=str(path))
    server.scripts.append(json_answer(speaker.whole_text("x")))
    call = UpstreamCall(spec=spec_of(speaker, server.url), credential="main", chat=hello())
    await upstream.complete(call)
    assert ("routing", "7") == (server.requests[0].headers["x-team"], server.requests[0].headers["x-cost-centre"])

    path.write_text("content-length: 3\nnever mind")
    broken = upstream_of(speaker, headers_from_file=str(path))
    with pytest.raises(UpstreamError) as caught:
        await broken.complete(call)
    await upstream.aclose()
    await broken.aclose()

    assert "line 1" in caught.value.detail


async def test_trace_headers_are_passed_on_only_where_the_operator_says_so(
    speaker: Speaker, server: ScriptedServer
) -> None:
    trace = (("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),)
    call = UpstreamCall(spec=spec_of(speaker, server.url), credential="main", chat=hello(), trace_headers=trace)
    for propagate in (False, True):
        upstream = upstream_of(speaker, propagate_trace=propagate)
        server.scripts.append(json_answer(speaker.whole_text("x")))
        await upstream.complete(call)
        await upstream.aclose()

    assert [False, True] == ["traceparent" in request.headers for request in server.requests]


async def test_rotated_key_is_used_by_the_next_call(speaker: Speaker, server: ScriptedServer, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("first-key\n")
    connection = replace(connection_of(speaker), credentials={"main": SecretReference(file=str(path))})
    now = [0.0]
    secrets = Secrets([connection], clock=lambda: now[0])
    upstream = build_upstreams([connection], secrets)[connection.provider]
    call = UpstreamCall(spec=spec_of(speaker, server.url), credential="main", chat=hello())
    server.scripts += [json_answer(speaker.whole_text("x"))] * 2

    await upstream.complete(call)
    path.write_text("second-key-\n")
    now[0] += 2
    await upstream.complete(call)
    await upstream.aclose()

    names = ("authorization", "x-api-key", "x-goog-api-key")
    sent = ["".join(request.headers.get(name, "") for name in names) for request in server.requests]
    assert ["first-key", "second-key-"] == [value.removeprefix("Bearer ") for value in sent]


async def test_token_is_sent_as_a_bearer_token_whatever_header_keys_go_in(
    speaker: Speaker, server: ScriptedServer, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    path.write_text("short-lived")
    reference = SecretReference(file=str(path), is_token=True)
    connection = replace(connection_of(speaker), credentials={"main": reference})
    upstream = build_upstreams([connection], Secrets([connection]))[connection.provider]
    call = UpstreamCall(spec=spec_of(speaker, server.url), credential="main", chat=hello())
    server.scripts.append(json_answer(speaker.whole_text("x")))
    await upstream.complete(call)
    await upstream.aclose()

    sent = server.requests[0].headers
    assert sent["authorization"] == "Bearer short-lived"
    assert not {"x-api-key", "x-goog-api-key"} & sent.keys()


async def test_provider_without_credentials_is_called_without_a_key(bench: Bench) -> None:
    bench.call = replace(bench.call, credential="")

    await bench.complete(json_answer(bench.speaker.whole_text("x")))

    assert {"authorization", "x-api-key"}.isdisjoint(bench.server.requests[0].headers)


async def test_secret_stands_in_no_representation(bench: Bench) -> None:
    await bench.complete(json_answer(bench.speaker.whole_text("x")))

    seen = [repr(bench.upstream), repr(bench.upstream._secrets), repr(bench.upstream._connection), repr(bench.call)]
    assert not any(KEY in text for text in seen)
