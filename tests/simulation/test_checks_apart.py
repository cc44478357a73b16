"""A thousand sidecars that lose a provider in the same second do not check it together."""

from __future__ import annotations

import random
from collections import Counter

from turnout_server.core.checks import Phases

SIDECARS = 1000
INTERVAL_SECONDS = 30
OUTAGE_SECONDS = 300
ENDPOINT = ("provider", "")


def checks_by_second(*, jittered: bool = True) -> Counter[int]:
    """How many sidecars check in each second of an outage; each looks once a second, at its own moment within it."""
    checks: Counter[int] = Counter()
    for number in range(SIDECARS):
        rng = random.Random(number)
        # Without a phase of its own each would go by the time since the outage, which is the same for all.
        phases = Phases(rng if jittered else random.Random(0))
        started = 1000.0 + (rng.random() if jittered else 0.0)
        for second in range(OUTAGE_SECONDS):
            since = started + second
            if phases.due(ENDPOINT, since=since, now=since + 1.0, interval_seconds=INTERVAL_SECONDS):
                checks[second] += 1
    return checks


def test_thousand_sidecars_check_one_endpoint_at_moments_spread_over_the_interval() -> None:
    checks = checks_by_second()
    fair = SIDECARS / INTERVAL_SECONDS

    # 33 a second on the average: no second has twice as many, and none is left out.
    assert max(checks.values()) <= 2 * fair
    assert min(checks[second] for second in range(OUTAGE_SECONDS)) >= fair / 2
    assert sum(checks.values()) == SIDECARS * OUTAGE_SECONDS // INTERVAL_SECONDS


def test_without_phases_of_their_own_all_would_check_in_one_second() -> None:
    assert max(checks_by_second(jittered=False).values()) == SIDECARS


def test_an_outage_that_just_began_is_not_checked_by_many_at_once() -> None:
    checks = checks_by_second()

    assert sum(checks[second] for second in range(3)) <= 0.15 * SIDECARS
