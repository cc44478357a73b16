"""How a real sidecar conducts itself while providers die, fall silent and come back, and while callers go away."""

import asyncio
import signal
import socket
import subprocess
from collections import Counter
from pathlib import Path

import grpc.aio
import httpx
import orjson
import pytest

from tests.main_job.conduct import (
    HEAD,
    breakers,
    chat,
    configuration,
    end_of,
    raw_provider,
    read_body,
    reason,
    said,
    until,
    until_first_delta,
)
from tests.main_job.processes import BIN, sidecar
from turnout import AsyncClient, StreamInterruptedError
from turnout.v1 import admin_pb2, admin_pb2_grpc
from turnout.v1 import router_pb2 as pb
from turnout_server.providers.simulated.faults import Fault, FaultKind
from turnout_server.providers.simulated.provider import ProviderSettings, WireName
from turnout_server.providers.simulated.server import SimulatedServer

BOTH = {"north": ProviderSettings(wire=WireName.OPENAI), "south": ProviderSettings(wire=WireName.ANTHROPIC)}
QUICK = "{preset: aggressive, open_seconds: 0.7, open_max_seconds: 0.7, first_token_timeout_seconds: 0.5}"
PROMPT = "canaryprompt zebra quagmire"
SILENT_KINDS = (FaultKind.SILENCE, FaultKind.SILENT_STREAM, FaultKind.SLOW_FIRST_TOKEN)


def in_front_of(server: SimulatedServer, *, failover: str = "{}") -> str:
    return configuration(
        *((name, provider.settings.wire.value, server.base_url(name)) for name, provider in server.providers.items()),
        failover=failover,
    )


async def test_killed_provider_breaks_its_stream_honestly_and_loses_no_unary_call(tmp_path: Path) -> None:
    command = [str(BIN / "turnout"), "sim", "--port", "0", "--latency", "*:seconds_per_output_token=1"]
    async with SimulatedServer({"south": BOTH["south"]}) as server:
        with subprocess.Popen(command, stdout=subprocess.PIPE) as doomed:  # noqa: ASYNC220, S603  # our own command
            assert doomed.stdout is not None
            url = orjson.loads(await asyncio.to_thread(doomed.stdout.readline))["providers"]["openai"]["base_url"]
            providers = (("north", "openai", url), ("south", "anthropic", server.base_url("south")))
            with sidecar(configuration(*providers), tmp_path) as address:
                async with AsyncClient(address, max_retry_count=0) as client:
                    stream = client.stream(chat())
                    unary = asyncio.create_task(client.execute(chat()))
                    await until_first_delta(stream)
                    doomed.send_signal(signal.SIGKILL)
                    broken = await end_of(stream)
                    answer = await unary
                    after = await client.execute(chat())

    assert isinstance(broken, StreamInterruptedError)
    assert ("north", pb.FAILURE_KIND_TRUNCATED) == (broken.attempts[0].target.provider, broken.attempts[0].failure)
    assert ("north", False) == (answer.attempts[0].target.provider, answer.attempts[0].ok)
    assert ("south", "south") == (answer.target.provider, after.target.provider)


async def test_own_network_down_blames_nobody_and_everybody_is_used_again_at_once(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    providers = (("north", "openai", f"{url}/north/v1"), ("south", "anthropic", f"{url}/south/v1"))
    with sidecar(configuration(*providers), tmp_path) as address:
        async with AsyncClient(address, max_retry_count=0) as client:
            while_down = [await reason(client) for _ in range(6)]
            states = await breakers(client)
            async with SimulatedServer(BOTH, port=port):
                after = await reason(client)
    events = [orjson.loads(line)["event"] for line in (tmp_path / "sidecar.log").read_text().splitlines()]

    assert ["ALL_ATTEMPTS_REFUSED"] * 6 == while_down
    assert {"north": "CLOSED", "south": "CLOSED"} == states
    assert after == "complete"
    assert events.count("local_network") == 1


async def test_open_target_gets_one_trial_of_many_calls_and_then_all_of_them(tmp_path: Path) -> None:
    asked, busy, held = 0, True, asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await read_body(reader)
        asked += 1
        if busy:
            writer.write(b"HTTP/1.1 503 Busy\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        else:
            await held.wait()
            writer.write(HEAD + said("Hello", finish="stop") + b"data: [DONE]\n\n")
        await writer.drain()

    failover = QUICK.replace("first_token_timeout_seconds: 0.5", "first_token_timeout_seconds: 60")
    async with raw_provider(answer) as url:
        with sidecar(configuration(("north", "openai", url), failover=failover), tmp_path) as address:
            async with AsyncClient(address, max_retry_count=0) as client:

                async def is_refused() -> bool:
                    return await reason(client) == "ALL_TARGETS_UNAVAILABLE"

                async def is_half_open() -> bool:
                    return await breakers(client) == {"north": "HALF_OPEN"}

                await until(is_refused, seconds=60)
                busy = False
                await until(is_half_open, seconds=60)
                before = asked
                calls = [asyncio.create_task(reason(client)) for _ in range(20)]
                for ended in asyncio.as_completed(calls):
                    # The trial is answered when all the others have been.
                    await ended
                    if sum(call.done() for call in calls) >= 19:
                        held.set()
                trials = asked - before
                closed = await breakers(client)
                after = Counter(await asyncio.gather(*(reason(client) for _ in range(20))))

    assert trials == 1
    assert {"complete": 1, "ALL_TARGETS_UNAVAILABLE": 19} == Counter(call.result() for call in calls)
    assert {"north": "CLOSED"} == closed
    assert {"complete": 20} == after


@pytest.mark.full
async def test_nobody_waits_for_the_trials_of_a_silent_target(tmp_path: Path) -> None:
    async with SimulatedServer(BOTH) as server:
        north = server.providers["north"]
        # South may take its time, on a machine that is busy with something else.
        patient = in_front_of(server, failover=QUICK).replace(
            "  south:\n", "  south:\n    first_token_timeout_seconds: 60\n"
        )
        with sidecar(patient, tmp_path) as address:
            async with AsyncClient(address, max_retry_count=0) as client:
                server.change("north", fault={"kind": FaultKind.SILENCE})

                async def is_open() -> bool:
                    await asyncio.gather(*(client.execute(chat()) for _ in range(3)))
                    return (await breakers(client))["north"] == "OPEN"

                await until(is_open, seconds=60)
                before = north.counts.requests
                served: list[str] = []
                attempts: set[int] = set()

                async def has_had_two_trials() -> bool:
                    streams = len(served) % 2 == 0
                    answer = await (client.stream(chat()).answer() if streams else client.execute(chat()))
                    served.append(answer.target.provider)
                    attempts.add(len(answer.attempts))
                    return north.counts.requests - before >= 2

                await until(has_had_two_trials, seconds=60)
                server.change("north", fault=None)

                async def is_back() -> bool:
                    return (await client.execute(chat())).target.provider == "north"

                await until(is_back, seconds=60)

    assert {"south"} == set(served)
    assert {1} == attempts


async def test_callers_that_go_away_leave_nothing_running_and_blame_nobody(tmp_path: Path) -> None:
    async with SimulatedServer(BOTH) as server:
        north = server.providers["north"]
        server.change("north", fault={"kind": FaultKind.SILENT_STREAM})
        # Nothing ends a call but its caller, however long it takes a busy machine to begin all of them.
        patient = "{first_token_timeout_seconds: 600, connect_timeout_seconds: 60, suspect: {attempts: 100000}}"
        with sidecar(in_front_of(server, failover=patient), tmp_path) as address:
            async with AsyncClient(address, max_retry_count=0) as client:
                calls: list[asyncio.Task[object]] = [
                    *(asyncio.create_task(end_of(client.stream(chat()))) for _ in range(50)),
                    *(asyncio.create_task(reason(client)) for _ in range(50)),
                ]

                async def all_arrived() -> bool:
                    return north.counts.in_flight == 100

                async def nothing_runs() -> bool:
                    status = await client.status()
                    told = sum(target.in_flight for provider in status.providers for target in provider.targets)
                    return north.counts.in_flight == told == 0

                await until(all_arrived, seconds=60)
                for call in calls:
                    call.cancel()
                await until(nothing_runs, seconds=60)
                await asyncio.gather(*calls, return_exceptions=True)
                states = await breakers(client)

    assert {"abandoned": 100} == dict(north.counts.endings)
    assert {"north": "CLOSED", "south": "CLOSED"} == states


async def test_slow_caller_holds_the_provider_back(tmp_path: Path) -> None:
    sent = 0
    piece = said("x" * 1000) * 64

    async def talk_without_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_body(reader)
        writer.write(HEAD)
        while True:
            writer.write(piece)
            await writer.drain()
            sent += len(piece)

    async with raw_provider(talk_without_end) as url:
        with sidecar(configuration(("north", "openai", url)), tmp_path) as address:
            async with AsyncClient(address, max_retry_count=0) as client:
                stream = client.stream(chat())
                await until_first_delta(stream)

                async def is_held_back() -> bool:
                    before = sent
                    await asyncio.sleep(0.3)
                    return before == sent

                await until(is_held_back, seconds=60)

    # What the kernel's socket buffers hold, and little of our own.
    assert sent < 64 * 1024 * 1024


async def test_no_output_holds_the_key_or_the_prompt_whatever_fails(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        metrics = f"127.0.0.1:{free.getsockname()[1]}"
    faulty = {
        f"{wire.value}-{kind.value}".replace("_", "-"): ProviderSettings(
            wire=wire, fault=Fault(kind=kind, status=status)
        )
        for wire in WireName
        for kind in FaultKind
        for status in [401 if kind is FaultKind.ERROR else None]
    }
    limits = "{idle_timeout_seconds: 0.3, first_token_timeout_seconds: 0.3}"
    told: list[str] = []
    async with SimulatedServer(faulty) as server, raw_provider(quote_everything) as quoting:
        providers = [
            (name, provider.settings.wire.value, server.base_url(name)) for name, provider in server.providers.items()
        ]
        conf = configuration(*providers, ("quoting", "openai", quoting), failover=limits)
        for name in (*faulty, "quoting"):
            # Whoever answers may take its time, on a machine that is busy with something else.
            if not name.endswith(tuple(kind.replace("_", "-") for kind in SILENT_KINDS)):
                conf = conf.replace(f"  {name}:\n", f"  {name}:\n    first_token_timeout_seconds: 60\n")
        with sidecar(conf.replace('metrics: {address: ""}', f'metrics: {{address: "{metrics}"}}'), tmp_path) as address:
            async with AsyncClient(address, max_retry_count=0) as client, grpc.aio.insecure_channel(address) as channel:
                targets = [f"{name}/m" for name in (*faulty, "quoting")]
                told += await asyncio.gather(*(words_of_end(client, target) for target in targets))
                admin = admin_pb2_grpc.AdminServiceStub(channel)
                decisions = await admin.ListDecisions(admin_pb2.ListDecisionsRequest(page_size=100))
            async with httpx.AsyncClient(trust_env=False) as http:
                page = (await http.get(f"http://{metrics}/metrics")).text
    told += [str(decisions), page, (tmp_path / "sidecar.log").read_text()]

    assert len(targets) == len(decisions.decisions)
    assert {"ATTEMPTS_EXHAUSTED", "STREAM_INTERRUPTED", "ALL_ATTEMPTS_REFUSED", "PROVIDER_REJECTED_REQUEST"} <= {
        text.partition(":")[0] for text in told
    }
    assert [] == [text for text in told for secret in ("north-key", *PROMPT.split()) if secret in text]


async def quote_everything(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_body(reader)
    said_back = f"Incorrect API key provided: north-key. You said: {PROMPT}"
    body = orjson.dumps({"error": {"message": said_back, "type": "invalid_request_error"}})
    writer.write(b"HTTP/1.1 422 Unprocessable\r\ncontent-type: application/json\r\n")
    writer.write(b"content-length: %d\r\n\r\n%b" % (len(body), body))
    await writer.drain()


async def words_of_end(client: AsyncClient, target: str) -> str:
    stream = client.stream(chat(PROMPT), options=pb.RoutingOptions(force_target=target), timeout_seconds=60)
    error = await end_of(stream)
    return "" if error is None else f"{error} {error.details!r} {error.details.call_failure}"
