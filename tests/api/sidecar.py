"""A real server on free ports, with a real router and executor behind it; only the providers are scripted."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import structlog
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # has no types

from turnout.v1 import admin_pb2_grpc, router_pb2_grpc
from turnout.v1 import router_pb2 as pb
from turnout_server.api.server import ApiServer, Bound, ServerSettings
from turnout_server.core.chat import Finished, ResponseStarted, TextDelta, UsageReported
from turnout_server.core.event_ring import EventRing
from turnout_server.core.events import Event
from turnout_server.core.fleet import CredentialSpec, Fleet, Price, TargetSpec
from turnout_server.core.model import Capability, FailureKind, FinishReason, Target, Usage
from turnout_server.core.settings import Settings
from turnout_server.execution.executor import Executor
from turnout_server.ports import ResponseHead, Upstream, UpstreamCall, UpstreamError, UpstreamEvent
from turnout_server.router import Router
from turnout_server.shadow_turns import ShadowTurns
from turnout_server.telemetry.logs.access_log import AccessLog
from turnout_server.telemetry.metrics.metrics import Metrics
from turnout_server.telemetry.traces.call_spans import CallTracing, attempt_of_current, deciding_again_in_current
from turnout_server.telemetry.traces.tracing import outgoing_headers, trace_ids

CAPABILITIES = frozenset({Capability.STREAMING, Capability.TOOLS, Capability.JSON_SCHEMA})

ANSWER: Sequence[Sequence[UpstreamEvent]] = (
    (ResponseHead(http_status=200), ResponseStarted(model="m-1", response_id="r-1")),
    (TextDelta(part_index=0, text="Hello"),),
    (TextDelta(part_index=0, text=" there"), TextDelta(part_index=0, text="!")),
    (UsageReported(usage=Usage(input_tokens=10, output_tokens=5)), Finished(reason=FinishReason.STOP)),
)


def spec(provider: str, model: str, *, quality: float = 90.0, max_concurrency: int | None = None) -> TargetSpec:
    target = Target(provider, model)
    return TargetSpec(
        target=target,
        wire="openai",
        base_url=f"https://{provider}.example/v1",
        context_window_tokens=128_000,
        max_output_tokens=8_192,
        price=Price(input_per_million=1_000_000_000, output_per_million=2_000_000_000),
        capabilities=CAPABILITIES,
        quality=quality,
        latency_prior_seconds=0.05,
        credentials=(CredentialSpec(label="main"),),
        max_concurrency=max_concurrency,
        name=str(target),
    )


Step = Sequence[UpstreamEvent] | UpstreamError | asyncio.Event
Script = Sequence[Step]


@dataclass
class ScriptedUpstream:
    """Plays an error or a list of reads for each target; a read that is an event is waited for, an error is raised."""

    scripts: dict[str, Script] = field(default_factory=dict)
    calls: list[UpstreamCall] = field(default_factory=list)
    trace_ids: list[str | None] = field(default_factory=list)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def stream(self, call: UpstreamCall) -> AsyncGenerator[Sequence[UpstreamEvent]]:
        self.calls.append(call)
        self.began.set()
        current = trace_ids()
        self.trace_ids.append(current[0] if current else None)
        try:
            for step in self.scripts.get(str(call.spec.target), ANSWER):
                if isinstance(step, UpstreamError):
                    raise step
                if isinstance(step, asyncio.Event):
                    await step.wait()
                    continue
                yield step
        finally:
            self.closed.set()

    async def complete(self, call: UpstreamCall) -> Sequence[UpstreamEvent]:
        return [event async for read in self.stream(call) for event in read]

    async def aclose(self) -> None:
        pass


HELLO = pb.ChatInput(messages=[pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text="Hi")])])


def details(error: grpc.aio.AioRpcError) -> dict[str, bytes]:
    """Packed details by the name of their message."""
    trailers = dict(error.trailing_metadata() or ())
    packed = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    return {item.type_url.rpartition(".")[2]: item.value for item in packed.details}


def reason(error: grpc.aio.AioRpcError) -> str:
    return str(error_details_pb2.ErrorInfo.FromString(details(error)["ErrorInfo"]).reason)


def failing(kind: FailureKind, *, status: int, possibly_billed: bool = True) -> UpstreamError:
    return UpstreamError(kind, "as scripted", http_status=status, possibly_billed=possibly_billed)


@dataclass
class Sidecar:
    """A running server and what it is made of."""

    server: ApiServer
    bound: Bound
    router: Router
    upstream: ScriptedUpstream
    metrics: Metrics
    channel: grpc.aio.Channel
    events: Sequence[Event]
    """What operators would have been told so far."""
    ring: EventRing
    shadows: ShadowTurns

    @property
    def stub(self) -> router_pb2_grpc.RouterServiceAsyncStub:
        return router_pb2_grpc.RouterServiceStub(self.channel)

    @property
    def admin(self) -> admin_pb2_grpc.AdminServiceAsyncStub:
        return admin_pb2_grpc.AdminServiceStub(self.channel)


SPECS = (spec("alpha", "large", quality=95.0), spec("alpha", "small", quality=80.0), spec("beta", "large"))


def everywhere(*steps: Step) -> dict[str, Script]:
    """The same script for each of the usual targets."""
    return {s.name: steps for s in SPECS}


async def first_delta(stream: AsyncIterable[pb.ExecuteStreamResponse]) -> None:
    """Reads up to the first piece of the answer."""
    async for message in stream:
        if message.WhichOneof("event") == "delta":
            return


async def next_state(stream: AsyncIterable[pb.WatchProviderStatusResponse]) -> pb.WatchProviderStatusResponse:
    async for message in stream:
        return message
    raise AssertionError("the stream ended")


LOCAL = ServerSettings(address="127.0.0.1:0", health_address="127.0.0.1:0", drain_seconds=2.0)


@asynccontextmanager
async def running(
    *,
    specs: tuple[TargetSpec, ...] = SPECS,
    settings: ServerSettings = LOCAL,
    core: Settings | None = None,
    scripts: Mapping[str, Script] | None = None,
    upstreams: Mapping[str, Upstream] | None = None,
    clock: Callable[[], float] = time.monotonic,
    access_log: AccessLog | None = None,
    tracing: CallTracing | None = None,
) -> AsyncIterator[Sidecar]:
    """Starts one. `upstreams` are what stands for providers that are not scripted, by their names."""
    upstream = ScriptedUpstream(scripts=dict(scripts or {}))
    metrics = Metrics()
    events: list[Event] = []
    ring = EventRing(time.time())
    rng = random.Random(7)

    def on_event(event: Event) -> None:
        metrics.event(event)
        ring.add(event, time.time())
        events.append(event)

    def new_id() -> str:
        return str(uuid.UUID(int=rng.getrandbits(128), version=4))

    router = Router(
        Fleet(specs),
        core or Settings(),
        clock=clock,
        wall=time.time,
        rng=rng,
        new_id=new_id,
        on_event=on_event,
        instruments=metrics,
    )
    turns = ShadowTurns(router, clock=time.monotonic, log=structlog.get_logger("turnout"))
    providers: dict[str, Upstream] = {s.target.provider: upstream for s in specs}
    providers |= upstreams or {}
    executor = Executor(
        router,
        providers,
        clock=clock,
        wall=time.time,
        rng=rng,
        new_id=new_id,
        trace_headers=outgoing_headers,
        trace_attempt=attempt_of_current,
        trace_hop=deciding_again_in_current,
    )
    metrics.watch(router.status.gauges)
    metrics.watch_policies(lambda: router.configured.settings.routing.policies)
    # The library's own default draws each traceback with all its variables, which takes seconds on a busy machine.
    log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[structlog.processors.JSONRenderer()])
    server = ApiServer(
        router,
        executor,
        settings,
        clock=clock,
        wall=time.time,
        log=log,
        events=ring,
        access_log=access_log,
        observe_call=metrics.call,
        observe_overhead=metrics.overhead,
        tracing=tracing,
    )
    bound = await server.start()
    address = bound.address or f"unix:{bound.socket}"
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            yield Sidecar(
                server=server,
                bound=bound,
                router=router,
                upstream=upstream,
                metrics=metrics,
                channel=channel,
                events=events,
                ring=ring,
                shadows=turns,
            )
    finally:
        await server.stop()
        turns.close()
        await executor.aclose()
