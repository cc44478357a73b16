"""Runs the demonstration from the first request to the summary."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from turnout import AsyncClient, TurnoutError
from turnout_server.demo.record import Act, Ledger, RequestRecord
from turnout_server.demo.scene import Scene
from turnout_server.demo.show import Show, Source
from turnout_server.demo.sidecar import LogLine, Sidecar
from turnout_server.demo.sidecar_log import event_text
from turnout_server.demo.summary import Failure, Summary, returned, summarise
from turnout_server.demo.traffic import Traffic
from turnout_server.demo.watch import StatusWatch
from turnout_server.providers.simulated.server import SimulatedServer

_POLL_SECONDS = 0.2
_STEP_SECONDS = 0.05
_CONFIGURATION = "turnout.yaml"


@dataclass(slots=True, kw_only=True)
class Play:
    """One run: the acts and everything that is known of them so far."""

    scene: Scene
    show: Show
    seed: int
    act: Act = Act.BEFORE
    ledger: Ledger = field(default_factory=Ledger)
    watch: StatusWatch = field(init=False)
    failure: Failure | None = None
    events: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    _began: float | None = None
    _over: bool = False

    def __post_init__(self) -> None:
        self.watch = StatusWatch(clock=self.clock)

    def clock(self) -> float:
        """Returns the seconds since the first request, 0 before it."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    async def run(self) -> Summary:
        """Plays all acts. Raises SidecarError where the sidecar does not come up."""
        cast = {provider.name: provider.settings() for provider in self.scene.cast}
        with tempfile.TemporaryDirectory(prefix="turnout-demo-") as folder:
            path = Path(folder) / _CONFIGURATION
            async with SimulatedServer(cast, seed=self.seed) as sim:
                base_urls = {name: sim.base_url(name) for name in cast}
                self.scene.write_configuration(path, base_urls)
                self._stage("advise: Route, our own call, ReportOutcome; execute and stream: the sidecar calls")
                self._stage(f"simulated providers {', '.join(cast)} listen on {sim.url}")
                sidecar = Sidecar(path, self._keys(), self._on_log)
                addresses = await sidecar.start()
                self._stage(f"the sidecar (process {sidecar.process_id}) listens on {addresses.grpc}")
                try:
                    async with (
                        # Each call of the record is to have a decision of its own.
                        AsyncClient(addresses.grpc, plan_cache=False) as client,
                        httpx.AsyncClient(trust_env=False) as http,
                    ):
                        await self._perform(sidecar, client, http, sim)
                        if client.unreported_count:
                            self.problems.append(f"{client.unreported_count} outcomes could not be reported")
                finally:
                    code = await sidecar.stop()
                    if code and not self._over:
                        self.problems.append(f"the sidecar ended with code {code}")
        return summarise(
            self.ledger,
            self.watch,
            self.scene,
            self.failure,
            seconds=self.clock(),
            events=self.events,
            other_problems=self.problems,
        )

    async def _perform(
        self, sidecar: Sidecar, client: AsyncClient, http: httpx.AsyncClient, sim: SimulatedServer
    ) -> None:
        traffic = Traffic(
            client=client,
            http=http,
            scene=self.scene,
            clock=self.clock,
            act=lambda: self.act,
            on_record=self._on_record,
            rng=random.Random(self.seed),  # noqa: S311 - a reproducible mix of requests, not a secret
        )
        stop = asyncio.Event()
        self._began = time.monotonic()
        async with asyncio.TaskGroup() as running:
            polling = running.create_task(self._poll(client, sidecar))
            sending = running.create_task(traffic.run(stop))
            try:
                await self._direct(http, f"{sim.url}/control/providers")
            finally:
                stop.set()
            await sending
            await client.flush()
            polling.cancel()
        if not self._over:
            self.watch.take(await client.status())

    async def _direct(self, http: httpx.AsyncClient, control: str) -> None:
        """Lets the busiest provider fail, and recover; waits for what must follow, but not for ever."""
        times = self.scene.times
        await self._until(lambda: self.clock() >= times.fail_seconds and bool(self.ledger.busiest_provider()))
        name = self.ledger.busiest_provider()
        if not name or self._over:
            return
        self.act = Act.DURING
        failed_at = self.clock()
        fault = {"kind": "error", "status": 503}
        told = await http.patch(f"{control}/{name}", json={"fault": fault, "cut_running": True})
        cut = int(told.raise_for_status().json()["cut_count"])
        self._stage(f"{name}, the busiest provider, fails: 503 to everything, {cut} running answers cut")
        await self._until(lambda: self.clock() >= times.recover_seconds and bool(self.watch.opened(name)))
        await http.patch(f"{control}/{name}", json={"fault": None})
        self.act = Act.AFTER
        healed_at = self.clock()
        self.failure = Failure(provider=name, at_seconds=failed_at, healed_at_seconds=healed_at, cut_count=cut)
        self._stage(f"{name} is well again; nobody tells the sidecar")
        await self._until(lambda: self.clock() >= times.end_seconds and returned(self.ledger, self.watch, name))

    async def _until(self, reached: Callable[[], bool]) -> None:
        limit = self.scene.times.limit_seconds
        while not (reached() or self._over) and self.clock() < limit:  # noqa: ASYNC110 - time is part of what it awaits
            await asyncio.sleep(_STEP_SECONDS)

    async def _poll(self, client: AsyncClient, sidecar: Sidecar) -> None:
        while True:
            end = sidecar.early_end()
            if end:
                self.problems.append(end)
                self._over = True
                return
            try:
                self.watch.take(await client.status(timeout_seconds=2.0))
            except TurnoutError as error:
                self.problems.append(f"ProviderStatus failed: {error}")
            self.show.status(self.clock(), self.watch)
            await asyncio.sleep(_POLL_SECONDS)

    def _keys(self) -> dict[str, str]:
        return {provider.key_variable: provider.key for provider in self.scene.cast}

    def _stage(self, text: str) -> None:
        self.show.event(self.clock(), Source.STAGE, text)

    def _on_log(self, line: LogLine) -> None:
        text = event_text(line)
        if text:
            self.events[str(line["event"])] += 1
            self.show.event(self.clock(), Source.SIDECAR, text)

    def _on_record(self, record: RequestRecord) -> None:
        self.ledger.add(record)
        self.show.request(record)
