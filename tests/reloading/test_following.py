"""A sidecar with real connections takes another configuration while it works: what is new, what stays, what goes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from tests.reloading.following import EVERY_SECONDS, LONG_SECONDS, Following, following, provider, until, written
from turnout.v1 import router_pb2 as pb
from turnout_server.providers.simulated.provider import ProviderSettings, WireName
from turnout_server.providers.simulated.server import SimulatedServer

QUICK = ProviderSettings(models=("small",), output_tokens=5)
SLOW = QUICK.changed({"latency": {"first_token_seconds": 0.5, "jitter": 0.0}})
HELLO = pb.ChatInput(messages=[pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text="Hi")])])


def execute(sidecar: Following, *, target: str = "", request_id: str = "") -> asyncio.Task[pb.ExecuteResponse]:
    options = pb.RoutingOptions(force_target=target)
    request = pb.ExecuteRequest(input=HELLO, options=options, request_id=request_id)

    async def call() -> pb.ExecuteResponse:
        return await sidecar.stub.Execute(request, timeout=60)

    return asyncio.create_task(call())


class Counted:
    """A way to a server that counts its connections."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.opened = 0
        self.open = 0

    @contextlib.asynccontextmanager
    async def __call__(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        self.open += 1
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(_copied(reader, back), _copied(there, writer))
        self.open -= 1


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


@contextlib.asynccontextmanager
async def counted(server: SimulatedServer, name: str) -> AsyncIterator[tuple[Counted, str]]:
    address, _, path = server.base_url(name).removeprefix("http://").partition("/")
    way = Counted(int(address.rpartition(":")[2]))
    async with way() as url:
        yield way, f"{url}/{path}"


# Calls.


async def test_calls_go_on_while_providers_come_change_and_go(tmp_path: Path) -> None:
    async with SimulatedServer({"north": QUICK, "south": QUICK}) as server:
        north, south = provider("north", server.base_url("north")), provider("south", server.base_url("south"))
        async with following(tmp_path, written(north)) as sidecar:
            answers: list[pb.ExecuteResponse] = []
            stop = asyncio.Event()

            async def keep_calling() -> None:
                while not stop.is_set():
                    answers.append(await execute(sidecar))

            async with asyncio.TaskGroup() as callers:
                for _ in range(20):
                    callers.create_task(keep_calling())
                for text in (written(north, south), written(south), "{broken", written(north), written(north, south)):
                    await sidecar.change(text)
                    wanted = len(answers) + 40
                    await until(lambda wanted=wanted: len(answers) >= wanted)  # type: ignore[misc]  # bound now
                stop.set()

    assert {"north", "south"} == {answer.target.provider for answer in answers}
    assert all(answer.output.parts for answer in answers)
    assert all(len(answer.attempts) == 1 for answer in answers)


@pytest.mark.full
async def test_two_hundred_calls_at_once_see_nothing_of_twenty_reloads_on_all_wires(tmp_path: Path) -> None:
    async with SimulatedServer({wire.value: QUICK.changed({"wire": wire}) for wire in WireName}) as server:
        every = [provider(w.value + "-x", server.base_url(w.value), wire=w.value) for w in WireName]
        async with following(tmp_path, written(*every), every_seconds=EVERY_SECONDS) as sidecar:
            count = 0
            stop = asyncio.Event()

            async def keep_calling() -> None:
                nonlocal count
                while not stop.is_set():
                    await execute(sidecar)
                    count += 1

            async with asyncio.TaskGroup() as callers:
                for _ in range(200):
                    callers.create_task(keep_calling())
                for n in range(20):
                    sidecar.put(written(*every[n % 4 :]))
                    sidecar.asked.set()
                    wanted = count + 200
                    await until(lambda wanted=wanted: count >= wanted)  # type: ignore[misc]  # bound now
                stop.set()

    assert count >= 4000


async def test_calls_in_flight_end_where_they_began_though_their_provider_is_gone(tmp_path: Path) -> None:
    async with (
        SimulatedServer({"north": SLOW, "south": QUICK}) as server,
        counted(server, "north") as (way, url),
        following(tmp_path, written(provider("north", url))) as sidecar,
    ):
        calls = [execute(sidecar) for _ in range(20)]
        await until(lambda: server.providers["north"].counts.requests == 20)
        await sidecar.change(written(provider("south", server.base_url("south"))))
        later = await execute(sidecar)
        answers = await asyncio.gather(*calls)
        # Its connections are closed with the last call that could use them, and not before.
        await until(lambda: way.open == 0)

        assert {"north"} == {answer.target.provider for answer in answers}
        assert "south" == later.target.provider
        assert [] == sidecar.lines("config.bug")
        assert ["south"] == await sidecar.providers()


async def test_provider_that_is_called_as_before_keeps_its_connections(tmp_path: Path) -> None:
    async with (
        SimulatedServer({"north": QUICK}) as server,
        counted(server, "north") as (way, url),
        following(tmp_path, written(provider("north", url))) as sidecar,
    ):
        await execute(sidecar)
        opened = way.opened
        dearer = provider("north", url).replace("input_per_million_usd: 1", "input_per_million_usd: 3")
        line = await sidecar.change(written(dearer, provider("other", "http://127.0.0.1:9")))
        answer = await execute(sidecar, target="north")

        assert "providers.north.models.small.price.input_per_million_usd, providers.other (new)" == line["changed"]
        assert (opened, 1) == (way.opened, way.open)
        assert answer.cost_usd == pytest.approx(3e-6 * answer.usage.input_tokens + 2e-6 * answer.usage.output_tokens)


async def test_open_breaker_stays_open_and_a_new_address_begins_anew(tmp_path: Path) -> None:
    async with SimulatedServer({"north": QUICK}) as server:
        dead = provider("north", "http://127.0.0.1:9")
        async with following(tmp_path, written(dead)) as sidecar:
            with contextlib.suppress(grpc.aio.AioRpcError):
                for _ in range(4):
                    await execute(sidecar)
            opened = sidecar.lines("endpoint.opened")
            await sidecar.change(written(dead, more=", routing: {policies: {default: {strategy: COST}}}"))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await execute(sidecar)
            await sidecar.change(written(provider("north", server.base_url("north"))))
            answer = await execute(sidecar)

    assert opened
    assert "BREAKER_OPEN" in str(caught.value.details())
    assert "north" == answer.target.provider


@pytest.mark.full
async def test_answers_that_are_kept_stay_kept_where_neither_rules_nor_targets_change(tmp_path: Path) -> None:
    rules = ", routing: {policies: {default: {cache: {enabled: true, any_temperature: true}}}}"
    async with SimulatedServer({"north": QUICK}) as server:
        north = provider("north", server.base_url("north"))
        async with following(tmp_path, written(north, more=rules)) as sidecar:
            await execute(sidecar)
            await sidecar.change(written(north, more=f"{rules}, history: {{max_mib: 9}}"))
            kept = await execute(sidecar)
            await sidecar.change(written(north, more=", routing: {policies: {default: {cache: {enabled: true}}}}"))
            asked = await execute(sidecar)

    assert (True, False) == (kept.cached, asked.cached)


# Keys.


@pytest.mark.full
async def test_keys_of_another_file_are_used_at_once_and_the_environment_stays_as_at_the_start(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("planted-wrong-0123456789")
    second.write_text("planted-right-0123456789")
    async with SimulatedServer({"north": QUICK.changed({"api_key": "planted-right-0123456789"})}) as server:

        def keyed(key: str) -> str:
            return written(provider("north", server.base_url("north"), more=f", {key}"))

        environ = {"NORTH_KEY": "planted-right-0123456789"}
        async with following(tmp_path, keyed(f"api_key_file: {first}"), environ) as sidecar:
            for _ in range(2):
                with pytest.raises(grpc.aio.AioRpcError):
                    await execute(sidecar)
            line = await sidecar.change(keyed(f"api_key_file: {second}"))
            by_file = await execute(sidecar)
            await sidecar.change(keyed("api_key_env: NORTH_KEY"))
            by_variable = await execute(sidecar)
            environ["NORTH_KEY"] = "another"
            refused = await sidecar.change(keyed(f"api_key_file: {tmp_path / 'missing'}"))

    assert "providers.north.api_key_file" == line["changed"]
    assert ["api_key_file", "NORTH_KEY"] == [answer.attempts[0].credential for answer in (by_file, by_variable)]
    assert "missing" in refused["faults"]
    assert "planted" not in json.dumps(sidecar.log, default=str)


@pytest.mark.full
async def test_pause_of_a_key_ends_with_the_key_and_stays_with_it(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("planted-one-0123456789")
    second.write_text("planted-two-0123456789")
    async with SimulatedServer({"north": QUICK.changed({"requests_per_minute": 1})}) as server:

        def keyed(file: Path, more: str = "") -> str:
            return written(provider("north", server.base_url("north"), more=f", api_key_file: {file}"), more=more)

        async def asks() -> bool:
            """Whether the provider is asked at all: while its key pauses, it is not."""
            before = server.providers["north"].counts.requests
            with contextlib.suppress(grpc.aio.AioRpcError):
                await execute(sidecar)
            return server.providers["north"].counts.requests > before

        async with following(tmp_path, keyed(first)) as sidecar:
            assert await asks()
            # By what the answer said, there is no room for another.
            assert not await asks()

            await sidecar.change(keyed(first, ", history: {max_mib: 9}"))
            assert not await asks()

            await sidecar.change(keyed(second))
            assert await asks()
            assert not await asks()

            second.write_text("planted-three-0123456789")
            async with asyncio.timeout(LONG_SECONDS):
                while not await asks():
                    await sidecar.look()
                    await asyncio.sleep(EVERY_SECONDS)


@pytest.mark.full
async def test_configuration_that_only_lacked_a_key_file_is_taken_when_that_comes(tmp_path: Path) -> None:
    key = tmp_path / "key"
    async with SimulatedServer({"north": QUICK}) as server:
        north, url = provider("north", server.base_url("north")), server.base_url("north")
        async with following(tmp_path, written(north), every_seconds=EVERY_SECONDS) as sidecar:
            sidecar.put(written(north, provider("south", url, more=f", api_key_file: {key}")))
            await until(lambda: bool(sidecar.lines("config.refused")))
            await asyncio.sleep(20 * EVERY_SECONDS)
            key.write_text("planted-0123456789")
            await until(lambda: bool(sidecar.lines("config.reloaded")))

            assert 1 == len(sidecar.lines("config.refused"))
            assert ["north", "south"] == await sidecar.providers()


# Files.


async def test_file_that_vanished_or_is_empty_or_half_written_changes_nothing_and_is_told_once(tmp_path: Path) -> None:
    text = written(provider("north", "http://127.0.0.1:9"))
    async with following(tmp_path, text, every_seconds=EVERY_SECONDS) as sidecar:
        reasons = []
        for number, content in enumerate((None, "", text[:40], "# only this\n")):
            sidecar.put(content)
            await until(lambda number=number: len(sidecar.lines("config.refused")) > number)  # type: ignore[misc]  # bound now
            await asyncio.sleep(5 * EVERY_SECONDS)
            reasons.append(sidecar.lines("config.refused")[number]["faults"])

        sidecar.put(text)
        await until(lambda: bool(sidecar.lines("config.unchanged")))

        assert [] == sidecar.lines("config.reloaded")
        assert 4 == len(sidecar.lines("config.refused"))
        for reason, why in zip(reasons, ("cannot be read", "is empty", "not valid YAML", "is empty"), strict=True):
            assert why in reason
        assert ["north"] == await sidecar.providers()


@pytest.mark.full
async def test_catalog_overlay_is_followed_and_told_with_its_own_name_where_it_has_faults(tmp_path: Path) -> None:
    overlay = tmp_path / "models.yaml"
    overlay.write_text("models: {north: [{name: large}]}")
    more = f", catalog: {{overlay_files: [{overlay}]}}"
    north = provider("north", "http://127.0.0.1:9")
    async with following(tmp_path, written(north, more=more), every_seconds=EVERY_SECONDS) as sidecar:
        overlay.write_text("models: {north: [{name: huge}]}")
        await until(lambda: bool(sidecar.lines("config.reloaded")))
        status = await sidecar.client.status()
        overlay.write_text("models: {north: [{name: huge, qualty: 3}]}")
        await until(lambda: bool(sidecar.lines("config.refused")))

    assert {"small", "huge"} == {target.target.model for target in status.providers[0].targets}
    assert f"{overlay}:1" in sidecar.lines("config.refused")[0]["faults"]


async def test_what_has_to_wait_for_a_restart_is_named_and_all_else_is_taken(tmp_path: Path) -> None:
    north, south = (provider(name, "http://127.0.0.1:9") for name in ("north", "south"))
    wanted = written(north, south, more=", limits: {max_message_mib: 3, max_queue: 1}").replace(
        "127.0.0.1:0", "127.0.0.1:1"
    )
    async with following(tmp_path, written(north)) as sidecar:
        first = await sidecar.change(wanted)
        again = await sidecar.look()
        back = await sidecar.change(written(north))

        assert ["north"] == await sidecar.providers()

    assert "providers.south (new), limits.max_queue (new)" == first["changed"]
    assert "listen.address, limits.max_message_mib" == first["needs_restart"]
    assert ("config.unchanged", "config.reloaded") == (again["event"], back["event"])
    assert 2 == len(sidecar.lines("config.needs_restart"))


@pytest.mark.full
async def test_several_requests_to_look_during_a_reload_are_one_more_look(tmp_path: Path) -> None:
    async with following(tmp_path, written(provider("north", "http://127.0.0.1:9"))) as sidecar:
        for _ in range(10):
            sidecar.asked.set()
            await asyncio.sleep(0)
        await until(lambda: len(sidecar.lines("config.unchanged")) >= 1)
        await sidecar.look()

        assert len(sidecar.lines("config.unchanged")) <= 3


# What else follows.


@pytest.mark.full
async def test_limits_follow(tmp_path: Path) -> None:
    async with SimulatedServer({"north": SLOW}) as server:
        north = provider("north", server.base_url("north"))
        async with following(tmp_path, written(north)) as sidecar:
            await sidecar.change(written(north, more=", limits: {max_concurrent_calls: 1, max_queue: 0}"))
            results = await asyncio.gather(*(execute(sidecar) for _ in range(3)), return_exceptions=True)
            await sidecar.change(written(north, more=", limits: {max_concurrent_calls: 3, max_queue: 0}"))
            again = await asyncio.gather(*(execute(sidecar) for _ in range(3)))

    assert 2 == sum(isinstance(result, grpc.aio.AioRpcError) for result in results)
    assert 3 == len(again)


@pytest.mark.full
async def test_request_log_is_begun_moved_and_ended(tmp_path: Path) -> None:
    one, two = tmp_path / "one.log", tmp_path / "two.log"
    async with SimulatedServer({"north": SLOW}) as server:
        north = provider("north", server.base_url("north"))

        def logged(file: Path, content: str = "false") -> str:
            return written(north, more=f", telemetry: {{request_log: {{file: {file}, content: {content}}}}}")

        async with following(tmp_path, written(north)) as sidecar:
            await sidecar.change(logged(one))
            await execute(sidecar)
            call = execute(sidecar)
            await until(lambda: server.providers["north"].counts.in_flight == 1)
            await sidecar.change(logged(two))
            await call
            await sidecar.change(logged(two, "true"))
            await execute(sidecar)
            await sidecar.change(written(north))
            await execute(sidecar)
            refused = await sidecar.change(logged(tmp_path / "no folder" / "x.log"))

    lines = [[json.loads(line) for line in file.read_text().splitlines()] for file in (one, two)]
    assert [1, 2] == [len(each) for each in lines]
    assert [False, True] == ["Hi" in json.dumps(line) for line in lines[1]]
    assert "telemetry.request_log.file" in refused["faults"]


@pytest.mark.full
async def test_models_of_a_local_server_are_there_with_its_provider(tmp_path: Path) -> None:
    local = ProviderSettings(wire=WireName.OLLAMA, models=("small", "large"))
    async with SimulatedServer({"one": local, "two": local.changed({"models": ("other",)})}) as server:

        def at(name: str) -> str:
            allowed = "allow_insecure: true, allow_private: true"
            return written(f"house: {{wire: ollama, base_url: '{server.base_url(name)}', {allowed}}}")

        async with following(tmp_path, written(provider("north", "http://127.0.0.1:9"))) as sidecar:
            await sidecar.change(at("one"))
            first = await execute(sidecar, target="house/large")
            await sidecar.change(at("one").replace("drain_seconds: 5", "drain_seconds: 6"))
            second = await execute(sidecar, target="house/large")
            await sidecar.change(at("two"))
            third = await execute(sidecar)

    assert ["large", "large", "other"] == [answer.target.model for answer in (first, second, third)]


async def test_report_about_a_target_that_was_removed_is_accepted_once_and_kept_with_its_decision(
    tmp_path: Path,
) -> None:
    north, south = (provider(name, "http://127.0.0.1:9") for name in ("north", "south"))
    async with following(tmp_path, written(north)) as sidecar:
        decision = (await sidecar.stub.Route(pb.RouteRequest(), timeout=30)).decision
        await sidecar.change(written(south))
        outcome = pb.Outcome(
            decision_id=decision.decision_id,
            attempt_id="6f1f3a53-58b1-4b56-9c0e-9a2b6cbf7a01",
            target=decision.candidates[0].target,
            ok=True,
            usage=pb.Usage(input_tokens=10, output_tokens=10),
        )
        answers = [await sidecar.stub.ReportOutcome(pb.ReportOutcomeRequest(outcomes=[outcome])) for _ in range(2)]
        stray = pb.Outcome(attempt_id="6f1f3a53-58b1-4b56-9c0e-9a2b6cbf7a02", target=outcome.target, ok=True)
        unknown = await sidecar.stub.ReportOutcome(pb.ReportOutcomeRequest(outcomes=[stray]))

    statuses = [answer.results[0].status for answer in (*answers, unknown)]
    assert [pb.OUTCOME_STATUS_ACCEPTED, pb.OUTCOME_STATUS_DUPLICATE, pb.OUTCOME_STATUS_REJECTED] == statuses
