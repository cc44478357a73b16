"""Streams pass a few at a time: others have their turn in every round of the loop, and nobody is overtaken."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.providers.turnstile import Turnstile

ROUNDS = 200
"""More than any test here needs."""


async def stream(turnstile: Turnstile, number: int, events: int, seen: list[int]) -> None:
    for _ in range(events):
        if not turnstile.passes():
            await turnstile.turn()
        seen.append(number)
        # Its next event comes in the next round at the earliest.
        await asyncio.sleep(0)


async def seen_by_round(turnstile: Turnstile, streams: int, events: int) -> list[list[int]]:
    """Lets so many streams have so many events each, all ready at once; returns who passed in each round."""
    seen: list[int] = []
    tasks = [asyncio.create_task(stream(turnstile, number, events, seen)) for number in range(streams)]
    rounds: list[list[int]] = []
    while not all(task.done() for task in tasks):
        before = len(seen)
        await asyncio.sleep(0)
        rounds.append(seen[before:])
        assert len(rounds) < ROUNDS * streams, "somebody waits for ever"
    return rounds


@given(at_once=st.integers(1, 9), streams=st.integers(1, 30), events=st.integers(1, 4))
def test_no_round_has_more_than_its_share_and_everybody_passes(at_once: int, streams: int, events: int) -> None:
    rounds = asyncio.run(seen_by_round(Turnstile(at_once), streams, events))

    assert max(map(len, rounds)) <= at_once
    assert [events] * streams == [sum(each.count(number) for each in rounds) for number in range(streams)]


@pytest.mark.parametrize("streams", [3, 200])
async def test_who_comes_first_passes_first_and_no_round_is_wasted(streams: int) -> None:
    rounds = [each for each in await seen_by_round(Turnstile(8), streams, 1) if each]

    assert list(range(streams)) == [number for each in rounds for number in each]
    assert all(len(each) == 8 for each in rounds[:-1])


async def test_new_arrivals_do_not_overtake_those_who_wait() -> None:
    turnstile = Turnstile(1)
    assert turnstile.passes()
    waiting = asyncio.create_task(turnstile.turn())
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    # The place of this round belongs to the one that waited.
    assert not turnstile.passes()
    await waiting


async def test_who_gives_up_takes_nobodys_place() -> None:
    turnstile = Turnstile(1)
    assert turnstile.passes()
    gone, stays = asyncio.create_task(turnstile.turn()), asyncio.create_task(turnstile.turn())
    await asyncio.sleep(0)
    gone.cancel()
    async with asyncio.timeout(60):
        await stays

    assert gone.cancelled()


async def test_nothing_is_left_to_do_when_nobody_passes() -> None:
    turnstile = Turnstile(2)
    assert turnstile.passes()
    for _ in range(3):
        await asyncio.sleep(0)
    count = 0

    def counted(*_arguments: object) -> None:
        nonlocal count
        count += 1

    loop = asyncio.get_running_loop()
    usual, loop.call_soon = loop.call_soon, counted  # type: ignore[method-assign,assignment]  # for a moment without awaits
    assert turnstile.passes()
    assert turnstile.passes()
    loop.call_soon = usual  # type: ignore[method-assign]  # as above

    # One for the round, however many pass in it.
    assert 1 == count
