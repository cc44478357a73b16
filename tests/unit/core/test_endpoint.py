"""The breaker of a whole endpoint: models that fail together, and machines that cannot be reached."""

from __future__ import annotations

import random

import pytest

from turnout_server.core.endpoint import EndpointBreaker
from turnout_server.core.gate import Change
from turnout_server.core.model import BreakerState, FailureKind
from turnout_server.core.settings import BreakerSettings, HealthSettings

T = 1000.0
ERROR, CONNECTION = FailureKind.SERVER_ERROR, FailureKind.CONNECTION


def endpoint() -> EndpointBreaker:
    return EndpointBreaker(BreakerSettings(open_jitter=0.0), HealthSettings(), random.Random(1))


def test_three_failures_across_two_models_open() -> None:
    gate = endpoint()
    changes = [gate.record_failure(ERROR, model, T) for model in ("a", "a", "b")]

    assert changes == [Change.NONE, Change.NONE, Change.OPENED]
    assert gate.state(T) is BreakerState.OPEN
    assert gate.reopen_at == T + 5.0


def test_three_failures_of_one_model_do_not_open() -> None:
    gate = endpoint()
    for _ in range(10):
        gate.record_failure(ERROR, "a", T)

    assert gate.closed


def test_two_failures_of_two_models_do_not_open() -> None:
    gate = endpoint()
    gate.record_failure(ERROR, "a", T)
    gate.record_failure(ERROR, "b", T)

    assert gate.closed


def test_success_between_starts_the_count_anew() -> None:
    gate = endpoint()
    gate.record_failure(ERROR, "a", T)
    gate.record_failure(ERROR, "b", T)
    gate.record_success(T)
    gate.record_failure(ERROR, "c", T)
    gate.record_failure(CONNECTION, "c", T)

    assert gate.closed


def test_three_connection_failures_open_whatever_the_model() -> None:
    gate = endpoint()
    changes = [gate.record_failure(CONNECTION, "a", T) for _ in range(3)]

    assert changes == [Change.NONE, Change.NONE, Change.OPENED]


def test_eight_dark_models_cost_at_most_four_attempts_after_the_first_failure_is_known() -> None:
    gate = endpoint()
    attempts = 0
    for model in "abcdefgh":
        if not gate.admits(T):
            break
        gate.record_failure(ERROR, model, T)
        attempts += 1

    assert attempts <= 4
    assert not gate.admits(T)


def test_failures_older_than_five_minutes_do_not_count() -> None:
    gate = endpoint()
    gate.record_failure(ERROR, "a", T)
    gate.record_failure(ERROR, "b", T + 1.0)
    gate.record_failure(ERROR, "c", T + 300.5)

    assert gate.closed


def test_half_open_endpoint_has_one_trial_for_all_its_models() -> None:
    gate = endpoint()
    for model in "abc":
        gate.record_failure(ERROR, model, T)
    probe = gate.lease(now=T + 5.0, lease_seconds=10.0, probe_id="p")

    assert probe is not None
    assert gate.lease(now=T + 6.0, lease_seconds=10.0, probe_id="q") is None
    assert not gate.admits(T + 6.0)


def test_two_successful_trials_close_and_forget() -> None:
    gate = endpoint()
    for model in "abc":
        gate.record_failure(ERROR, model, T)
    changes = []
    for probe_id in "pq":
        gate.lease(now=T + 5.0, lease_seconds=10.0, probe_id=probe_id)
        changes.append(gate.record_success(T + 6.0, probe_id=probe_id))

    assert changes == [Change.NONE, Change.CLOSED]

    gate.record_failure(ERROR, "d", T + 7.0)

    assert gate.closed


def test_failed_trial_opens_for_twice_as_long() -> None:
    gate = endpoint()
    for model in "abc":
        gate.record_failure(ERROR, model, T)
    gate.lease(now=T + 5.0, lease_seconds=10.0, probe_id="p")

    assert gate.record_failure(ERROR, "a", T + 6.0, probe_id="p") is Change.OPENED
    assert gate.reopen_at == T + 16.0


def test_success_without_a_trial_does_not_close() -> None:
    gate = endpoint()
    for model in "abc":
        gate.record_failure(ERROR, model, T)
    for _ in range(5):
        gate.record_success(T + 6.0)

    assert not gate.closed


def test_forgiven_connection_failures_close_what_only_they_opened() -> None:
    gate = endpoint()
    for _ in range(3):
        gate.record_failure(CONNECTION, "a", T)

    assert gate.forgive_connections(T - 5.0) is Change.CLOSED
    assert gate.closed

    gate.record_failure(CONNECTION, "a", T + 1.0)

    assert gate.closed


@pytest.mark.parametrize("since", [T - 5.0, T + 1.0])
def test_what_other_failures_opened_stays_open(since: float) -> None:
    gate = endpoint()
    for model in "abc":
        gate.record_failure(ERROR if since < T else CONNECTION, model, T)

    assert gate.forgive_connections(since) is Change.NONE
    assert not gate.closed


# In doubt.


def test_one_failure_to_connect_puts_it_in_doubt_for_five_seconds() -> None:
    gate = endpoint()
    before = gate.in_doubt(T)
    gate.record_failure(CONNECTION, "a", T)

    assert (before, gate.in_doubt(T), gate.in_doubt(T + 4.9), gate.in_doubt(T + 5.0)) == (False, True, True, False)
    assert gate.closed


def test_other_failures_put_it_in_no_doubt() -> None:
    gate = endpoint()
    gate.record_failure(ERROR, "a", T)

    assert not gate.in_doubt(T)


def test_answer_that_was_asked_for_after_the_failure_ends_the_doubt() -> None:
    gate = endpoint()
    gate.record_failure(CONNECTION, "a", T)
    gate.record_success(T + 2.0, began_at=T + 0.1)

    assert not gate.doubted
    assert gate.connection_failures == 0


def test_stream_from_before_that_ends_well_says_nothing_about_connecting_now() -> None:
    gate = endpoint()
    gate.record_failure(ERROR, "a", T - 1.0)
    gate.record_failure(CONNECTION, "a", T)
    gate.record_success(T + 2.0, began_at=T - 8.0)

    assert gate.in_doubt(T + 2.0)
    assert gate.connection_failures == 1

    changes = [gate.record_failure(CONNECTION, "a", T + 2.0) for _ in range(2)]

    assert changes == [Change.NONE, Change.OPENED]


def test_sign_of_life_ends_the_doubt_before_the_answer_is_complete() -> None:
    gate = endpoint()
    gate.record_failure(ERROR, "b", T)
    gate.record_failure(CONNECTION, "a", T)
    gate.connected(T - 1.0)
    still = gate.in_doubt(T + 1.0)
    gate.connected(T + 0.1)

    assert still
    assert not gate.doubted

    # Only whole answers count against other failures.
    gate.record_failure(ERROR, "a", T + 1.0)

    assert gate.record_failure(ERROR, "a", T + 1.0) is Change.OPENED


def test_forgiven_failure_to_connect_leaves_no_doubt() -> None:
    gate = endpoint()
    gate.record_failure(CONNECTION, "a", T)
    gate.forgive_connections(T - 5.0)

    assert not gate.doubted


def test_open_endpoint_is_not_in_doubt_but_open() -> None:
    gate = endpoint()
    for _ in range(3):
        gate.record_failure(CONNECTION, "a", T)

    assert not gate.doubted


def test_what_a_look_said_holds_until_something_connects() -> None:
    by_answer, by_connection = endpoint(), endpoint()
    for gate in (by_answer, by_connection):
        gate.unreachable = "refused"
        gate.record_failure(CONNECTION, "a", T)

        assert gate.unreachable == "refused"

    by_answer.record_success(T + 1.0)
    by_connection.connected(T + 1.0)

    assert (by_answer.unreachable, by_connection.unreachable) == ("", "")
