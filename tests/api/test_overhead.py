"""`turnout.overhead.duration` is what a call took beside waiting: no more, no less, however the call goes.

The clock stands still but for what a provider takes (while the call waits for it) and for what reading its answer takes
(which is work of ours), so that every second is known, however busy the machine.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import grpc
import pytest

from tests.api.sidecar import ANSWER, HELLO, LOCAL, SPECS, Sidecar, everywhere, failing, first_delta, running
from tests.api.test_metrics import Clock, total, until_observed
from turnout.v1 import router_pb2 as pb
from turnout_server.core.model import FailureKind, Strategy
from turnout_server.core.settings import CacheSettings, Policy, RoutingSettings, Settings
from turnout_server.ports import UpstreamCall, UpstreamEvent

LONG_SECONDS = 60
WAIT, WORK = 2.0, 0.25
READS = len(ANSWER)
COLD = pb.ChatInput(messages=HELLO.messages, temperature=0.0)


class KnownProvider:
    """Each read of its answer keeps the caller waiting for `WAIT` seconds, and then costs `WORK` of the sidecar's own.

    The first `failing_count` calls fail in place of their first read. `held` keeps the first call waiting until it is
    given up, `held_seconds` long, unless somebody sets it.
    """

    def __init__(
        self, clock: Clock, *, failing_count: int = 0, held: asyncio.Event | None = None, held_seconds: float = 0.0
    ) -> None:
        self._clock = clock
        self._failing_count = failing_count
        self._held = held
        self._held_seconds = held_seconds
        self.call_count = 0

    async def stream(self, _call: UpstreamCall) -> AsyncGenerator[Sequence[UpstreamEvent]]:
        self.call_count += 1
        held, self._held = self._held, None
        if held is not None:
            asyncio.get_running_loop().call_soon(self._pass, self._held_seconds)
            await held.wait()
        for number, read in enumerate(ANSWER):
            asyncio.get_running_loop().call_soon(self._pass, WAIT)
            # Suspended for one turn of the loop, in which the seconds pass.
            await asyncio.sleep(0)
            self._pass(WORK)
            if number == 0 and self.call_count <= self._failing_count:
                raise failing(FailureKind.OVERLOADED, status=529)
            yield read

    async def complete(self, call: UpstreamCall) -> Sequence[UpstreamEvent]:
        return [event async for read in self.stream(call) for event in read]

    async def aclose(self) -> None:
        pass

    def _pass(self, seconds: float) -> None:
        self._clock.now += seconds


def default(policy: Policy) -> Settings:
    return Settings(routing=RoutingSettings(policies={"default": policy}))


async def executed(sidecar: Sidecar, request: pb.ExecuteRequest | None = None) -> pb.ExecuteResponse:
    return await sidecar.stub.Execute(request or pb.ExecuteRequest(input=HELLO), timeout=LONG_SECONDS)


async def streamed(sidecar: Sidecar, chat: pb.ChatInput = HELLO) -> None:
    async for _ in sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=chat), timeout=LONG_SECONDS):
        pass


async def overheads(sidecar: Sidecar, calls: int) -> tuple[Any, ...]:
    """How many were observed, their seconds, and the seconds of all RPCs, once so many have ended."""
    found = await until_observed(sidecar, calls)
    name = "turnout_overhead_duration_seconds"
    counted, seconds = total(found, f"{name}_count"), total(found, f"{name}_sum")
    return int(counted), seconds, total(found, "rpc_server_call_duration_seconds_sum")


@pytest.mark.parametrize("streaming", [False, True])
async def test_overhead_of_a_call_is_its_own_work_and_nothing_that_it_waited_for(*, streaming: bool) -> None:
    clock = Clock()
    provider = KnownProvider(clock)
    async with running(upstreams={"alpha": provider, "beta": provider}, clock=clock) as sidecar:
        await (streamed(sidecar) if streaming else executed(sidecar))
        found = await overheads(sidecar, 1)

    assert found == (1, pytest.approx(READS * WORK), pytest.approx(READS * (WAIT + WORK)))


async def test_overhead_of_a_call_that_moves_on_has_the_work_of_each_attempt() -> None:
    clock = Clock()
    provider = KnownProvider(clock, failing_count=1)
    async with running(upstreams={"alpha": provider, "beta": provider}, clock=clock) as sidecar:
        response = await executed(sidecar)
        found = await overheads(sidecar, 1)

    assert len(response.attempts) == 2
    assert found == (1, pytest.approx((1 + READS) * WORK), pytest.approx((1 + READS) * (WAIT + WORK)))


async def test_overhead_of_a_call_that_fails_is_observed_too() -> None:
    clock = Clock()
    provider = KnownProvider(clock, failing_count=9)
    async with running(upstreams={"alpha": provider, "beta": provider}, clock=clock) as sidecar:
        with pytest.raises(grpc.aio.AioRpcError):
            await executed(sidecar)
        found = await overheads(sidecar, 1)

    assert provider.call_count > 1
    # Its pauses between attempts are no work either; the clock does not count them here.
    assert found[:2] == (1, pytest.approx(provider.call_count * WORK))


async def test_overhead_of_a_hedged_call_has_neither_wait() -> None:
    clock, held = Clock(), asyncio.Event()
    slow, quick = KnownProvider(clock, held=held, held_seconds=7.0), KnownProvider(clock)
    core = default(Policy(strategy=Strategy.PRIORITY, hedge=True))
    specs = (SPECS[0], SPECS[2])
    async with running(specs=specs, upstreams={"alpha": slow, "beta": quick}, clock=clock, core=core) as sidecar:
        response = await executed(sidecar)
        found = await overheads(sidecar, 1)

    assert [(each.target.provider, each.hedge) for each in response.attempts] == [("alpha", False), ("beta", True)]
    assert found == (1, pytest.approx(READS * WORK), pytest.approx(7.0 + READS * (WAIT + WORK)))


async def test_overhead_of_a_cached_answer_is_all_of_its_time() -> None:
    clock = Clock()
    provider = KnownProvider(clock)
    core = default(Policy(cache=CacheSettings()))
    async with running(upstreams={"alpha": provider, "beta": provider}, clock=clock, core=core) as sidecar:
        await executed(sidecar, pb.ExecuteRequest(input=COLD))
        kept = await executed(sidecar, pb.ExecuteRequest(input=COLD))
        await streamed(sidecar, COLD)
        found = await overheads(sidecar, 3)

    assert kept.cached
    assert found == (3, pytest.approx(READS * WORK), pytest.approx(READS * (WAIT + WORK)))


async def test_overhead_of_a_request_that_joins_another_leaves_out_all_that_it_waited() -> None:
    clock, held = Clock(), asyncio.Event()
    provider = KnownProvider(clock, held=held)
    request = pb.ExecuteRequest(input=HELLO, request_id="order-7")
    async with running(upstreams={"alpha": provider, "beta": provider}, clock=clock) as sidecar:
        both = [asyncio.ensure_future(executed(sidecar, request)) for _ in range(2)]
        async with asyncio.timeout(LONG_SECONDS):
            while [call.waiting for call in sidecar.server.answering.once._running.values()] != [2]:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.005)
        held.set()
        joined = sorted(response.joined for response in await asyncio.gather(*both))
        found = await overheads(sidecar, 2)

    assert joined == [False, True]
    assert found[:2] == (2, pytest.approx(READS * WORK))


async def test_overhead_of_a_call_that_is_refused_is_all_of_its_time() -> None:
    clock, go_on = Clock(), asyncio.Event()
    settings = dataclasses.replace(LOCAL, max_concurrent_calls=1, max_queue=1)
    scripts = everywhere(*ANSWER[:2], go_on, *ANSWER[2:])
    nowhere = pb.ExecuteRequest(input=HELLO, options=pb.RoutingOptions(include=["alpha/none"]))
    async with running(scripts=scripts, settings=settings, clock=clock) as sidecar:
        first = sidecar.stub.ExecuteStream(pb.ExecuteStreamRequest(input=HELLO), timeout=LONG_SECONDS)
        await first_delta(first)
        second = asyncio.ensure_future(executed(sidecar, nowhere))
        async with asyncio.timeout(LONG_SECONDS):
            while not any(sidecar.server.calls._waiting):  # noqa: ASYNC110 - it sets no event
                await asyncio.sleep(0.01)
        # Those who have no room wait here, and for nobody else: it is the sidecar's time, known to be seven seconds.
        clock.now += 7.0
        go_on.set()
        async for _ in first:
            pass
        with pytest.raises(grpc.aio.AioRpcError):
            await second
        found = await overheads(sidecar, 2)

    assert found[:2] == (2, pytest.approx(7.0))


async def test_calls_that_are_cancelled_are_not_observed() -> None:
    async with running(scripts=everywhere(ANSWER[0], asyncio.Event())) as sidecar:
        call = sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=LONG_SECONDS)
        await sidecar.upstream.began.wait()
        call.cancel()
        found = await overheads(sidecar, 1)

    assert found[0] == 0
