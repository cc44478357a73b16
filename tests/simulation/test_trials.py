"""Trials that outlast their leases: however late they are told of, a half-open target gets one at a time.

A lease lapses so that somebody else may try. The end of the first still counts, and may open the breaker anew while the
second is out: that one has the slot until it ends or lapses, also after the open time.
"""

from __future__ import annotations

import pytest

from tests.simulation.rules import left_behind, not_ended_once_in_time
from tests.simulation.scenarios import scenario_of
from tests.simulation.troubles import Spell, Trouble
from tests.simulation.wishes import Mode
from tests.simulation.world import BY_PRIORITY, Scenario, Traffic, World, live
from tests.virtual_time import run
from turnout_server.core.events import EventName
from turnout_server.core.gate import Gate
from turnout_server.core.settings import BreakerSettings, FailoverSettings, Settings

SEEDS, LONG_SEEDS = 4, 400
PARTS = 10
ONE_TRIAL = "a half-open target gets one trial at a time"
TOLD_LATE = Scenario(
    targets=("north/m",),
    seconds=200.0,
    spells=(Spell(trouble=Trouble.BROWN_OUT, start=5.0, end=200.0, share=0.7),),
    # Most tell ten seconds later, or never; plans are leased for seven.
    traffic=Traffic(modes={Mode.ADVISED: 1.0}, silent_share=0.8, deadlines=(None,), output_limits=(1, 20, 300, 4000)),
    settings=Settings(
        routing=BY_PRIORITY.routing,
        failover=FailoverSettings(
            breaker=BreakerSettings(consecutive_failures=2, open_seconds=1.0, open_max_seconds=4.0),
            first_token_minimum_seconds=2.0,
            first_token_factor=1.0,
        ),
    ),
)
"""Half of the seeds have failures that are told of while another trial is out, and an open time shorter than that."""


def broken_in(world: World) -> list[str]:
    """Returns what was broken of all that holds however short the times are that calls get."""
    return [*world.broken, *not_ended_once_in_time(world), *left_behind(world)]


def test_trials_that_are_told_of_late_are_made_one_at_a_time() -> None:
    worlds = [run(live(TOLD_LATE, str(seed))) for seed in range(2)]
    events = [event.name for world in worlds for event in world.sidecars[0].watch.events]

    assert [[], []] == [broken_in(world) for world in worlds]
    assert events.count(EventName.PROBE_EXPIRED) > 10
    assert events.count(EventName.BREAKER_OPENED) > 10


def test_a_breaker_that_forgets_who_is_out_when_it_opens_anew_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    forget = Gate._forget_trials

    def forget_all(gate: Gate) -> None:
        gate._lease = None
        forget(gate)

    monkeypatch.setattr(Gate, "_forget_trials", forget_all)
    told = [line for seed in range(6) for line in run(live(TOLD_LATE, str(seed))).broken]

    assert ONE_TRIAL in "\n".join(told)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_rule_of_trials_holds_in_the_world_of_a_seed(seed: int) -> None:
    assert [] == broken_in(run(live(scenario_of(f"trials-{seed}"), f"trials-{seed}")))


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(PARTS))
def test_every_rule_of_trials_holds_in_hundreds_of_worlds(part: int) -> None:
    for seed in range(part, LONG_SEEDS, PARTS):
        assert [] == broken_in(run(live(scenario_of(f"trials-{seed}"), f"trials-{seed}"))), f"seed trials-{seed}"
