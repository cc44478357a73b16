"""Where a sidecar is pushed past what it was made for: quoting providers, endless answers, garbage, tight deadlines."""

import asyncio
import contextlib
from pathlib import Path

import grpc.aio
import orjson
import pytest

from tests.main_job.conduct import (
    HEAD,
    chat,
    configuration,
    raw_provider,
    read_body,
    said,
    until_first_delta,
)
from tests.main_job.processes import sidecar
from turnout import AsyncClient, DeadlineError, TurnoutError
from turnout.v1 import router_pb2 as pb
from turnout_server.providers.simulated.faults import FaultKind
from turnout_server.providers.simulated.provider import ProviderSettings, WireName
from turnout_server.providers.simulated.server import SimulatedServer

BOTH = {"north": ProviderSettings(wire=WireName.OPENAI), "south": ProviderSettings(wire=WireName.ANTHROPIC)}
VERSE = "my name\nis Jonathan\nhunter2zz\nplease"


async def refused(tmp_path: Path, body: bytes) -> str:
    """Returns the words of the error that a provider's refusal with this body becomes."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_body(reader)
        writer.write(b"HTTP/1.1 400 Bad\r\ncontent-type: application/json\r\ncontent-length: ")
        writer.write(b"%d\r\n\r\n%b" % (len(body), body))
        await writer.drain()

    async with raw_provider(refuse) as url:
        with sidecar(configuration(("north", "openai", url)), tmp_path) as address:
            async with AsyncClient(address, max_retry_count=0) as client:
                with pytest.raises(TurnoutError) as caught:
                    await client.execute(chat(VERSE))
    return str(caught.value)


@pytest.mark.parametrize(
    "quoted",
    [VERSE, repr(VERSE), orjson.dumps({"content": VERSE}).decode()],
    ids=["as it is", "as Python writes it", "as JSON writes it"],
)
async def test_prompt_of_several_lines_is_not_shown_when_a_provider_quotes_it(quoted: str, tmp_path: Path) -> None:
    message = f"1 validation error for the body: {quoted}"

    error = await refused(tmp_path, orjson.dumps({"error": {"message": message, "type": "BadRequestError"}}))

    assert [] == [word for word in ("Jonathan", "hunter2zz") if word in error]


@pytest.mark.parametrize("field", ["code", "type", "param"])
async def test_key_is_not_shown_when_a_provider_puts_it_into_a_code(field: str, tmp_path: Path) -> None:
    error = await refused(tmp_path, orjson.dumps({"error": {"message": "no", field: "north-key"}}))

    assert "north-key" not in error


async def test_bytes_that_are_no_message_are_an_invalid_request_and_no_fault_of_ours(tmp_path: Path) -> None:
    async with SimulatedServer(BOTH) as server:
        with sidecar(configuration(("north", "openai", server.base_url("north"))), tmp_path) as address:
            async with grpc.aio.insecure_channel(address) as channel:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await channel.unary_unary("/turnout.v1.RouterService/Route", bytes)(b"\xff\xff\xff", timeout=60)
    log = (tmp_path / "sidecar.log").read_text()

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "Traceback" not in log


async def test_attempt_is_not_given_up_for_candidates_that_cannot_be_asked_in_time(tmp_path: Path) -> None:
    answered_by = ""
    async with SimulatedServer(BOTH) as server:
        providers = [(name, p.settings.wire.value, server.base_url(name)) for name, p in server.providers.items()]
        # On a busy machine a call may end with the smaller deadlines before it has been made.
        for factor in (1.0, 4.0, 16.0):
            server.change("north", fault={"kind": FaultKind.SLOW_FIRST_TOKEN, "seconds": 1.9 * factor})
            # Every target is expected to need 2 s: after 60 % of 3 s nobody else could answer any more.
            with sidecar(configuration(*providers, prior=2.0 * factor), tmp_path) as address:
                async with AsyncClient(address, max_retry_count=0) as client:
                    with contextlib.suppress(DeadlineError):
                        answer = await client.stream(chat(), timeout_seconds=3.0 * factor).answer()
                        answered_by = answer.target.provider
            if answered_by:
                break

    assert answered_by == "north"


async def test_caller_that_goes_away_while_being_written_to_is_no_fault_of_ours(tmp_path: Path) -> None:
    async def talk_without_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_body(reader)
        writer.write(HEAD)
        while True:
            writer.write(said("x" * 1000) * 64)
            await writer.drain()

    async with raw_provider(talk_without_end) as url:
        with sidecar(configuration(("north", "openai", url)), tmp_path) as address:
            async with AsyncClient(address, max_retry_count=0) as client:
                for _ in range(3):
                    stream = client.stream(chat())
                    await until_first_delta(stream)
                    await asyncio.sleep(0.4)  # until the caller's window is full and the sidecar waits to write
                    await stream.aclose()
                await asyncio.sleep(0.2)
    events = [orjson.loads(line)["event"] for line in (tmp_path / "sidecar.log").read_text().splitlines()]

    assert "api.bug" not in events


async def test_unary_answer_larger_than_a_message_ends_with_an_error_of_ours(tmp_path: Path) -> None:
    async def say_too_much(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_body(reader)
        writer.write(HEAD)
        for _ in range(5):
            writer.write(said("x" * 900_000))
            await writer.drain()
        writer.write(said("", finish="stop") + b"data: [DONE]\n\n")
        await writer.drain()

    async with raw_provider(say_too_much) as url:
        conf = configuration(("north", "openai", url), more="limits: {max_message_mib: 4}")
        with sidecar(conf, tmp_path) as address:
            async with AsyncClient(address, max_retry_count=0) as client:
                with pytest.raises(TurnoutError) as caught:
                    await client.execute(chat(), options=pb.RoutingOptions(allow_fallback=False))

    assert caught.value.reason
    assert caught.value.decision_id
