"""Sums over what was decided and what came of it, kept long after the decisions themselves have made room.

By (target, task, tier, tenant): by the minute for a quarter of an hour, then by quarters of an hour for a day. Taking
one event costs a look-up and some additions; everything else is done when a minute ends, or when somebody asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from turnout_server.core.model import Target
from turnout_server.core.statistics import MINUTE_SECONDS, Counts

if TYPE_CHECKING:
    from turnout_server.core.kept import Since, SumsLine, SumsRow
    from turnout_server.core.model import Outcome

MINUTES_KEPT = 17
"""One of them runs, and one is for whoever asks for a quarter of an hour by another clock."""
QUARTER_MINUTES = 15
QUARTERS_KEPT = 96
"""A day."""
HEADINGS_MAXIMUM = 1024
"""Headings told apart in one slot: tasks, tiers and tenants are callers' words. What is beyond is `OTHER`'s."""
OTHER = "_OTHER"
SLOT_BYTES = 500
SUMS_BYTES = 1500
BUCKET_BYTES = 35
"""What each takes in CPython 3.11, rounded up: a slot, the sums of one heading, and a bucket of its two histograms."""


class Heading(NamedTuple):
    """What sums are told apart by; `target` is None for decisions that had no candidate."""

    target: Target | None
    task: str = ""
    tier: str = ""
    tenant: str = ""


class Sums:
    """What happened under one heading. Scores and confidences are of decisions that had candidates.

    `moved_count` counts calls that went on elsewhere from this heading's target.
    """

    __slots__ = ("attempts", "confidence_sum", "decision_count", "moved_count", "score_sum", "unserved_count")

    def __init__(self) -> None:
        self.decision_count = 0
        self.unserved_count = 0
        self.score_sum = 0.0
        self.confidence_sum = 0.0
        self.moved_count = 0
        self.attempts = Counts()

    def merge(self, other: Sums) -> None:
        """Adds another heading's, or another time's."""
        self.decision_count += other.decision_count
        self.unserved_count += other.unserved_count
        self.score_sum += other.score_sum
        self.confidence_sum += other.confidence_sum
        self.moved_count += other.moved_count
        self.attempts.merge(other.attempts)

    @classmethod
    def kept(cls, row: SumsRow) -> Sums:
        """Returns them as they were."""
        self = cls()
        self.decision_count, self.unserved_count, self.score_sum, self.confidence_sum, self.moved_count = row[:5]
        self.attempts = Counts.kept(row[5])
        return self

    def keep(self) -> SumsRow:
        """Returns them as they are kept."""
        return (
            self.decision_count,
            self.unserved_count,
            self.score_sum,
            self.confidence_sum,
            self.moved_count,
            self.attempts.keep(),
        )

    @property
    def size_bytes(self) -> int:
        """An estimate of what it takes."""
        attempts = self.attempts
        return SUMS_BYTES + BUCKET_BYTES * (attempts.latency.bucket_count + attempts.first_token.bucket_count)


class Slot:
    """A stretch of `minutes` minutes that begins with minute `first`, by their numbers since the clock's beginning."""

    __slots__ = ("first", "minutes", "size_bytes", "sums")

    def __init__(self, first: int, minutes: int) -> None:
        self.first = first
        self.minutes = minutes
        self.sums: dict[Heading, Sums] = {}
        self.size_bytes = 0
        """As `weigh` found it last."""

    @property
    def begins_at(self) -> float:
        """Its first moment, monotonic seconds."""
        return self.first * MINUTE_SECONDS

    @property
    def ends_at(self) -> float:
        """The first moment after it."""
        return (self.first + self.minutes) * MINUTE_SECONDS

    def at(self, heading: Heading) -> Sums:
        """Returns the sums of a heading, those of `OTHER` words where there are too many."""
        found = self.sums.get(heading)
        if found is None:
            if len(self.sums) >= HEADINGS_MAXIMUM:
                heading = Heading(heading.target, OTHER, OTHER, OTHER)
            found = self.sums.get(heading)
            if found is None:
                found = self.sums[heading] = Sums()
        return found

    def merge(self, other: Slot) -> None:
        """Adds another stretch of time."""
        for heading, sums in other.sums.items():
            self.at(heading).merge(sums)

    def weigh(self) -> int:
        """Estimates what it takes and returns it."""
        self.size_bytes = SLOT_BYTES + sum(sums.size_bytes for sums in self.sums.values())
        return self.size_bytes


def _forgotten(slot: Slot) -> None:
    """Nobody wants what is let go of."""


class KeptSlots:
    """Slots as they come back from lines, one after the other."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[tuple[int, int], Slot] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, line: SumsLine, since: Since) -> None:
        """Takes a line."""
        first = since.number(line.ago, MINUTE_SECONDS)
        slot = self._found.setdefault((first, line.minutes), Slot(first, line.minutes))
        for place, (where, task, tier, tenant, row) in enumerate(line.rows):
            heading = Heading(None if where is None else Target(*where), task, tier, tenant)
            sums = slot.sums[heading] = Sums.kept(row)
            if place < len(line.failed_costs):
                sums.attempts.failed_cost_nano_usd = line.failed_costs[place]

    def weighed(self) -> list[Slot]:
        """Returns them in order of time."""
        for slot in self._found.values():
            slot.weigh()
        return sorted(self._found.values(), key=lambda slot: slot.first)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Slots in order of time, and the time that they cover, monotonic seconds."""

    slots: tuple[Slot, ...]
    from_at: float
    until_at: float


class Chronicle:
    """All sums of the last day, or of as much of it as fits into `max_bytes` by estimate: the oldest go first.

    The minute that runs stays whatever the bound. `started_at` is monotonic seconds. `left` is given what goes, but for
    what is cleared.
    """

    __slots__ = ("_known_from", "_left", "_max_bytes", "_minutes", "_quarters")

    def __init__(self, max_bytes: int, started_at: float, left: Callable[[Slot], None] = _forgotten) -> None:
        self._left = left
        self._max_bytes = max_bytes
        self._known_from = started_at
        self._minutes: deque[Slot] = deque()
        self._quarters: deque[Slot] = deque()

    @property
    def size_bytes(self) -> int:
        """An estimate of what it holds, without the minute that runs."""
        return sum(slot.size_bytes for slot in self._slots())

    @property
    def is_empty(self) -> bool:
        """Whether nothing has happened yet."""
        return not any(slot.sums for slot in self._slots())

    def bound(self, max_bytes: int) -> None:
        """Takes another bound; what is beyond it is dropped now."""
        self._max_bytes = max_bytes
        self._make_room()

    def decided(self, heading: Heading, *, score: float, confidence: float, now: float) -> None:
        """Takes a decision by its first candidate; score and confidence count only where there was one."""
        sums = self._now(now).at(heading)
        sums.decision_count += 1
        if heading.target is None:
            sums.unserved_count += 1
        else:
            sums.score_sum += score
            sums.confidence_sum += confidence

    def ended(self, heading: Heading, outcome: Outcome, now: float) -> None:
        """Takes an attempt that ended."""
        self._now(now).at(heading).attempts.add(outcome)

    def moved(self, heading: Heading, now: float) -> None:
        """Takes a call that went on elsewhere after a failure at the heading's target."""
        self._now(now).at(heading).moved_count += 1

    def judged(self, heading: Heading, quality: float, now: float) -> None:
        """Takes a judgement of one answer, 0 to 1."""
        attempts = self._now(now).at(heading).attempts
        attempts.feedback_count += 1
        attempts.feedback_sum += quality

    def stretch(self, from_at: float | None, until_at: float | None, now: float) -> Stretch:
        """Returns what is known of a time, in whole slots: up to one more at each end. None is as far as known."""
        slots = tuple(
            slot
            for slot in self._slots()
            if (from_at is None or self._ends_at(slot) > from_at) and (until_at is None or slot.begins_at < until_at)
        )
        begins_at, ends_at = self._known_from if from_at is None else from_at, now if until_at is None else until_at
        if slots:
            begins_at, ends_at = min(begins_at, slots[0].begins_at), max(ends_at, slots[-1].ends_at)
        ends_at = max(self._known_from, min(now, ends_at))
        return Stretch(slots, min(ends_at, max(self._known_from, begins_at)), ends_at)

    def known_seconds(self, now: float) -> float:
        """Returns for how long it has known what happened."""
        return now - self._known_from

    def keep(self, now: float) -> Iterator[SumsLine]:
        """Yields each slot as it is kept, the oldest first, as all of them are when the first is asked for.

        But for what is added to the minute that runs, between two lines.
        """
        current = int(now // MINUTE_SECONDS)
        slots = list(self._slots())
        last = self._quarters[-1] if self._quarters else None
        # Minutes are merged into it as they age: later it would have some that are yielded themselves.
        growing = [] if last is None else list(_kept(last, current))
        for slot in slots:
            yield from growing if slot is last else _kept(slot, current)

    def resume(self, lines: Iterable[tuple[SumsLine, Since]], known_from: float, now: float) -> None:
        """Takes what was kept. A quarter of an hour may come back up to a minute later than it was."""
        found = KeptSlots()
        for line, since in lines:
            found.add(line, since)
        self.put_back(found, known_from, now)

    def put_back(self, found: KeptSlots, known_from: float, now: float) -> None:
        """Takes the same where the lines were read one by one."""
        slots = found.weighed()
        self._quarters = deque(slot for slot in slots if slot.minutes > 1)
        self._minutes = deque(slot for slot in slots if slot.minutes == 1)
        self._known_from = min(self._known_from, known_from)
        self._follow(now)

    def take(self, other: Chronicle, now: float) -> None:
        """Takes what another one has in the place of its own, which is empty."""
        self._quarters, self._minutes = other._quarters, other._minutes
        self._known_from = min(self._known_from, other._known_from)
        self._follow(now)

    def clear(self, before: float | None = None) -> None:
        """Forgets the slots that ended before a moment, all without one."""
        for slots in (self._quarters, self._minutes):
            while slots and (before is None or slots[0].ends_at <= before):
                self._forget_first(slots)

    def _ends_at(self, slot: Slot) -> float:
        """Returns the first moment after what a slot holds: later minutes of a quarter may still stand on their own."""
        if slot.minutes == 1 or not self._minutes:
            return slot.ends_at
        return min(slot.ends_at, self._minutes[0].begins_at)

    def _slots(self) -> Iterator[Slot]:
        yield from self._quarters
        yield from self._minutes

    def _follow(self, now: float) -> None:
        number = int(now // MINUTE_SECONDS)
        if not self._minutes or self._minutes[-1].first < number:
            self._minutes.append(Slot(number, 1))
        self._age(number)
        self._make_room()

    def _now(self, now: float) -> Slot:
        minutes = self._minutes
        number = int(now // MINUTE_SECONDS)
        if not minutes or minutes[-1].first < number:
            if minutes:
                minutes[-1].weigh()
            minutes.append(Slot(number, 1))
            self._age(number)
            self._make_room()
        return minutes[-1]

    def _age(self, number: int) -> None:
        while self._minutes[0].first <= number - MINUTES_KEPT:
            old = self._minutes.popleft()
            first = old.first - old.first % QUARTER_MINUTES
            if not self._quarters or self._quarters[-1].first < first:
                self._quarters.append(Slot(first, QUARTER_MINUTES))
            self._quarters[-1].merge(old)
            self._quarters[-1].weigh()
        oldest = number - QUARTERS_KEPT * QUARTER_MINUTES
        while self._quarters and self._quarters[0].first + QUARTER_MINUTES <= oldest:
            self._let_go(self._quarters)

    def _make_room(self) -> None:
        size = self.size_bytes
        while size > self._max_bytes:
            if self._quarters:
                size -= self._let_go(self._quarters)
            elif len(self._minutes) > 1:
                size -= self._let_go(self._minutes)
            else:
                break

    def _let_go(self, slots: deque[Slot]) -> int:
        self._left(slots[0])
        return self._forget_first(slots)

    def _forget_first(self, slots: deque[Slot]) -> int:
        slot = slots.popleft()
        self._known_from = max(self._known_from, self._ends_at(slot))
        return slot.size_bytes


def _kept(slot: Slot, current: int) -> Iterator[SumsLine]:
    """Yields a slot as it is kept, by the number of the present minute."""
    from turnout_server.core.kept import (  # noqa: PLC0415 - needed only where state outlives the process
        SUMS_ROWS_MAXIMUM,
        SumsLine,
    )

    headings = list(slot.sums.items())
    for begin in range(0, len(headings), SUMS_ROWS_MAXIMUM):
        few = headings[begin : begin + SUMS_ROWS_MAXIMUM]
        rows = tuple(
            (
                None if target is None else (target.provider, target.model, target.endpoint),
                task,
                tier,
                tenant,
                sums.keep(),
            )
            for (target, task, tier, tenant), sums in few
        )
        failed_costs = tuple(sums.attempts.failed_cost_nano_usd for _, sums in few)
        yield SumsLine(ago=current - slot.first, minutes=slot.minutes, rows=rows, failed_costs=failed_costs)
