"""How long a plan's trial is kept for its holder: as long as plan and attempt may last, and not for ever."""

import pytest

from tests.unit.test_router import A, Desk
from turnout_server.core.model import RouteQuery


def test_trial_of_a_plan_is_leased_for_as_long_as_the_plan_and_its_attempt_may_last() -> None:
    desk = Desk()
    desk.open(A)
    first = desk.router.deciding.route(RouteQuery()).candidates[0]

    assert first.probe is not None
    assert first.probe.expires_at - desk.clock.now == pytest.approx(5.0 + first.attempt_timeout_seconds)


def test_trial_of_a_plan_that_nobody_reports_goes_to_the_next_plan() -> None:
    desk = Desk()
    desk.open(A)
    first = desk.router.deciding.route(RouteQuery()).candidates[0]

    assert first.probe is not None

    desk.clock.now = first.probe.expires_at
    second = desk.router.deciding.route(RouteQuery()).candidates[0]

    assert second.target == A
    assert second.probe is not None
    assert second.probe.probe_id != first.probe.probe_id
