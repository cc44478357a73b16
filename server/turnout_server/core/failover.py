"""What comes after a failed attempt: the next-hop rules, one row per failure kind, and what forbids a step of a row.

A rule is an ordered tuple of steps. The shell takes the first one that can be carried out; without any the call fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from turnout_server.core.model import FailureKind, Priority


class Step(StrEnum):
    """One way to go on."""

    QUICK_RETRY = "quick retry"
    """The same target after 50 to 200 ms, once per target; from the retry budget."""
    WAIT_FOR_PREFERRED = "wait for the preferred target"
    """The same target when its cool-down ends, although others could be asked; one waiter per target."""
    NEXT_CREDENTIAL = "next credential"
    """The same target with another of our keys."""
    NEXT_TARGET = "next target"
    """The best one not tried yet, another provider before another model of the same."""
    LARGER_WINDOW = "larger window"
    """The best one not tried yet whose context window is larger than the one that was too small."""
    WAIT = "wait for the only target"
    """The same target when its cool-down ends, since there is no other; one waiter per target."""
    SAME_AGAIN = "same target again"
    """A target that failed before, after a back-off, since there is no other; from the retry budget."""


_NEXT = (Step.NEXT_TARGET, Step.SAME_AGAIN)
_QUICK = (Step.QUICK_RETRY, *_NEXT)
_CREDENTIAL = (Step.NEXT_CREDENTIAL, Step.NEXT_TARGET)

RULES: Mapping[FailureKind, tuple[Step, ...]] = MappingProxyType(
    {
        FailureKind.SERVER_ERROR: _QUICK,
        FailureKind.CONNECTION: _QUICK,
        FailureKind.OVERLOADED: _NEXT,
        FailureKind.TRUNCATED: _NEXT,
        FailureKind.PROTOCOL: _NEXT,
        FailureKind.UNKNOWN: _NEXT,
        FailureKind.TIMEOUT: (Step.NEXT_TARGET,),
        FailureKind.STALLED: (Step.NEXT_TARGET,),
        FailureKind.RATE_LIMITED: (Step.WAIT_FOR_PREFERRED, *_CREDENTIAL, Step.WAIT),
        FailureKind.AUTHENTICATION: _CREDENTIAL,
        FailureKind.QUOTA_EXHAUSTED: _CREDENTIAL,
        FailureKind.PERMISSION_DENIED: _CREDENTIAL,
        FailureKind.MODEL_NOT_FOUND: _CREDENTIAL,
        FailureKind.CONTEXT_LENGTH: (Step.LARGER_WINDOW,),
        FailureKind.CONTENT_FILTERED: (Step.NEXT_TARGET,),
        FailureKind.INVALID_REQUEST: (),
        FailureKind.CANCELLED: (),
    }
)

OTHER_TARGET = frozenset({Step.NEXT_TARGET, Step.LARGER_WINDOW})
"""The steps that leave the target that failed."""

_PATIENT = frozenset({Priority.LOW, Priority.NORMAL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Where a call stands after a failed attempt.

    `attempts_left` counts what `max_attempts` still allows. `others_remain`: an untried target could be asked.
    `delivered`: the caller has seen content, so that only another target can begin the answer anew.
    `cool_down_seconds` until the target's keys can be used again, None where they do not cool.
    """

    failure: FailureKind
    attempts_left: int
    others_remain: bool
    quick_retry_used: bool = False
    delivered: bool = False
    failover_allowed: bool = True
    failover_on_refusal: bool = False
    priority: Priority = Priority.NORMAL
    wait_for_preferred_seconds: float = 0.0
    cool_down_seconds: float | None = None
    waitable_seconds: float = 0.0
    """How long a pause may be so that an answer can still come before the call's end."""
    another_waits: bool = False
    """Another call already waits for this target."""


def next_steps(situation: Situation) -> tuple[Step, ...]:
    """Returns the steps to try, in order; empty: the call ends here."""
    if situation.attempts_left <= 0:
        return ()
    return tuple(step for step in RULES[situation.failure] if _allowed(step, situation))


def _allowed(step: Step, situation: Situation) -> bool:
    if step in OTHER_TARGET:
        refused = situation.failure is FailureKind.CONTENT_FILTERED and not situation.failover_on_refusal
        return situation.failover_allowed and not refused
    if situation.delivered:
        return False
    match step:
        case Step.QUICK_RETRY | Step.NEXT_CREDENTIAL:
            # The last attempt is worth more on a target that has not failed yet; nor may bad keys use up all of them.
            spent = step is Step.QUICK_RETRY and situation.quick_retry_used
            return not spent and _can_spare_one(situation)
        case Step.WAIT_FOR_PREFERRED:
            patience = min(situation.wait_for_preferred_seconds, situation.waitable_seconds)
            return situation.priority in _PATIENT and patience > 0 and _can_wait(situation, patience)
        case Step.WAIT:
            return _can_wait(situation, situation.waitable_seconds)
        case _:
            return True


def _can_spare_one(situation: Situation) -> bool:
    return situation.attempts_left > 1 or not (situation.others_remain and situation.failover_allowed)


def _can_wait(situation: Situation, patience_seconds: float) -> bool:
    """Whether the cool-down ends within the patience given, and nobody else waits for its end."""
    if situation.cool_down_seconds is None or situation.another_waits:
        return False
    return situation.cool_down_seconds <= patience_seconds
