"""The state of all targets as plain numbers in columns, so that a decision computes and does not ask hundreds of times.

A set of vitals never changes: whoever keeps a decision can work out its candidates later as they were then. A change
makes a new set, which shares what stayed the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from turnout_server.core.model import BreakerState, HealthState

if TYPE_CHECKING:
    from turnout_server.core.readings import CredentialsReading, TargetReading
    from turnout_server.core.tokens import TokenRatios

AVAILABILITY_POWER = 4
"""The availability factor is the chance that four calls in a row succeed: 99 % gives 0.96, 95 % 0.81, 50 % 0.06. Taken
as it is, a target that fails every twentieth call would be near-equal to one that never fails."""
CHANGES_REMEMBERED = 64
"""What was derived from vitals this many changes ago is derived anew instead of brought up to date."""

_CLOSED = BreakerState.CLOSED


class Vital(NamedTuple):
    """One target's numbers. `first_seconds` is for an empty prompt; `availability` and what follows is as it is told.

    `special` targets have to be looked at one by one in each decision: something may forbid them, or rank them lower.
    `room_tokens` is the longest prompt that the rate limits known leave room for, -1 for none at all.
    """

    first_seconds: float
    token_seconds: float
    availability: float
    health: HealthState
    sample_count: int
    in_flight: int
    tokens_per_byte: float
    special: bool
    room_tokens: float


class Vitals:
    """All targets' numbers, in the order of the fleet. `each` has all, the columns have what is computed with."""

    __slots__ = (
        "_changes",
        "each",
        "first_seconds",
        "ratio",
        "revision",
        "rooms",
        "slowest_first_seconds",
        "special",
        "strengths",
        "token_seconds",
        "tokens_per_byte",
    )

    def __init__(self, each: Sequence[Vital]) -> None:
        self.each = list(each)
        self.first_seconds = [vital.first_seconds for vital in each]
        self.token_seconds = [vital.token_seconds for vital in each]
        self.tokens_per_byte = [vital.tokens_per_byte for vital in each]
        self.strengths = [vital.availability**AVAILABILITY_POWER for vital in each]
        """The availability factor of each."""
        self.special = frozenset(index for index, vital in enumerate(each) if vital.special)
        self.rooms = {index: vital.room_tokens for index, vital in enumerate(each) if vital.room_tokens != inf}
        """`room_tokens` of those whose rate limit is known."""
        self.revision = 0
        self._changes: deque[tuple[int, ...]] = deque(maxlen=CHANGES_REMEMBERED)
        self.slowest_first_seconds = max(self.first_seconds, default=0.0)
        self.ratio = _same(self.tokens_per_byte)
        """Tokens per byte, where all models have the same; else None."""

    def renewed(self, changed: Mapping[int, Vital]) -> Vitals:
        """Returns the vitals with those of some targets, by their place in the fleet, replaced.

        To be asked of the newest set only.
        """
        new = Vitals.__new__(Vitals)
        new.each = self.each.copy()
        new.first_seconds = self.first_seconds.copy()
        new.token_seconds = self.token_seconds.copy()
        new.strengths = self.strengths.copy()
        new.tokens_per_byte, new.ratio = self.tokens_per_byte, self.ratio
        special, rooms = set(self.special), self.rooms
        for index, vital in changed.items():
            if vital.tokens_per_byte != self.each[index].tokens_per_byte:
                new.tokens_per_byte = new.tokens_per_byte.copy()
                new.tokens_per_byte[index] = vital.tokens_per_byte
                new.ratio = _same(new.tokens_per_byte)
            new.each[index] = vital
            new.first_seconds[index] = vital.first_seconds
            new.token_seconds[index] = vital.token_seconds
            new.strengths[index] = vital.availability**AVAILABILITY_POWER
            if vital.special:
                special.add(index)
            else:
                special.discard(index)
            if vital.room_tokens != inf:
                rooms = {**rooms, index: vital.room_tokens}
            elif index in rooms:
                rooms = {place: room for place, room in rooms.items() if place != index}
        new.special = self.special if special == self.special else frozenset(special)
        new.rooms = rooms
        new.revision = self.revision + 1
        new._changes = self._changes  # noqa: SLF001  # one of ours: sets that follow each other share it
        new._changes.append(tuple(changed))  # noqa: SLF001  # likewise
        new.slowest_first_seconds = max(new.first_seconds)
        return new

    def changed_since(self, before: Vitals) -> Iterable[int] | None:
        """Returns the places of what has changed since an earlier set; None where that is no longer known."""
        count = self.revision - before.revision
        if before._changes is not self._changes or count > len(self._changes):  # likewise
            return None
        return {index for change in list(self._changes)[-count:] for index in change} if count else ()


def take_vital(target: TargetReading, credentials: CredentialsReading, ratios: TokenRatios, now: float) -> Vital:
    """Returns one target's numbers as they are now."""
    spec, breaker, endpoint = target.spec, target.breaker, target.endpoint
    first_seconds, token_seconds = target.latency.rates(now)
    room = spec.max_concurrency
    return Vital(
        first_seconds,
        token_seconds,
        target.availability.value(now),
        target.health(now),
        target.latency.sample_count,
        target.in_flight,
        ratios.ratio(spec.target.provider, spec.target.model),
        target.drained
        or target.restless
        or breaker.state(now) is not _CLOSED
        or endpoint.state(now) is not _CLOSED
        or breaker.ramp_factor(now) < 1.0
        or endpoint.ramp_factor(now) < 1.0
        or (room is not None and target.in_flight >= room)
        or target.pressed(now)
        or target.drift(now) < 1.0
        or credentials.troubled(spec, now),
        credentials.room_tokens(spec, now),
    )


def take_vitals(
    targets: Iterable[TargetReading], credentials: CredentialsReading, ratios: TokenRatios, now: float
) -> Vitals:
    """Returns the numbers of all targets as they are now."""
    return Vitals([take_vital(target, credentials, ratios, now) for target in targets])


def _same(values: Sequence[float]) -> float | None:
    return values[0] if values and values.count(values[0]) == len(values) else None
