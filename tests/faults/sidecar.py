"""A real sidecar, gRPC on a free port, in front of a provider that commits faults: nothing of it is replaced."""

from __future__ import annotations

import io
import logging
import random
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import grpc
import structlog

from turnout.v1 import router_pb2_grpc
from turnout_server.api.server import ApiServer, Bound, ServerSettings
from turnout_server.core.fleet import CredentialSpec, Fleet, Prefill, Price, TargetSpec
from turnout_server.core.model import Capability, Target
from turnout_server.core.settings import BackoffSettings, FailoverSettings, HealthSettings, Settings
from turnout_server.execution.executor import Executor
from turnout_server.ids import new_id
from turnout_server.providers.connection import ProviderConnection, SecretReference
from turnout_server.providers.dialects import dialect_of
from turnout_server.providers.secrets import Secrets
from turnout_server.providers.upstream import build_upstreams
from turnout_server.router import Router
from turnout_server.telemetry.logs.access_log import AccessLog, AccessMode
from turnout_server.telemetry.logs.logs import LogFormat, LogLevel, configure_logging
from turnout_server.telemetry.metrics.metrics import Metrics
from turnout_server.telemetry.telling import Telling
from turnout_server.telemetry.traces.tracing import outgoing_headers

KEY = "sk-planted-0123456789"
MODEL = "m"
PRICE = Price(input_per_million=1_000_000_000, output_per_million=2_000_000_000, cached_input_per_million=100_000_000)

_ABLE = frozenset({Capability.STREAMING, Capability.TOOLS, Capability.JSON_SCHEMA})
# Networks of many providers fail at once here, and it is nobody's own.
_BLAMED = HealthSettings(local_network_providers=10_000)
QUICK = FailoverSettings(
    health=_BLAMED,
    backoff=BackoffSettings(base_seconds=0.02, max_seconds=0.05),
    retry_budget_floor=10_000,
    first_token_timeout_seconds=1.0,
    first_token_minimum_seconds=1.0,
    idle_timeout_seconds=2.0,
)
"""Every wait a second or two, the rest as by default; retries are not scarce, so that cases do not hang together."""
REAL = FailoverSettings(health=_BLAMED, retry_budget_floor=10_000)
"""The defaults."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One provider of the sidecar: its name, its wire, and where it is. `rank` 0 is asked first."""

    name: str
    wire: str
    base_url: str
    rank: int = 0
    model: str = MODEL
    silent_thinking: bool = False
    prefill: Prefill = Prefill.UNKNOWN
    thinks: bool = False
    first_token_timeout_seconds: float | None = None

    @property
    def target(self) -> str:
        return f"{self.name}/{self.model}"

    def spec(self) -> TargetSpec:
        return TargetSpec(
            target=Target(self.name, self.model),
            wire=self.wire,
            base_url=self.base_url,
            context_window_tokens=128_000,
            max_output_tokens=8_192,
            price=PRICE,
            capabilities=_ABLE | {Capability.THINKING} if self.thinks else _ABLE,
            quality=90.0,
            latency_prior_seconds=0.05,
            seconds_per_output_token_prior=0.001,
            credentials=(CredentialSpec(label="main"),),
            silent_thinking=self.silent_thinking,
            prefill=self.prefill,
            first_token_timeout_seconds=self.first_token_timeout_seconds,
            provider_rank=self.rank,
            name=self.target,
        )

    def connection(self, connect_timeout_seconds: float) -> ProviderConnection:
        return ProviderConnection(
            provider=self.name,
            wire=self.wire,
            dialect=dialect_of(self.name, self.wire),
            credentials={"main": SecretReference(env="TEST_KEY")},
            allow_private=True,
            # Who is patient with the answer is so with the connection: many begin at once, on a busy machine.
            connect_timeout_seconds=max(connect_timeout_seconds, self.first_token_timeout_seconds or 0.0),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """A running sidecar and a channel to it."""

    router: Router
    bound: Bound
    channel: grpc.aio.Channel

    @property
    def stub(self) -> router_pb2_grpc.RouterServiceAsyncStub:
        return router_pb2_grpc.RouterServiceStub(self.channel)


@contextmanager
def logged() -> Iterator[io.StringIO]:
    """Has everything that is logged in the block written as a sidecar writes it."""
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = list(root.handlers), root.level
    configure_logging(LogLevel.INFO, LogFormat.JSON, stream)
    try:
        yield stream
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()


@asynccontextmanager
async def running(places: Iterable[Place], failover: FailoverSettings = QUICK) -> AsyncIterator[Sidecar]:
    """Serves while the block runs; afterwards nothing of it is left."""
    listed = tuple(places)
    connections = [place.connection(failover.connect_timeout_seconds) for place in listed]
    metrics = Metrics()
    rng = random.Random(7)
    quiet = structlog.wrap_logger(structlog.ReturnLogger(), processors=[structlog.processors.JSONRenderer()])
    log = structlog.get_logger("turnout") if structlog.is_configured() else quiet
    access_log = AccessLog(log, clock=time.monotonic, rng=rng, mode=AccessMode.ALL)
    router = Router(
        Fleet(tuple(place.spec() for place in listed)),
        Settings(failover=failover),
        clock=time.monotonic,
        wall=time.time,
        rng=rng,
        new_id=new_id,
        on_event=Telling(log, metrics.event, wall=time.time),
        instruments=metrics,
    )
    executor = Executor(
        router,
        build_upstreams(connections, Secrets(connections, environ={"TEST_KEY": KEY})),
        clock=time.monotonic,
        wall=time.time,
        rng=rng,
        new_id=new_id,
        trace_headers=outgoing_headers,
    )
    server = ApiServer(
        router,
        executor,
        ServerSettings(
            address="127.0.0.1:0", health_address="127.0.0.1:0", drain_seconds=2.0, max_concurrent_calls=2000
        ),
        clock=time.monotonic,
        wall=time.time,
        log=log,
        access_log=access_log,
    )
    bound = await server.start()
    try:
        async with grpc.aio.insecure_channel(bound.address) as channel:
            yield Sidecar(router=router, bound=bound, channel=channel)
    finally:
        await server.stop()
        await executor.aclose()
