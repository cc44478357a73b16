"""The next-hop rules, as tables."""

import dataclasses

import pytest

from turnout_server.core.failover import RULES, Situation, Step, next_steps
from turnout_server.core.model import SILENCE_FAILURES, FailureKind, Priority

K = FailureKind


def situation(failure: FailureKind, **changes: object) -> Situation:
    base = Situation(failure=failure, attempts_left=3, others_remain=True, waitable_seconds=60.0)
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]  # the tests name fields


def test_every_failure_kind_has_a_rule() -> None:
    assert set(FailureKind) == set(RULES)


@pytest.mark.parametrize(
    ("failure", "steps"),
    [
        (K.SERVER_ERROR, (Step.QUICK_RETRY, Step.NEXT_TARGET, Step.SAME_AGAIN)),
        (K.CONNECTION, (Step.QUICK_RETRY, Step.NEXT_TARGET, Step.SAME_AGAIN)),
        (K.OVERLOADED, (Step.NEXT_TARGET, Step.SAME_AGAIN)),
        (K.TRUNCATED, (Step.NEXT_TARGET, Step.SAME_AGAIN)),
        (K.PROTOCOL, (Step.NEXT_TARGET, Step.SAME_AGAIN)),
        (K.UNKNOWN, (Step.NEXT_TARGET, Step.SAME_AGAIN)),
        (K.TIMEOUT, (Step.NEXT_TARGET,)),
        (K.STALLED, (Step.NEXT_TARGET,)),
        (K.RATE_LIMITED, (Step.NEXT_CREDENTIAL, Step.NEXT_TARGET)),
        (K.AUTHENTICATION, (Step.NEXT_CREDENTIAL, Step.NEXT_TARGET)),
        (K.QUOTA_EXHAUSTED, (Step.NEXT_CREDENTIAL, Step.NEXT_TARGET)),
        (K.PERMISSION_DENIED, (Step.NEXT_CREDENTIAL, Step.NEXT_TARGET)),
        (K.MODEL_NOT_FOUND, (Step.NEXT_CREDENTIAL, Step.NEXT_TARGET)),
        (K.CONTEXT_LENGTH, (Step.LARGER_WINDOW,)),
        (K.CONTENT_FILTERED, ()),
        (K.INVALID_REQUEST, ()),
        (K.CANCELLED, ()),
    ],
)
def test_failure_is_followed_by_its_steps_in_order(failure: FailureKind, steps: tuple[Step, ...]) -> None:
    assert steps == next_steps(situation(failure))


@pytest.mark.parametrize("failure", FailureKind)
def test_nothing_follows_the_last_allowed_attempt(failure: FailureKind) -> None:
    assert next_steps(situation(failure, attempts_left=0)) == ()


def test_quick_retry_is_made_once_per_target() -> None:
    assert Step.QUICK_RETRY not in next_steps(situation(K.SERVER_ERROR, quick_retry_used=True))


def test_last_attempt_goes_to_an_untried_target_rather_than_into_a_quick_retry() -> None:
    assert next_steps(situation(K.CONNECTION, attempts_left=1))[0] is Step.NEXT_TARGET
    assert next_steps(situation(K.CONNECTION, attempts_left=1, others_remain=False))[0] is Step.QUICK_RETRY


@pytest.mark.parametrize("failure", [K.RATE_LIMITED, K.AUTHENTICATION, K.QUOTA_EXHAUSTED])
def test_last_attempt_goes_to_an_untried_target_rather_than_to_another_key(failure: FailureKind) -> None:
    assert next_steps(situation(failure, attempts_left=2))[0] is Step.NEXT_CREDENTIAL
    assert next_steps(situation(failure, attempts_left=1)) == (Step.NEXT_TARGET,)
    assert Step.NEXT_CREDENTIAL in next_steps(situation(failure, attempts_left=1, others_remain=False))
    assert next_steps(situation(failure, attempts_left=1, failover_allowed=False)) == (Step.NEXT_CREDENTIAL,)


@pytest.mark.parametrize("failure", sorted(SILENCE_FAILURES))
def test_silent_target_is_never_tried_again(failure: FailureKind) -> None:
    steps = next_steps(situation(failure, cool_down_seconds=1.0, wait_for_preferred_seconds=10.0))

    assert set(steps) <= {Step.NEXT_TARGET, Step.LARGER_WINDOW}


@pytest.mark.parametrize("failure", FailureKind)
def test_after_content_was_delivered_only_another_target_begins_anew(failure: FailureKind) -> None:
    steps = next_steps(situation(failure, delivered=True, cool_down_seconds=1.0, wait_for_preferred_seconds=10.0))

    assert set(steps) <= {Step.NEXT_TARGET, Step.LARGER_WINDOW}


@pytest.mark.parametrize("failure", FailureKind)
def test_caller_who_allows_no_fallback_is_never_moved_to_another_target(failure: FailureKind) -> None:
    steps = next_steps(situation(failure, failover_allowed=False))

    assert not {Step.NEXT_TARGET, Step.LARGER_WINDOW} & set(steps)


def test_refused_content_goes_to_the_next_target_only_where_the_policy_says_so() -> None:
    assert next_steps(situation(K.CONTENT_FILTERED, failover_on_refusal=True)) == (Step.NEXT_TARGET,)


@pytest.mark.parametrize(
    ("priority", "waits"),
    [(Priority.LOW, True), (Priority.NORMAL, True), (Priority.HIGH, False), (Priority.CRITICAL, False)],
)
def test_low_and_normal_calls_wait_for_the_preferred_target_where_the_policy_says_so(
    priority: Priority,
    waits: bool,  # noqa: FBT001  # a table's column
) -> None:
    steps = next_steps(
        situation(K.RATE_LIMITED, priority=priority, wait_for_preferred_seconds=5.0, cool_down_seconds=4.0)
    )

    assert waits is (steps[0] is Step.WAIT_FOR_PREFERRED)


@pytest.mark.parametrize(
    "changes",
    [
        {"wait_for_preferred_seconds": 0.0},
        {"cool_down_seconds": 6.0},
        {"cool_down_seconds": None},
        {"waitable_seconds": 3.0},
        {"another_waits": True},
    ],
)
def test_preferred_target_is_not_waited_for_beyond_patience_time_or_one_waiter(changes: dict[str, object]) -> None:
    patient = {"wait_for_preferred_seconds": 5.0, "cool_down_seconds": 4.0}

    assert Step.WAIT_FOR_PREFERRED not in next_steps(situation(K.RATE_LIMITED, **(patient | changes)))


def test_only_target_is_waited_for_when_the_deadline_allows() -> None:
    assert next_steps(situation(K.RATE_LIMITED, cool_down_seconds=30.0))[-1] is Step.WAIT


@pytest.mark.parametrize("changes", [{"cool_down_seconds": None}, {"waitable_seconds": 29.0}, {"another_waits": True}])
def test_only_target_is_not_waited_for_beyond_the_deadline_or_by_a_second_call(changes: dict[str, object]) -> None:
    assert Step.WAIT not in next_steps(situation(K.RATE_LIMITED, **({"cool_down_seconds": 30.0} | changes)))


def test_high_priority_calls_too_wait_for_the_only_target() -> None:
    steps = next_steps(situation(K.RATE_LIMITED, cool_down_seconds=3.0, priority=Priority.CRITICAL))

    assert Step.WAIT in steps
