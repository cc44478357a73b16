"""Eight models behind one address that goes away: how many attempts it takes to leave all of them alone."""

import pytest

from tests.simulation.rules import all_broken
from tests.simulation.troubles import Spell, Trouble
from tests.simulation.world import Scenario, Traffic, live
from tests.virtual_time import WALL_EPOCH, run

EIGHT = tuple(f"north/model-{n}" for n in range(8))


@pytest.mark.parametrize("trouble", [Trouble.DARK, Trouble.BLACK_HOLE])
@pytest.mark.parametrize("calls_per_second", [0.5, 5.0, 40.0])
def test_eight_models_that_cannot_be_reached_cost_at_most_four_attempts_once_the_first_failure_is_known(
    trouble: Trouble, calls_per_second: float
) -> None:
    world = run(
        live(
            Scenario(
                targets=(*EIGHT, "south/m"),
                # Streams from before go on meanwhile, and end well.
                seconds=6.0 + 8.0 / calls_per_second,
                spells=(Spell(trouble=trouble, start=2.0, end=1e9, where="north"),),
                traffic=Traffic(calls_per_second=calls_per_second, deadlines=(None,)),
                sidecar_count=2,
            ),
            "1",
        )
    )
    after = []
    for each in world.sidecars:
        ended = [a.started_at_wall - WALL_EPOCH + (a.latency_seconds or 0.0) for a in each.watch.attempts if a.failure]
        known_at = min(ended, default=world.scenario.seconds)
        late = [begun for begun in each.watch.begun if begun.target.startswith("north") and begun.at > known_at]
        after.append(len([begun for begun in late if begun.closed]))

    assert [] == all_broken(world)
    assert max(after) <= 4
