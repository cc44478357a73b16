"""Outcomes wait for a sidecar that is away, go before the next question where they must, and harm nobody."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import threading
import time
import weakref
from collections.abc import Sequence

import pytest

from turnout.asking import Asking
from turnout.errors import ErrorDetails, SidecarFaultError, UnreachableError
from turnout.fallback import StaticOrder
from turnout.planning import Planner
from turnout.reporter import TaskReporter, ThreadReporter
from turnout.v1 import router_pb2 as pb

GENEROUS_SECONDS = 60.0
GOOD = pb.Outcome(ok=True)
FAILED = pb.Outcome(failure=pb.FAILURE_KIND_OVERLOADED)


class Sidecar:
    """Takes batches, once it is there."""

    def __init__(self) -> None:
        self.there = threading.Event()
        self.tried = threading.Event()
        self.error: Exception = UnreachableError("refused")
        self.batches: list[int] = []

    def send(self, outcomes: Sequence[pb.Outcome]) -> pb.ReportOutcomeResponse:
        self.tried.set()
        if not self.there.is_set():
            raise self.error
        self.batches.append(len(outcomes))
        return pb.ReportOutcomeResponse()

    async def send_async(self, outcomes: Sequence[pb.Outcome]) -> pb.ReportOutcomeResponse:
        await asyncio.sleep(0)
        return self.send(outcomes)


class Reporting:
    """Either reporter, as coroutines."""

    def __init__(self, kind: str, sidecar: Sidecar) -> None:
        rng = random.Random(1)
        self.thread = ThreadReporter(sidecar.send, rng) if kind == "thread" else None
        self.task = TaskReporter(sidecar.send_async, rng)

    @property
    def pending_count(self) -> int:
        return (self.thread or self.task).pending_count

    @property
    def dropped_count(self) -> int:
        return (self.thread or self.task).dropped_count

    @property
    def pressing(self) -> bool:
        return (self.thread or self.task).pressing

    def add(self, outcome: pb.Outcome) -> None:
        (self.thread or self.task).add(outcome)

    async def flush(self, seconds: float) -> bool:
        if self.thread is not None:
            return await asyncio.to_thread(self.thread.flush, seconds)
        return await self.task.flush(seconds)

    async def send_pressing(self, seconds: float) -> None:
        if self.thread is not None:
            await asyncio.to_thread(self.thread.send_pressing, seconds)
        else:
            await self.task.send_pressing(seconds)

    async def close(self, seconds: float) -> None:
        if self.thread is not None:
            await asyncio.to_thread(self.thread.close, seconds)
        else:
            await self.task.close(seconds)


@pytest.fixture
def sidecar() -> Sidecar:
    return Sidecar()


@pytest.fixture(params=["thread", "task"])
def reporting(request: pytest.FixtureRequest, sidecar: Sidecar) -> Reporting:
    return Reporting(request.param, sidecar)


async def test_outcomes_wait_for_a_sidecar_that_is_away_and_arrive_in_batches(
    sidecar: Sidecar, reporting: Reporting
) -> None:
    for _ in range(250):
        reporting.add(GOOD)
    assert not await reporting.flush(0.2)
    assert (reporting.pending_count, reporting.dropped_count) == (250, 0)

    sidecar.there.set()

    assert await reporting.flush(GENEROUS_SECONDS)
    assert sidecar.batches == [100, 100, 50]
    assert (reporting.pending_count, reporting.dropped_count) == (0, 0)
    await reporting.close(GENEROUS_SECONDS)


async def test_what_the_sidecar_refuses_is_given_up(sidecar: Sidecar, reporting: Reporting) -> None:
    sidecar.error = SidecarFaultError("a bug", ErrorDetails(reason="BUG"))
    reporting.add(GOOD)

    assert await reporting.flush(GENEROUS_SECONDS)
    assert reporting.dropped_count == 1
    await reporting.close(GENEROUS_SECONDS)


async def test_a_failure_is_sent_before_the_next_question(sidecar: Sidecar, reporting: Reporting) -> None:
    sidecar.there.set()
    reporting.add(FAILED)
    pressing = [reporting.pressing]

    await reporting.send_pressing(GENEROUS_SECONDS)

    assert [*pressing, reporting.pressing] == [True, False]
    assert sidecar.batches == [1]
    await reporting.close(GENEROUS_SECONDS)


async def test_a_failure_behind_many_outcomes_is_sent_with_them(sidecar: Sidecar, reporting: Reporting) -> None:
    sidecar.there.set()
    for _ in range(350):
        reporting.add(GOOD)
    reporting.add(FAILED)

    await reporting.send_pressing(GENEROUS_SECONDS)

    assert not reporting.pressing
    assert sum(sidecar.batches) == 351
    await reporting.close(GENEROUS_SECONDS)


async def test_the_next_question_does_not_wait_for_a_second_try(sidecar: Sidecar, reporting: Reporting) -> None:
    reporting.add(FAILED)

    # Were it to wait for more than one try it would never end.
    await reporting.send_pressing(float("1e6"))

    assert reporting.pressing
    assert sidecar.tried.is_set()
    sidecar.there.set()
    await reporting.close(GENEROUS_SECONDS)


async def test_closing_counts_what_a_sidecar_that_is_away_did_not_get(sidecar: Sidecar, reporting: Reporting) -> None:
    del sidecar
    for _ in range(3):
        reporting.add(GOOD)

    await reporting.close(GENEROUS_SECONDS)

    assert reporting.dropped_count == 3


async def test_outcomes_after_a_flush_are_sent_too(sidecar: Sidecar, reporting: Reporting) -> None:
    sidecar.there.set()
    for _ in range(3):
        reporting.add(GOOD)
        assert await reporting.flush(GENEROUS_SECONDS)

    assert sidecar.batches == [1, 1, 1]
    await reporting.close(GENEROUS_SECONDS)


async def test_an_outcome_of_a_worker_thread_is_not_forgotten_by_flush(sidecar: Sidecar) -> None:
    sidecar.there.set()
    reporter = TaskReporter(sidecar.send_async, random.Random(1))
    await asyncio.to_thread(reporter.add, GOOD)

    assert await reporter.flush(GENEROUS_SECONDS)

    assert sidecar.batches == [1]


async def test_a_batch_whose_task_is_ended_is_sent_on_closing() -> None:
    under_way, sent = asyncio.Event(), list[int]()

    async def send(outcomes: Sequence[pb.Outcome]) -> pb.ReportOutcomeResponse:
        if not under_way.is_set():
            under_way.set()
            await asyncio.Event().wait()
        sent.append(len(outcomes))
        return pb.ReportOutcomeResponse()

    reporter = TaskReporter(send, random.Random(1))
    reporter.add(FAILED)
    await under_way.wait()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.sleep(0)

    await reporter.close(GENEROUS_SECONDS)

    assert sent == [1]
    assert (reporter.pressing, reporter.pending_count, reporter.dropped_count) == (False, 0, 0)


def test_an_outcome_waits_where_no_thread_can_be_had(sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    sidecar.there.set()
    reporter = ThreadReporter(sidecar.send, random.Random(1))

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        reporter.add(GOOD)

    assert reporter.flush(GENEROUS_SECONDS)
    assert sidecar.batches == [1]
    reporter.close(GENEROUS_SECONDS)


def test_a_client_that_nobody_closed_is_not_kept_by_its_thread(sidecar: Sidecar) -> None:
    sidecar.there.set()
    reporter = ThreadReporter(sidecar.send, random.Random(1), idle_seconds=0.01)
    for sent_count in (1, 2):
        reporter.add(GOOD)
        assert reporter.flush(GENEROUS_SECONDS)
        assert len(sidecar.batches) == sent_count
    forgotten = weakref.ref(reporter)
    del reporter

    deadline = time.monotonic() + GENEROUS_SECONDS
    while forgotten() is not None and time.monotonic() < deadline:
        time.sleep(0.01)
        gc.collect()
    assert forgotten() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_reports_its_own_outcomes_and_only_those(sidecar: Sidecar) -> None:
    read_end, write_end = os.pipe()
    reporter = ThreadReporter(sidecar.send, random.Random(1))
    reporter.add(FAILED)
    assert sidecar.tried.wait(GENEROUS_SECONDS)
    planner = Planner(caching=True, fallback=StaticOrder(), rng=random.Random(1))
    # A thread that the child does not have: nobody there may wait for its question.
    planner.start(pb.RouteRequest(), 0.0)

    with planner._lock, reporter._changed:  # as another thread of the parent might hold them
        child = os.fork()
    if child == 0:
        try:
            signal.alarm(60)
            sidecar.there.set()
            asking = planner.start(pb.RouteRequest(), 0.0)
            reporter.add(GOOD)
            asks = isinstance(asking, Asking) and asking.waits_for is None
            done = asks and reporter.flush(GENEROUS_SECONDS) and not reporter.pressing
            os.write(write_end, f"{done} {sidecar.batches}".encode())
        finally:
            os._exit(0)
    os.close(write_end)
    os.waitpid(child, 0)
    with os.fdopen(read_end) as told:
        assert told.read() == "True [1]"
    sidecar.there.set()
    assert reporter.flush(GENEROUS_SECONDS)
    assert sidecar.batches == [1]
    reporter.close(GENEROUS_SECONDS)
