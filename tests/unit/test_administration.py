"""Changes of a running router: what of a moment before they reach, and how they are told."""

from __future__ import annotations

import pytest

from tests.unit.execution.scripted import spec
from tests.unit.test_router import EXECUTING, A, Desk
from turnout_server.core.drains import Drained
from turnout_server.core.errors import StaleEtagError, UnknownProviderError
from turnout_server.core.events import EventName
from turnout_server.core.fleet import Fleet
from turnout_server.core.model import FailureKind
from turnout_server.core.settings import Settings
from turnout_server.use_cases.administration import NAMES_TOLD

NOTHING = Drained(whole=False, targets=frozenset())
WHOLE = Drained(whole=True, targets=frozenset())


def test_a_call_from_before_a_reload_calls_no_former_address_of_what_is_drained_now() -> None:
    desk = Desk()
    under, decision = desk.router.configured.in_force, desk.router.deciding.for_call(EXECUTING)
    former = desk.router.configured.fleet.specs[0]
    desk.router.adopt(Fleet((spec("a/m", base_url="https://elsewhere.example"), spec("b/m"))), Settings())
    before = desk.router.attempts.begin(former, decision, EXECUTING, call_id="one", lease_seconds=1.0, under=under)
    desk.router.administration.change_drains("a", Drained(whole=False, targets=frozenset({A})), by="me")
    after = desk.router.attempts.begin(former, decision, EXECUTING, call_id="two", lease_seconds=1.0, under=under)

    assert before is not None
    assert after is None


def test_nothing_is_changed_where_something_is_wrong() -> None:
    desk = Desk()
    administration = desk.router.administration
    with pytest.raises(UnknownProviderError, match="the providers are: a, b"):
        administration.change_drains("c", WHOLE, by="me")
    with pytest.raises(StaleEtagError):
        administration.change_drains("a", WHOLE, etag="another", by="me")

    assert administration.provider("a").drained == NOTHING
    assert desk.events == []


def test_a_reload_makes_an_etag_from_before_stale_where_it_changed_the_provider() -> None:
    desk = Desk()
    administration = desk.router.administration
    etags = [administration.provider(name).etag for name in ("a", "b")]
    desk.router.adopt(Fleet((spec("a/m", quality=1.0), spec("b/m"))), Settings())

    with pytest.raises(StaleEtagError):
        administration.change_drains("a", WHOLE, etag=etags[0], by="me")
    assert administration.change_drains("b", WHOLE, etag=etags[1], by="me").drained == WHOLE


def test_a_reset_that_closes_is_told_as_a_recovery_and_then_as_what_it_was() -> None:
    desk = Desk()
    desk.open(A)
    told = len(desk.events)
    desk.router.administration.reset_health([0, 1], by="me")

    names = [event.name for event in desk.events[told:]]
    assert names[-1] is EventName.HEALTH_RESET
    assert EventName.BREAKER_CLOSED in names
    assert EventName.RECOVERED in names
    recovered = next(event for event in desk.events[told:] if event.name is EventName.RECOVERED)
    assert recovered.fields["reason"] == "health.reset"
    assert desk.events[-1].fields == {"by": "me", "what": "a/m, b/m", "target_count": 2}


def test_an_event_names_twenty_targets_and_counts_all() -> None:
    desk = Desk(*(spec(f"a/m{number:02}") for number in range(25)))
    desk.router.administration.reset_health(range(25), by="me")
    (event,) = desk.events

    assert event.provider == "a"
    assert event.fields["target_count"] == 25
    assert str(event.fields["what"]).endswith(f"a/m{NAMES_TOLD - 1} and 5 more")


def test_a_lease_that_is_over_is_told_before_the_reset_that_would_hide_it() -> None:
    desk = Desk(spec("a/m"))
    desk.open(A)
    assert desk.router.attempts.begin_probe(A, lease_seconds=1.0) is not None
    desk.clock.now += 60.0
    desk.router.administration.reset_health([0], by="me")

    names = [event.name for event in desk.events]
    assert names.index(EventName.PROBE_EXPIRED) < names.index(EventName.HEALTH_RESET)


def test_a_failure_of_a_call_from_before_a_reset_counts_as_one_of_now() -> None:
    desk = Desk(spec("a/m"))
    decision_id = desk.plan_id()
    desk.router.administration.reset_health([0], by="me")
    desk.report(A, FailureKind.SERVER_ERROR, decision_id=decision_id)

    assert desk.router.state.targets[0].breaker.consecutive_failures == 1
