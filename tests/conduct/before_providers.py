"""A real sidecar before providers on real sockets, a clock that can be put forward between calls, and what arrives.

Nothing is known to the sidecar but by its clock: put forward, it lives through a minute's outage in a second, with the
settings as they are by default. What waits on a socket waits in real time.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import MappingProxyType

import grpc

from tests.api.sidecar import HELLO, Sidecar, reason, running, spec
from turnout.v1 import router_pb2 as pb
from turnout_server.core.fleet import Price
from turnout_server.core.model import Strategy
from turnout_server.core.settings import FailoverSettings, Policy, RoutingSettings, Settings
from turnout_server.providers.connection import ProviderConnection
from turnout_server.providers.dialects import dialect_of
from turnout_server.providers.secrets import Secrets
from turnout_server.providers.simulated.latency import LatencyModel
from turnout_server.providers.simulated.provider import Counts, ProviderSettings, SimulatedProvider
from turnout_server.providers.upstream import build_upstreams

COMPLETE = "complete"
PROMPT = ProviderSettings(latency=LatencyModel(first_token_seconds=0.0, seconds_per_output_token=0.0))
"""A provider that answers at once."""
CALL_SECONDS = 60.0


@dataclasses.dataclass(slots=True, kw_only=True)
class Arrivals(Counts):
    """Counts that remember when each request came."""

    clock: Callable[[], float]
    times: list[float] = dataclasses.field(default_factory=list)

    def begun(self) -> None:
        self.times.append(self.clock())
        Counts.begun(self)


def watched(provider: SimulatedProvider, clock: Callable[[], float]) -> list[float]:
    """Returns a list to which the provider adds the time of every request from now on."""
    arrivals = Arrivals(clock=clock)
    provider.counts = arrivals
    return arrivals.times


class Clock:
    """Monotonic seconds that pass by themselves, and more of them where a test skips some."""

    def __init__(self) -> None:
        self._skipped = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._skipped

    async def pass_until(self, moment: float, *, really: bool) -> None:
        """Lets time pass: really, or by putting the clock forward."""
        seconds = max(0.0, moment - self())
        if really:
            await asyncio.sleep(seconds)
        else:
            self._skipped += seconds


def before(
    urls: Mapping[str, str],
    *,
    clock: Callable[[], float] = time.monotonic,
    failover: FailoverSettings | None = None,
    strategy: Strategy = Strategy.PRIORITY,
    patient: Collection[str] = (),
) -> AbstractAsyncContextManager[Sidecar]:
    """Starts a sidecar before providers of the openai wire, by name and base URL.

    They are preferred in that order, and each is dearer than the one before by a quarter of what the first costs.
    Those in `patient` may be as slow as a busy machine makes them, however short the limits of the others are.
    """
    failover = failover or FailoverSettings()
    specs = tuple(
        dataclasses.replace(
            spec(name, "m"),
            base_url=url,
            credentials=(),
            needs_credential=False,
            provider_rank=rank,
            first_token_timeout_seconds=CALL_SECONDS if name in patient else None,
            price=Price(input_per_million=(4 + rank) * 10**8, output_per_million=(4 + rank) * 10**8),
        )
        for rank, (name, url) in enumerate(urls.items())
    )
    connections = [
        ProviderConnection(
            provider=name,
            wire="openai",
            dialect=dialect_of(name, "openai"),
            allow_private=True,
            connect_timeout_seconds=failover.connect_timeout_seconds,
        )
        for name in urls
    ]
    policies = MappingProxyType({"default": Policy(strategy=strategy)})
    return running(
        specs=specs,
        core=Settings(routing=RoutingSettings(policies=policies), failover=failover),
        upstreams=build_upstreams(connections, Secrets(connections)),
        clock=clock,
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How a call ended: COMPLETE or the reason of its error, who was asked, and how long it took."""

    end: str
    attempts: tuple[pb.Attempt, ...]
    seconds: float

    @property
    def providers(self) -> tuple[str, ...]:
        """Who was asked, in order."""
        return tuple(attempt.target.provider for attempt in self.attempts)


async def ask(sidecar: Sidecar, *, streaming: bool = False, target: str = "") -> Asked:
    """Makes a call to its end. An answer that says nothing, or a stream without its completion, fails the test."""
    began_at = time.monotonic()
    options = pb.RoutingOptions(force_target=target)
    try:
        if streaming:
            attempts = await _stream(sidecar, options)
        else:
            answer = await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO, options=options), timeout=CALL_SECONDS)
            assert answer.output.parts[0].text
            attempts = tuple(answer.attempts)
        end = COMPLETE
    except grpc.aio.AioRpcError as error:
        end, attempts = reason(error), ()
    return Asked(end=end, attempts=attempts, seconds=time.monotonic() - began_at)


async def _stream(sidecar: Sidecar, options: pb.RoutingOptions) -> tuple[pb.Attempt, ...]:
    text = ""
    request = pb.ExecuteStreamRequest(input=HELLO, options=options)
    async for message in sidecar.stub.ExecuteStream(request, timeout=CALL_SECONDS):
        text += message.delta.text
        if message.HasField("completion"):
            assert text
            return tuple(message.completion.attempts)
    raise AssertionError("a stream ended well without its completion")


def most_within(times: list[float], seconds: float) -> int:
    """Returns the largest number of moments that any span of that length holds."""
    ordered = sorted(times)
    return max((sum(first <= each < first + seconds for each in ordered) for first in ordered), default=0)


@asynccontextmanager
async def asking_all_the_time(sidecar: Sidecar, callers: int, pause_seconds: float) -> AsyncIterator[list[Asked]]:
    """Lets so many callers ask in turns while the block runs; yields what they have got so far."""
    got: list[Asked] = []
    going = True

    async def caller(number: int) -> None:
        await asyncio.sleep(pause_seconds * number / callers)
        while going:
            got.append(await ask(sidecar, streaming=number % 2 == 0))
            await asyncio.sleep(pause_seconds)

    async with asyncio.TaskGroup() as group:
        for number in range(callers):
            group.create_task(caller(number))
        try:
            yield got
        finally:
            going = False
