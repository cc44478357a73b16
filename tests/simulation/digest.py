"""Lives through the worlds of some seeds and writes what was decided as one word each, to compare processes by.

`python -m tests.simulation.digest SEED...`
"""

from __future__ import annotations

import sys

from tests.simulation.scenarios import scenario_of
from tests.simulation.world import live
from tests.virtual_time import run


def main(seeds: list[str]) -> None:
    """Writes one line for each seed: the seed, and the digest of every decision, attempt, event and answer."""
    for seed in seeds:
        world = run(live(scenario_of(seed), seed, deep=True))
        sys.stdout.write(f"{seed} {len(world.calls)} {world.digest}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
