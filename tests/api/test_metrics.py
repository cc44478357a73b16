"""What a real server tells of its calls in metrics: the time that is its own, RPCs by status, series that end."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Sequence

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.api.sidecar import ANSWER, HELLO, LOCAL, SPECS, Script, Sidecar, everywhere, failing, first_delta, running
from turnout.v1 import router_pb2 as pb
from turnout_server.api.call_times import CallTimes
from turnout_server.core.fleet import Fleet
from turnout_server.core.model import FailureKind
from turnout_server.core.settings import Settings
from turnout_server.ports import UpstreamCall, UpstreamEvent

Labels = tuple[tuple[str, str], ...]
LONG_SECONDS = 60


class Clock:
    """Stands still but for what tests say: so that seconds are exact, however busy the machine."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class LateProvider:
    """Answers as scripted, each read `seconds` later than the one before. The first call fails, where it should."""

    def __init__(self, clock: Clock, seconds: float, *, first_fails: bool = False) -> None:
        self._clock = clock
        self._seconds = seconds
        self._fails = first_fails

    async def stream(self, _call: UpstreamCall) -> AsyncGenerator[Sequence[UpstreamEvent]]:
        fails, self._fails = self._fails, False
        if fails:
            self._clock.now += self._seconds
            raise failing(FailureKind.OVERLOADED, status=529)
        for read in ANSWER:
            self._clock.now += self._seconds
            yield read

    async def complete(self, call: UpstreamCall) -> Sequence[UpstreamEvent]:
        return [event async for read in self.stream(call) for event in read]

    async def aclose(self) -> None:
        pass


def samples(sidecar: Sidecar) -> dict[str, dict[Labels, float]]:
    text = sidecar.metrics.render("")[0].decode()
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def total(found: dict[str, dict[Labels, float]], name: str, **labels: str) -> float:
    """The sum of the series that have these labels."""
    wanted = set(labels.items())
    return sum(value for each, value in found.get(name, {}).items() if wanted <= set(each))


async def until_observed(sidecar: Sidecar, calls: int) -> dict[str, dict[Labels, float]]:
    """Waits until so many RPCs have ended here too: callers have their answer a moment earlier."""
    async with asyncio.timeout(LONG_SECONDS):
        while total(found := samples(sidecar), "rpc_server_call_duration_seconds_count") < calls:  # noqa: ASYNC110 - it sets none
            await asyncio.sleep(0.01)
    return found


async def test_attempts_and_calls_are_timed_and_first_content_where_there_was_any() -> None:
    clock = Clock()
    late = LateProvider(clock, 2.0, first_fails=True)
    async with running(upstreams={"alpha": late, "beta": late}, clock=clock) as sidecar:
        await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=LONG_SECONDS)
        async for _ in sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=HELLO), timeout=LONG_SECONDS):
            pass
        found = await until_observed(sidecar, 2)

    # Two seconds for the failure, and eight for each of the answers.
    assert total(found, "rpc_server_call_duration_seconds_sum") == pytest.approx(18.0)
    assert total(found, "gen_ai_client_operation_duration_seconds_sum") == pytest.approx(18.0)
    # Both were streamed to here: first came the heads, then the first words. What failed has neither.
    assert total(found, "gen_ai_client_operation_time_to_first_chunk_seconds_count") == 2
    assert total(found, "gen_ai_client_operation_time_to_first_chunk_seconds_sum") == pytest.approx(8.0)


async def test_overhead_has_what_a_call_waited_for_room() -> None:
    clock, go_on = Clock(), asyncio.Event()
    settings = dataclasses.replace(LOCAL, max_concurrent_calls=1, max_queue=1)
    scripts = everywhere(*ANSWER[:2], go_on, *ANSWER[2:])
    async with running(scripts=scripts, settings=settings, clock=clock) as sidecar:
        first = sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=HELLO), timeout=LONG_SECONDS)
        await first_delta(first)
        second = asyncio.ensure_future(sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=LONG_SECONDS))
        async with asyncio.timeout(LONG_SECONDS):
            while not any(sidecar.server.calls._waiting):  # noqa: ASYNC110 - it sets no event
                await asyncio.sleep(0.01)
        clock.now += 7.0
        go_on.set()
        async for _ in first:
            pass
        await second
        found = await until_observed(sidecar, 2)

    assert total(found, "turnout_overhead_duration_seconds_sum") == pytest.approx(7.0)


async def test_rpcs_are_timed_by_method_and_status() -> None:
    async with running(scripts={s.name: [failing(FailureKind.INVALID_REQUEST, status=400)] for s in SPECS}) as sidecar:
        await sidecar.stub.Route(pb.RouteRequest(), timeout=LONG_SECONDS)
        with pytest.raises(grpc.aio.AioRpcError):
            await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=LONG_SECONDS)
        with pytest.raises(grpc.aio.AioRpcError):
            await sidecar.stub.Route(pb.RouteRequest(options=pb.RoutingOptions(policy="none")), timeout=LONG_SECONDS)
        watching = sidecar.stub.WatchProviderStatus(pb.WatchProviderStatusRequest(), timeout=LONG_SECONDS)
        await watching.read()
        watching.cancel()
        found = await until_observed(sidecar, 4)

    counts = {
        (dict(labels)["rpc_method"], dict(labels)["rpc_status_code"]): value
        for labels, value in found["rpc_server_call_duration_seconds_count"].items()
    }
    assert counts == {
        ("turnout.v1.RouterService/Route", "OK"): 1,
        ("turnout.v1.RouterService/Route", "NOT_FOUND"): 1,
        ("turnout.v1.RouterService/Execute", "FAILED_PRECONDITION"): 1,
        ("turnout.v1.RouterService/WatchProviderStatus", "CANCELLED"): 1,
    }


async def test_series_of_a_target_end_when_it_is_gone_also_those_of_a_call_that_ends_later() -> None:
    go_on = asyncio.Event()
    scripts: dict[str, Script] = {s.name: ANSWER for s in SPECS} | {"beta/large": (*ANSWER[:2], go_on, *ANSWER[2:])}
    async with running(scripts=scripts) as sidecar:
        for target in ("alpha/large", "alpha/small"):
            options = pb.RoutingOptions(include=[target])
            await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO, options=options), timeout=LONG_SECONDS)
        options = pb.RoutingOptions(include=["beta/large"])
        late = sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=HELLO, options=options), timeout=LONG_SECONDS)
        await first_delta(late)
        before = sidecar.metrics.render("")[0].decode()
        sidecar.router.adopt(Fleet(SPECS[:1]), Settings())
        go_on.set()
        async for _ in late:
            pass
        after = await until_observed(sidecar, 3)
        text = sidecar.metrics.render("")[0].decode()

    assert "alpha/small" in before
    assert "beta/large" in before
    assert "alpha/small" not in text
    assert "beta/large" not in text
    assert total(after, "turnout_attempts_total", target="alpha/large") == 1
    # What is told of no target goes on.
    assert total(after, "turnout_overhead_duration_seconds_count") == 3


@dataclasses.dataclass
class EndedContext:
    """What gRPC says of an RPC whose handler has returned."""

    status: object
    gone: bool = False

    def code(self) -> object:
        return self.status

    def cancelled(self) -> bool:
        return self.gone


@pytest.mark.parametrize(
    ("context", "status"),
    [
        (EndedContext(None), "OK"),
        (EndedContext(0), "OK"),
        (EndedContext(14), "UNAVAILABLE"),
        (EndedContext(grpc.StatusCode.DATA_LOSS), "DATA_LOSS"),
        (EndedContext(99), "UNKNOWN"),
        # A stream whose caller goes while it is written to ends without an error of its own.
        (EndedContext(None, gone=True), "CANCELLED"),
    ],
)
async def test_status_is_the_one_that_was_set_however_grpc_holds_it(context: EndedContext, status: str) -> None:
    told: list[tuple[str, str]] = []

    async def answer(_request: object, _context: object) -> str:
        return "answer"

    timed = CallTimes(Clock(), lambda method, ended, _seconds: told.append((method, ended))).timed(
        "Service/Rpc", answer
    )

    assert await timed("request", context) == "answer"
    assert told == [("Service/Rpc", status)]
