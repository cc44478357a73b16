"""The clock that jumps: what simulations and loop tests stand on."""

import asyncio
import time

import pytest

from tests.virtual_time import DeadlockError, TimeLimitError, in_virtual_time, run, virtual_loop


def test_long_sleep_takes_no_real_time_and_exactly_the_virtual_time_asked_for() -> None:
    async def main() -> float:
        await asyncio.sleep(180.1)
        return virtual_loop().time()

    began = time.perf_counter()
    slept = run(main())

    assert slept == 180.1
    assert time.perf_counter() - began < 60.0


def test_timers_fire_in_the_order_of_their_times_and_at_their_times() -> None:
    async def main() -> list[tuple[str, float]]:
        seen: list[tuple[str, float]] = []

        async def wait(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            seen.append((name, virtual_loop().time()))

        await asyncio.gather(wait("c", 3.0), wait("a", 1.0), wait("b", 2.0))
        return seen

    assert [("a", 1.0), ("b", 2.0), ("c", 3.0)] == run(main())


def test_two_runs_of_the_same_program_are_the_same() -> None:
    async def main() -> list[tuple[int, float]]:
        seen: list[tuple[int, float]] = []

        async def worker(number: int) -> None:
            for step in range(5):
                await asyncio.sleep((number * 7 + step * 3) % 5 / 10)
                seen.append((number, virtual_loop().time()))

        await asyncio.gather(*(worker(number) for number in range(20)))
        return seen

    assert run(main()) == run(main())


def test_waiting_for_nothing_is_reported_as_a_deadlock() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(DeadlockError, match="nothing is ready"):
        run(main())


def test_endless_timers_end_at_the_limit() -> None:
    async def main() -> None:
        while True:  # noqa: ASYNC110  # the timers are the point
            await asyncio.sleep(60)

    with pytest.raises(TimeLimitError, match="passed 3600 s"):
        run(main(), advance_limit_seconds=3600)


def test_failure_of_a_task_that_nobody_awaits_is_raised() -> None:
    async def main() -> None:
        async def fail() -> None:
            raise ValueError("lost")

        task = asyncio.create_task(fail())
        await asyncio.sleep(1)
        del task

    with pytest.raises(AssertionError, match="never retrieved"):
        run(main())


def test_threads_are_refused() -> None:
    async def main() -> None:
        await asyncio.to_thread(time.time)

    with pytest.raises(NotImplementedError, match="no threads"):
        run(main())


@in_virtual_time
async def test_timeout_and_cancellation_work_as_in_real_time() -> None:
    cancelled_at = None
    try:
        async with asyncio.timeout(5):
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                cancelled_at = virtual_loop().clock()
                raise
    except TimeoutError:
        pass

    assert cancelled_at == 5.0
    assert virtual_loop().wall() - virtual_loop().clock() == 1_800_000_000.0
