"""What somebody who looks back wants to know: sums over a stretch of time, by target, provider, task or caller."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from turnout_server.core.chronicle import OTHER, Chronicle, Heading, Stretch, Sums
from turnout_server.core.model import Target

GROUPS_MAXIMUM = 1000
"""Groups told apart in one answer; the rest is one group named `OTHER`."""


class Dimension(StrEnum):
    """What sums are grouped by."""

    PROVIDER = "PROVIDER"
    MODEL = "MODEL"
    TARGET = "TARGET"
    TASK = "TASK"
    TIER = "TIER"
    TENANT = "TENANT"


NAMES: Mapping[Dimension | None, Callable[[Heading], str]] = {
    None: lambda _: "",
    Dimension.PROVIDER: lambda heading: heading.target.provider if heading.target else "",
    Dimension.MODEL: lambda heading: f"{heading.target.provider}/{heading.target.model}" if heading.target else "",
    Dimension.TARGET: lambda heading: str(heading.target) if heading.target else "",
    Dimension.TASK: lambda heading: heading.task,
    Dimension.TIER: lambda heading: heading.tier,
    Dimension.TENANT: lambda heading: heading.tenant,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StatisticsQuery:
    """Which sums are wanted. Times are seconds since the epoch, None as far as known; "" lets every one pass."""

    group_by: Dimension | None = None
    task: str = ""
    tenant: str = ""
    from_wall: float | None = None
    until_wall: float | None = None

    def fits(self, heading: Heading) -> bool:
        """Tells whether what is under a heading is wanted."""
        return (not self.task or heading.task == self.task) and (not self.tenant or heading.tenant == self.tenant)


class Group:
    """The sums of one group, and how often each target was the first candidate in it."""

    __slots__ = ("firsts", "name", "sums")

    def __init__(self, name: str) -> None:
        self.name = name
        self.sums = Sums()
        self.firsts: Counter[Target] = Counter()

    def add(self, heading: Heading, sums: Sums) -> None:
        """Takes the sums of a heading."""
        self.sums.merge(sums)
        if heading.target is not None and sums.decision_count:
            self.firsts[heading.target] += sums.decision_count

    def merge(self, other: Group) -> None:
        """Adds another group."""
        self.sums.merge(other.sums)
        self.firsts.update(other.firsts)

    @property
    def served_count(self) -> int:
        """Decisions that had a candidate."""
        return self.sums.decision_count - self.sums.unserved_count

    @property
    def mean_score(self) -> float | None:
        """Mean score of the first candidates, None without any."""
        return self.sums.score_sum / self.served_count if self.served_count else None

    @property
    def mean_confidence(self) -> float | None:
        """Mean confidence of decisions with candidates, None without any."""
        return self.sums.confidence_sum / self.served_count if self.served_count else None

    @property
    def failover_rate(self) -> float | None:
        """Calls that were moved as a share of the decisions with candidates, None without any."""
        return self.sums.moved_count / self.served_count if self.served_count else None

    @property
    def success_rate(self) -> float | None:
        """Share of attempts that succeeded, None without any."""
        attempts = self.sums.attempts
        return attempts.succeeded / attempts.total if attempts.total else None

    @property
    def mean_feedback(self) -> float | None:
        """Mean of the judgements, None without any."""
        attempts = self.sums.attempts
        return attempts.feedback_sum / attempts.feedback_count if attempts.feedback_count else None

    @property
    def cost_per_attempt_nano_usd(self) -> int | None:
        """Mean cost of the attempts whose cost is known, None without any."""
        attempts = self.sums.attempts
        return round(attempts.cost_nano_usd / attempts.priced) if attempts.priced else None

    @property
    def preferred(self) -> tuple[Target, float] | None:
        """The target that was first most often, and in which share of the decisions; None without any.

        Of several equal ones the first by name, so that the answer does not depend on what came when.
        """
        if not self.firsts:
            return None
        target = min(self.firsts, key=lambda each: (-self.firsts[each], str(each)))
        return target, self.firsts[target] / self.firsts.total()


@dataclass(frozen=True, slots=True)
class Statistics:
    """Groups, and the time that they really cover, seconds since the epoch."""

    groups: tuple[Group, ...]
    from_wall: float
    until_wall: float


def summarise(chronicle: Chronicle, wanted: StatisticsQuery, *, now: float, now_wall: float) -> Statistics:
    """Returns one group for each value of the dimension, most decisions and then most attempts first.

    Without a dimension there is one group, be it empty.
    """
    stretch = _stretch(chronicle, wanted, now, now_wall)
    name = NAMES[wanted.group_by]
    found: dict[str, Group] = {} if wanted.group_by else {"": Group("")}
    for heading, sums in _wanted_sums(stretch, wanted):
        key = name(heading)
        group = found.get(key)
        if group is None:
            group = found[key] = Group(key)
        group.add(heading, sums)
    ordered = sorted(found.values(), key=lambda g: (-g.sums.decision_count, -g.sums.attempts.total, g.name))
    if len(ordered) > GROUPS_MAXIMUM:
        rest = Group(OTHER)
        for group in ordered[GROUPS_MAXIMUM - 1 :]:
            rest.merge(group)
        ordered[GROUPS_MAXIMUM - 1 :] = [rest]
    return _statistics(ordered, stretch, now_wall - now)


def compare(
    chronicle: Chronicle, targets: Iterable[Target], wanted: StatisticsQuery, *, now: float, now_wall: float
) -> Statistics:
    """Returns one group for each of the targets, in their order, be it empty."""
    stretch = _stretch(chronicle, wanted, now, now_wall)
    found = {target: Group(str(target)) for target in targets}
    for heading, sums in _wanted_sums(stretch, wanted):
        group = None if heading.target is None else found.get(heading.target)
        if group is not None:
            group.add(heading, sums)
    return _statistics(found.values(), stretch, now_wall - now)


def _stretch(chronicle: Chronicle, wanted: StatisticsQuery, now: float, now_wall: float) -> Stretch:
    offset = now_wall - now
    from_at = None if wanted.from_wall is None else wanted.from_wall - offset
    return chronicle.stretch(from_at, None if wanted.until_wall is None else wanted.until_wall - offset, now)


def _statistics(groups: Iterable[Group], stretch: Stretch, offset: float) -> Statistics:
    return Statistics(tuple(groups), stretch.from_at + offset, stretch.until_at + offset)


def _wanted_sums(stretch: Stretch, wanted: StatisticsQuery) -> Iterable[tuple[Heading, Sums]]:
    return ((h, sums) for slot in stretch.slots for h, sums in slot.sums.items() if wanted.fits(h))
