"""An order of regions in a failover: one vendor's failure is its own, two are the region's, the last one leaves it."""

from __future__ import annotations

import pytest

from tests.unit.execution.scripted import World, answer, asking, chat, fail, spec
from tests.virtual_time import in_virtual_time
from turnout_server.core.model import FailureKind
from turnout_server.core.settings import FailoverSettings

K = FailureKind
PLACES = {"a/m": "eu", "b/m": "eu", "c/m": "eu", "d/m": "us"}


def world(failing: str, max_attempts: int) -> World:
    """Three vendors in eu and one in us; those named fail."""
    return World(
        {
            spec(name, region=region): [[fail(K.OVERLOADED)]] if name[0] in failing else [answer("fine")]
            for name, region in PLACES.items()
        },
        failover=FailoverSettings(max_attempts=max_attempts),
    )


@pytest.mark.parametrize(
    ("failing", "max_attempts", "regions", "order"),
    [
        ("a", 4, ("eu", "us"), ["a/m", "b/m"]),
        # Two vendors in one region are the region.
        ("ab", 4, ("eu", "us"), ["a/m", "b/m", "d/m"]),
        ("abd", 4, ("eu", "us"), ["a/m", "b/m", "d/m", "c/m"]),
        # The last attempt is worth more elsewhere.
        ("ab", 2, ("eu", "us"), ["a/m", "d/m"]),
        ("a", 2, ("eu", "us"), ["a/m", "d/m"]),
        # Without an order any region is as good as another.
        ("a", 4, (), ["a/m", "d/m"]),
        # A limit holds whatever fails.
        ("ab", 4, ("eu",), ["a/m", "b/m", "c/m"]),
    ],
)
@in_virtual_time
async def test_call_stays_in_the_preferred_region_until_two_vendors_failed_there_or_one_attempt_is_left(
    failing: str, max_attempts: int, regions: tuple[str, ...], order: list[str]
) -> None:
    here = world(failing, max_attempts)
    await here.executor.execute(asking(regions=regions), chat())

    assert order == here.names()
