"""Callers who never say the same twice, for long: every table keeps its bound while they fill them."""

from __future__ import annotations

import pytest

from tests.simulation.memory import BOUNDS, sizes
from tests.simulation.rules import all_broken
from tests.simulation.troubles import Spell, Trouble
from tests.simulation.world import BY_PRIORITY, Scenario, Traffic, born, live, target_of
from tests.virtual_time import run
from turnout_server.core.errors import AllTargetsUnavailableError
from turnout_server.core.model import Caller, FailureKind, Outcome, RequestProfile, RouteQuery, RoutingOptions, Usage
from turnout_server.core.settings import Settings

TARGETS = ("north/m-0", "north/m-1", "south/m")
SMALL = Settings(routing=BY_PRIORITY.routing, history_max_bytes=100_000)


def filled(calls: int) -> dict[str, int]:
    """Returns the sizes of all tables after so many plans and reports, each by a caller nobody has heard of."""

    async def main() -> dict[str, int]:
        world = await born(Scenario(targets=TARGETS, seconds=1.0, settings=SMALL), "1")
        (one,) = world.sidecars
        kinds = (None, FailureKind.QUOTA_EXHAUSTED, FailureKind.RATE_LIMITED, FailureKind.MODEL_NOT_FOUND)
        for number in range(calls):
            caller = Caller(tenant=f"tenant-{number}", user=f"user-{number}", labels={"team": f"team-{number}"})
            query = RouteQuery(
                profile=RequestProfile(task=f"task-{number}", input_tokens=number % 1000 + 1),
                options=RoutingOptions(exclude=(TARGETS[number % 2],), sticky_key=f"key-{number}"),
                caller=caller,
                request_id=f"request-{number}",
                session_id=f"session-{number}",
            )
            try:
                decision_id = one.router.deciding.route(query).decision_id
            except AllTargetsUnavailableError as error:
                # All the keys that were heard of lately are out.
                decision_id = error.decision_id
            outcome = Outcome(
                target=target_of(TARGETS[number % len(TARGETS)]),
                failure=kinds[number % len(kinds)],
                decision_id=decision_id,
                attempt_id=f"attempt-{number}",
                credential=f"label-{number}",
                reported=True,
                latency_seconds=0.5,
                usage=Usage(input_tokens=10, output_tokens=10),
                task=query.profile.task,
                caller=caller,
            )
            one.router.reports.take([outcome], [])
        assert [] == [line for line in all_broken(world) if line.startswith("memory")]
        return sizes(one)

    return run(main())


def test_tables_of_callers_words_keep_their_bounds() -> None:
    found = filled(500)

    assert found["Credentials._seen[]"] == BOUNDS["Credentials._seen[]"]
    assert found["Prepared._outputs"] == BOUNDS["Prepared._outputs"]


def test_history_keeps_its_bytes() -> None:
    scenario = Scenario(
        targets=TARGETS,
        seconds=80.0,
        settings=SMALL,
        spells=(Spell(trouble=Trouble.BROWN_OUT, start=0.0, end=200.0, where="north"),),
        traffic=Traffic(calls_per_second=4.0),
    )
    world = run(live(scenario, "1"))

    assert [] == all_broken(world)
    assert world.sidecars[0].router.state.history.size_bytes > SMALL.history_max_bytes / 2


@pytest.mark.full
@pytest.mark.timeout(600)
def test_tables_keep_their_bounds_when_all_of_them_are_full() -> None:
    found = filled(52_000)
    full = {path: found[path] for path, bound in BOUNDS.items() if bound and found.get(path) == bound}

    assert {
        "SeenKeys._known",
        "OutputLengths._known",
        "Outages._by_key",
        "Outages._by_model",
        "Credentials._seen[]",
        "Prepared._outputs",
    } <= full.keys()
