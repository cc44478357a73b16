"""When a call is made again, and how long after."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout import rpcs
from turnout.errors import (
    AllAttemptsRefusedError,
    AllTargetsUnavailableError,
    AttemptsExhaustedError,
    DrainingError,
    ErrorDetails,
    SidecarOverloadedError,
    StreamInterruptedError,
    TurnoutError,
    UnauthenticatedError,
    UnreachableError,
)
from turnout.retrying import RetryClass, Tries


def tries(retry_class: RetryClass = RetryClass.EXECUTE, *, deadline: float = 600, seed: int = 1) -> Tries:
    return Tries(retry_class=retry_class, deadline=deadline, max_retry_count=3, rng=random.Random(seed))


def error(
    kind: type[TurnoutError], retry_after_seconds: float | None = None, *, forbidden: bool = False
) -> TurnoutError:
    return kind("x", ErrorDetails(retry_after_seconds=retry_after_seconds, retry_forbidden=forbidden))


@pytest.mark.parametrize(
    ("retry_class", "allowed"),
    [
        (
            RetryClass.EXECUTE,
            {AllTargetsUnavailableError, AllAttemptsRefusedError, SidecarOverloadedError, DrainingError},
        ),
        (RetryClass.IDEMPOTENT, {UnreachableError, SidecarOverloadedError, DrainingError}),
        (RetryClass.NEVER, set()),
    ],
)
def test_only_the_contracts_errors_are_followed_by_another_try(
    retry_class: RetryClass, allowed: set[type[TurnoutError]]
) -> None:
    kinds = [
        AllAttemptsRefusedError,
        AllTargetsUnavailableError,
        AttemptsExhaustedError,
        DrainingError,
        SidecarOverloadedError,
        StreamInterruptedError,
        UnreachableError,
    ]

    retried = {kind for kind in kinds if tries(retry_class).wait_after(error(kind), 0) is not None}

    assert retried == allowed


def test_a_forbidden_retry_is_not_made() -> None:
    assert tries().wait_after(error(DrainingError, 1, forbidden=True), 0) is None


@given(asked=st.floats(0, 100), seed=st.integers())
def test_what_the_sidecar_asked_for_is_the_least(asked: float, seed: int) -> None:
    wait = tries(seed=seed).wait_after(error(DrainingError, asked), 0)

    assert wait is not None
    assert asked <= wait <= asked * 1.2 + 1e-9


@given(seed=st.integers())
def test_unasked_waits_stay_below_their_doubling_bound(seed: int) -> None:
    call = tries(seed=seed)

    waits = [call.wait_after(error(DrainingError), 0) for _ in range(3)]

    for wait, bound in zip(waits, (0.1, 0.2, 0.4), strict=True):
        assert wait is not None
        assert 0 <= wait <= bound


def test_tries_are_bounded() -> None:
    call = tries()

    waits = [call.wait_after(error(DrainingError), 0) for _ in range(5)]

    assert [wait is None for wait in waits] == [False, False, False, True, True]


def test_a_wait_that_uses_up_the_deadline_is_not_begun() -> None:
    assert tries(deadline=10).wait_after(error(DrainingError, 2), 8.5) is None


def test_a_call_without_deadline_has_no_timeout() -> None:
    assert tries(deadline=math.inf).remaining_seconds(5) is None


def test_what_is_left_is_never_zero() -> None:
    assert tries(deadline=5).remaining_seconds(6) == 0.001


@pytest.mark.parametrize("timeout_seconds", [0, -1, math.nan])
def test_a_timeout_that_is_not_positive_is_refused(timeout_seconds: float) -> None:
    with pytest.raises(ValueError, match="timeout_seconds"):
        rpcs.ROUTE.tries(0, timeout_seconds=timeout_seconds, max_retry_count=3, rng=random.Random(1))


def test_a_replaced_token_is_one_more_try_however_often_it_is_replaced_and_counts_as_none() -> None:
    of_call = tries(RetryClass.NEVER)
    of_call.renewed = lambda: True
    refused = error(UnauthenticatedError)

    assert [of_call.wait_after(refused, 0), of_call.wait_after(refused, 0)] == [0, None]
    assert of_call.made_count == 0
    assert tries().wait_after(refused, 0) is None
