"""Every event by its cause: a whole sidecar before providers that fail, are silent, cannot be reached and get well.

What is heard is what WatchEvents sends.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from tests.reloading.following import LONG_SECONDS, provider, written
from turnout.v1 import admin_pb2, admin_pb2_grpc, router_pb2_grpc
from turnout.v1 import router_pb2 as pb
from turnout_server.app import running
from turnout_server.config.load import load
from turnout_server.providers.simulated.provider import ProviderSettings
from turnout_server.providers.simulated.server import SimulatedServer

QUICK = ProviderSettings(output_tokens=5).changed({"latency": {"first_token_seconds": 0.005, "jitter": 0.0}})
NORTH_FIRST = ", routing: {provider_order: [north, south], policies: {default: {strategy: PRIORITY}}}"
SOON = 0.05
REQUEST = pb.ExecuteRequest(
    input=pb.ChatInput(messages=[pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text="Hi")])], max_output_tokens=10)
)


@dataclass(frozen=True)
class World:
    """A sidecar, the providers behind it, and all that it has told."""

    stub: router_pb2_grpc.RouterServiceAsyncStub
    providers: SimulatedServer
    asked: asyncio.Event
    file: Path
    heard: list[admin_pb2.Event]
    more: asyncio.Event

    def change(self, name: str, **settings: Any) -> None:
        found = self.providers.providers[name]
        found.settings = found.settings.changed(settings)

    def url(self, name: str) -> str:
        return self.providers.base_url(name)

    async def execute(self) -> str:
        """Makes a call; returns its decision's id, or that of its failure."""
        try:
            answer = await self.stub.Execute(REQUEST, timeout=LONG_SECONDS)
        except grpc.aio.AioRpcError as error:
            return str(dict(error.trailing_metadata() or ()).get("turnout-decision-id", ""))
        return answer.decision.decision_id

    async def until(
        self, holds: Callable[[list[admin_pb2.Event]], bool], meanwhile: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        """Waits until that is so of what was heard, and does something over and over meanwhile."""
        async with asyncio.timeout(LONG_SECONDS):
            while not holds(self.heard):
                self.more.clear()
                if meanwhile is not None:
                    await meanwhile()
                    await asyncio.sleep(0.01)
                else:
                    await self.more.wait()

    async def hears(
        self, *names: str, meanwhile: Callable[[], Awaitable[object]] | None = None
    ) -> list[admin_pb2.Event]:
        """Waits for an event of each of these names, and returns the first of each."""
        await self.until(lambda heard: set(names) <= {event.name for event in heard}, meanwhile)
        return [next(event for event in self.heard if event.name == name) for name in names]


@asynccontextmanager
async def world(
    folder: Path, more: str = "", *, environ: dict[str, str] | None = None, **every: str
) -> AsyncIterator[World]:
    """Starts one with the providers north and south; `every` is what their entries say beyond the usual."""
    async with AsyncExitStack() as stack:
        providers = await stack.enter_async_context(SimulatedServer({"north": QUICK, "south": QUICK}))
        file = folder / "turnout.yaml"
        entries = [provider(name, providers.base_url(name), more=every.get(name, "")) for name in ("north", "south")]
        # Fast models, so that what is slow is seen soon.
        file.write_text(written(*entries, more=more).replace("quality: 80", "quality: 80, latency_prior_seconds: 0.02"))
        asked = asyncio.Event()
        sidecar = running(
            load(str(file), environ or {}),
            environ or {},
            secrets_every_seconds=SOON,
            alarms_every_seconds=SOON,
            files_every_seconds=30.0,
            reload_asked=asked,
        )
        listening = await stack.enter_async_context(sidecar)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(listening.grpc[0]))
        heard: list[admin_pb2.Event] = []
        news = asyncio.Event()
        watching = admin_pb2_grpc.AdminServiceStub(channel).WatchEvents(admin_pb2.WatchEventsRequest(after_sequence=0))

        async def listen() -> None:
            with suppress(grpc.aio.AioRpcError):
                async for response in watching:
                    heard.append(response.event)
                    news.set()

        task = asyncio.create_task(listen())
        yield World(router_pb2_grpc.RouterServiceStub(channel), providers, asked, file, heard, news)
        watching.cancel()
        await asyncio.gather(task, return_exceptions=True)


def until_seconds(event: admin_pb2.Event) -> float:
    """How long after the event what it is of is left alone."""
    until = datetime.fromisoformat(event.fields["until"]).timestamp()
    return until - event.time.ToMicroseconds() / 1e6


async def test_target_that_fails_is_left_for_a_while_tried_again_and_well_again(tmp_path: Path) -> None:
    failover = (
        ", failover: {consecutive_failures: 2, open_seconds: 0.4, recovery_successes: 1, backoff: {base_seconds: 0.01}}"
    )
    async with world(tmp_path, NORTH_FIRST + failover) as sidecar:
        sidecar.change("north", fault={"kind": "error", "status": 500})
        decisions = [await sidecar.execute()]
        failure, switch = await sidecar.hears("failure", "switch")

        async def again() -> None:
            decisions.append(await sidecar.execute())

        [opened] = await sidecar.hears("breaker.opened", meanwhile=again)
        sidecar.change("north", fault=None)
        [half_open] = await sidecar.hears("breaker.half_open")
        closed, recovered = await sidecar.hears("breaker.closed", "recovered", meanwhile=sidecar.execute)

    assert failure.fields["decision_id"] == switch.fields["decision_id"] == decisions[0]
    assert (failure.fields["failure"], failure.fields["http_status"]) == ("SERVER_ERROR", "500")
    assert (switch.target.provider, switch.fields["to"]) == ("north", "south/small")
    assert opened.fields["decision_id"] in decisions
    assert opened.fields["failure"] == "SERVER_ERROR"
    assert abs(until_seconds(opened) - float(opened.fields["open_seconds"])) < 0.01
    assert {each.target.provider for each in (opened, half_open, closed, recovered)} == {"north"}
    assert recovered.fields["from"] == "breaker.opened"
    assert float(recovered.fields["after_seconds"]) > 0.2


async def test_refused_credentials_cool_down_or_are_out_and_then_there_is_nobody(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("planted-key-of-north")
    async with world(tmp_path, NORTH_FIRST, north=f", api_key_file: {key}") as sidecar:
        sidecar.change("north", fault={"kind": "error", "problem": "permission"})
        sidecar.change("south", fault={"kind": "error", "problem": "rate_limited", "retry_after_seconds": 600})
        decision = await sidecar.execute()
        out, cooling = await sidecar.hears("credential.out", "cooling_down")
        last = await sidecar.execute()
        [unavailable] = await sidecar.hears("unavailable")

    assert out.fields["decision_id"] == cooling.fields["decision_id"] == decision
    assert (out.target.provider, out.fields["failure"], out.fields["credential"]) == (
        "north",
        "PERMISSION_DENIED",
        "api_key_file",
    )
    assert (cooling.target.provider, cooling.fields["failure"]) == ("south", "RATE_LIMITED")
    assert abs(until_seconds(cooling) - float(cooling.fields["seconds"])) < 0.01
    assert float(cooling.fields["seconds"]) >= 600.0
    assert (unavailable.fields["policy"], unavailable.fields["decision_id"]) == ("default", last)
    assert not any("planted" in value for event in sidecar.heard for value in event.fields.values())


async def test_providers_that_cannot_be_reached_at_once_are_our_own_network(tmp_path: Path) -> None:
    closed = []
    for _ in range(2):
        # Bound and not listened to: nobody else gets the port meanwhile.
        nobody = socket.socket()
        nobody.bind(("127.0.0.1", 0))
        closed.append(nobody)
    async with world(tmp_path, NORTH_FIRST) as sidecar:
        ports = [each.getsockname()[1] for each in closed]
        entries = [
            provider(name, f"http://127.0.0.1:{port}/v1") for name, port in zip(("north", "south"), ports, strict=True)
        ]
        sidecar.file.write_text(written(*entries, more=NORTH_FIRST))
        sidecar.asked.set()
        [reloaded] = await sidecar.hears("config.reloaded")
        await sidecar.hears("local_network", meanwhile=sidecar.execute)
        sidecar.file.write_text("{broken")
        sidecar.asked.set()
        [refused] = await sidecar.hears("config.refused")
    for each in closed:
        each.close()

    assert "providers" in reloaded.fields["changed"]
    assert refused.fields["fault_count"] == "1"


async def test_target_that_lets_calls_wait_is_suspect(tmp_path: Path) -> None:
    async with world(
        tmp_path, NORTH_FIRST + ", failover: {suspect: {attempts: 2, seconds: 0.1}, first_token_timeout_seconds: 50}"
    ) as sidecar:
        for _ in range(3):
            await sidecar.execute()
        sidecar.change("north", fault={"kind": "silence"})
        waiting = [asyncio.create_task(sidecar.execute()) for _ in range(3)]
        [suspect] = await sidecar.hears("suspect")
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    assert suspect.target.provider == "north"
    assert int(suspect.fields["waiting"]) >= 2


async def test_alarm_is_raised_over_a_limit_and_over_below_it(tmp_path: Path) -> None:
    limits = ", alerts: {high_latency_seconds: 0.0001, high_error_rate: 0.4}"
    async with world(tmp_path, NORTH_FIRST + limits) as sidecar:
        for _ in range(10):
            await sidecar.execute()
        [slow] = await sidecar.hears("high_latency")
        failed = [report(number, pb.FAILURE_KIND_SERVER_ERROR) for number in range(20)]
        await sidecar.stub.ReportOutcome(pb.ReportOutcomeRequest(outcomes=failed), timeout=LONG_SECONDS)
        [failing] = await sidecar.hears("high_error_rate")
        well = [report(number, None) for number in range(100, 200)]
        await sidecar.stub.ReportOutcome(pb.ReportOutcomeRequest(outcomes=well), timeout=LONG_SECONDS)
        [recovered] = await sidecar.hears("recovered")

    assert float(slow.fields["median_seconds"]) > float(slow.fields["limit_seconds"]) == 0.0001
    assert (failing.target.provider, failing.fields["limit"]) == ("north", "0.4")
    assert float(failing.fields["error_rate"]) > 0.4
    assert (recovered.fields["from"], recovered.target.provider) == ("high_error_rate", "north")


def report(number: int, failure: pb.FailureKind.ValueType | None) -> pb.Outcome:
    return pb.Outcome(
        attempt_id=f"own-{number}",
        target=pb.Target(provider="north", model="small"),
        ok=failure is None,
        failure=failure or pb.FAILURE_KIND_UNSPECIFIED,
        latency=Duration(seconds=1),
    )


async def test_money_that_is_nearly_and_wholly_spent_is_told(tmp_path: Path) -> None:
    # An answer costs some 0.00002 USD, and one of ten tokens at most is asked for.
    budget = ", budgets: [{name: b, scope: global, period: day, limit_usd: 0.0006, alert_at: [0.5], per_pod: true}]"
    async with world(tmp_path, NORTH_FIRST + budget) as sidecar:
        alert, exhausted = await sidecar.hears("budget.alert", "budget.exhausted", meanwhile=sidecar.execute)

    assert (alert.fields["budget"], exhausted.fields["budget"]) == ("b", "b")
    assert alert.sequence < exhausted.sequence


async def test_models_that_fail_together_are_an_endpoint_that_is_left_alone(tmp_path: Path) -> None:
    more = ", failover: {open_seconds: 0.4, recovery_successes: 1, backoff: {base_seconds: 0.01}}"
    async with world(tmp_path, NORTH_FIRST + more) as sidecar:
        sidecar.change("north", fault={"kind": "error", "status": 500})
        text = sidecar.file.read_text()
        first, _, rest = text.partition("models: [{name: small")
        entry, _, after = rest.partition("}]")
        models = f"models: [{{name: small{entry}}}, {{name: large{entry}}}]"
        sidecar.file.write_text(first + models + after)
        sidecar.asked.set()
        await sidecar.hears("config.reloaded")
        [opened] = await sidecar.hears("endpoint.opened", meanwhile=sidecar.execute)
        sidecar.change("north", fault=None)
        [half_open] = await sidecar.hears("endpoint.half_open")
        [closed] = await sidecar.hears("endpoint.closed", meanwhile=sidecar.execute)
        await sidecar.until(lambda heard: any(event.fields.get("from") == "endpoint.opened" for event in heard))

    assert [(each.target.provider, each.target.model) for each in (opened, half_open, closed)] == [("north", "")] * 3
    assert opened.fields["decision_id"]
    assert until_seconds(opened) > 0.0
