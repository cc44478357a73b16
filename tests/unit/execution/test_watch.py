"""One timer for many waits ends each of them at its own limit, and no other."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.virtual_time import run, virtual_loop
from turnout_server.execution.watch import Watch


async def wait(watch: Watch, seconds: float, limit_seconds: float) -> bool:
    """Waits for something that takes so long; returns whether the limit came first."""
    watch.begin(limit_seconds)
    late = False
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        late = watch.end()
        if not late:
            raise
    else:
        assert not watch.end()
    return late


@given(waits=st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), max_size=12))
def test_every_wait_ends_when_it_is_over_or_at_its_limit(waits: list[tuple[int, int]]) -> None:
    async def main() -> None:
        watch = Watch()
        for seconds, limit_seconds in waits:
            if seconds == limit_seconds:
                # Whichever comes first.
                continue
            began_at = virtual_loop().time()

            assert (limit_seconds < seconds) == await wait(watch, seconds, limit_seconds)
            assert virtual_loop().time() - began_at == pytest.approx(min(seconds, limit_seconds))
        watch.close()

    run(main())


def test_many_waits_take_one_timer() -> None:
    async def main() -> int:
        watch, loop = Watch(), virtual_loop()
        timers = 0
        usual = loop.call_at

        def counted(*arguments: object, **named: object) -> asyncio.TimerHandle:
            nonlocal timers
            timers += 1
            return usual(*arguments, **named)  # type: ignore[arg-type]  # passed on

        for _ in range(1000):
            loop.call_at = counted  # type: ignore[method-assign]  # only for what the watch asks for
            watch.begin(20.0)
            loop.call_at = usual  # type: ignore[method-assign]  # as above
            await asyncio.sleep(0.001)
            assert not watch.end()
        watch.close()
        return timers

    assert 1 == run(main())


def test_somebody_elses_cancellation_stays_theirs() -> None:
    async def main() -> None:
        watch = Watch()
        waiting = asyncio.create_task(wait(watch, 100.0, 20.0))
        await asyncio.sleep(1.0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        watch.close()

    run(main())


def test_cancellation_in_the_same_moment_as_the_limit_is_not_swallowed() -> None:
    async def main() -> None:
        watch = Watch()
        waiting = asyncio.create_task(wait(watch, 100.0, 20.0))
        virtual_loop().call_at(20.0, waiting.cancel)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        watch.close()

    run(main())


def test_nothing_rings_between_waits_nor_after_the_last() -> None:
    async def main() -> None:
        watch = Watch()
        assert not await wait(watch, 1.0, 5.0)
        # Nobody waits when the timer rings.
        await asyncio.sleep(30.0)
        assert await wait(watch, 10.0, 5.0)
        assert not await wait(watch, 1.0, 5.0)
        watch.close()
        watch.close()
        await asyncio.sleep(30.0)

    run(main())
