"""What an operator changed, after the process has died: a reset is not undone by it, a drain is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.state.test_keeper import Sidecar, ended
from turnout_server.core.drains import Drained
from turnout_server.core.model import BreakerState, FailureKind


def tell(sidecar: Sidecar) -> None:
    for event in sidecar.desk.events[sidecar._told :]:
        sidecar.keeper.on_event(event)
    sidecar._told = len(sidecar.desk.events)


def blocked(sidecar: Sidecar) -> bool:
    state = sidecar.desk.router.state
    verdict = state.credentials.verdict(state.fleet.specs[0], tenant="", executing=True, now=sidecar.desk.now)
    return verdict.reason is not None


@pytest.mark.parametrize(("kind", "count"), [(FailureKind.SERVER_ERROR, 3), (FailureKind.QUOTA_EXHAUSTED, 1)])
async def test_what_was_reset_after_the_last_snapshot_stays_reset(
    tmp_path: Path, kind: FailureKind, count: int
) -> None:
    path = str(tmp_path / "state")
    first = Sidecar(path)
    first.keeper.start()
    first.fail(kind, count)
    held = (first.breaker, blocked(first))
    await first.keeper.snapshot()
    first.desk.router.administration.reset_health([0], by="me")
    tell(first)
    await first.keeper.flush()
    await ended(first)
    second = Sidecar(path)
    second.desk.now = first.desk.now
    second.keeper.start()

    assert held in {(BreakerState.OPEN, False), (BreakerState.CLOSED, True)}
    assert (second.breaker, blocked(second)) == (BreakerState.CLOSED, False)

    await second.keeper.aclose()


async def test_what_was_drained_is_not_drained_after_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "state")
    first = Sidecar(path)
    first.keeper.start()
    first.desk.router.administration.change_drains("a", Drained(whole=True, targets=frozenset()), by="me")
    tell(first)
    await first.keeper.aclose()
    second = Sidecar(path)
    second.keeper.start()

    assert [target.drained for target in first.desk.router.state.targets] == [True, False]
    assert [target.drained for target in second.desk.router.state.targets] == [False, False]

    await second.keeper.aclose()
