"""What is the same for all requests of one shape: who is fit for them as they are, and in which groups they stand.

A shape is a request without its length and its limits in numbers. Most callers send few shapes, so that the filters
which look at capabilities, names and regions run once for many decisions.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from math import inf
from typing import TYPE_CHECKING

from turnout_server.core.columns import Selection
from turnout_server.core.filters import Findings, judge_needs
from turnout_server.core.groups import NOT_PREFERRED, WEAK, in_region
from turnout_server.core.model import RejectionReason

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from turnout_server.core.asking import Needs
    from turnout_server.core.columns import Facts
    from turnout_server.core.fleet import TargetSpec
    from turnout_server.core.readings import CredentialsReading

SHAPES_MAXIMUM = 64
"""Shapes kept; the one longest unused is forgotten first. One of 400 targets takes some 20 KB."""
NARROWED_MAXIMUM = 4
"""Smaller selections kept of each shape: while a target is down, the same ones are left out again and again."""

NO_KEY_DETAIL = "no credential is configured that this request may use"


class Passing:
    """Targets that passed, and the group bits (see `groups`) that each has from the request's shape."""

    __slots__ = ("groups", "mixed", "selection")

    def __init__(self, selection: Selection, groups: Sequence[int]) -> None:
        self.selection = selection
        self.groups = groups
        self.mixed = len(set(groups)) > 1
        """Whether they stand in different groups."""


class FirstReasons:
    """The first reason against each of the targets that no request of a shape can use, for those who count them.

    One object for all decisions of the shape, compared by identity: counting it once stands for counting all.
    """

    __slots__ = ("by_target", "counts")

    def __init__(self, by_target: Sequence[tuple[str, RejectionReason]]) -> None:
        self.by_target = tuple(by_target)
        self.counts: Mapping[RejectionReason, int] = Counter(reason for _, reason in by_target)


class Shape:
    """One shape. `passing` are fit for it; `rest` are not, whatever the request's length, each for its first reason."""

    __slots__ = (
        "_facts",
        "_narrowed",
        "first_reasons",
        "floor",
        "lacking",
        "needs",
        "passing",
        "preferred",
        "preferred_by",
        "reasons",
        "rest",
        "rest_smallest_window",
        "shares",
        "smallest_window",
        "wanted",
    )

    def __init__(  # the parts of a shape, each once
        self,
        facts: Facts,
        needs: Needs,
        *,
        preferred: Mapping[int, int],
        preferred_by: Mapping[int, str],
        shares: Mapping[int, float],
        floor: float | None,
        lacking: frozenset[int],
    ) -> None:
        self._facts = facts
        self._narrowed: OrderedDict[frozenset[int], Passing] = OrderedDict()
        self.needs = needs
        self.preferred = preferred
        """Places in the table that comes first, by place in the fleet."""
        self.preferred_by = preferred_by
        """On whose word they come first, by place in the fleet."""
        self.shares = shares
        """Weights of WEIGHTED, by place in the fleet."""
        self.floor = floor
        self.lacking = lacking
        """Those that no key of ours is there for, where one is needed."""
        self.wanted = _wanted(facts, needs.preferred_capabilities) if needs.preferred_capabilities else None
        """The share of the preferred capabilities that each target has, 0 to 1; None where there are none."""
        fit: list[int] = []
        unfit: dict[int, RejectionReason] = {}
        for index, spec in enumerate(facts.specs):
            findings = self.judge(index)
            if findings:
                unfit[index] = findings.rejection(spec.target).reasons[0]
            else:
                fit.append(index)
        self.passing = self._passing(fit)
        self.rest = Selection(tuple(unfit), facts)
        self.reasons = tuple(unfit.values())
        """The first reason against each of `rest`."""
        self.first_reasons = FirstReasons([(facts.names[index], reason) for index, reason in unfit.items()])
        self.smallest_window = min(self.passing.selection.of(facts.windows), default=inf)
        self.rest_smallest_window = min(self.rest.of(facts.windows), default=inf)

    @property
    def specs(self) -> Sequence[TargetSpec]:
        """The targets of the fleet."""
        return self._facts.specs

    @property
    def names(self) -> Sequence[str]:
        """The names of the targets of the fleet."""
        return self._facts.names

    def judge(self, index: int) -> Findings:
        """Returns the reasons against a target that hold for every request of this shape."""
        findings = Findings()
        judge_needs(self._facts.specs[index], index, self.needs, findings)
        if index in self.lacking:
            findings.add(RejectionReason.NO_CREDENTIAL, NO_KEY_DETAIL)
        return findings

    def without(self, dropped: frozenset[int]) -> Passing:
        """Returns those that pass without some of them."""
        if not dropped:
            return self.passing
        known = self._narrowed.get(dropped)
        if known is None:
            known = self._passing([index for index in self.passing.selection.indexes if index not in dropped])
            self._narrowed[dropped] = known
            if len(self._narrowed) > NARROWED_MAXIMUM:
                self._narrowed.popitem(last=False)
        else:
            self._narrowed.move_to_end(dropped)
        return known

    def _passing(self, indexes: Sequence[int]) -> Passing:
        return Passing(Selection(indexes, self._facts), [self._group(index) for index in indexes])

    def _group(self, index: int) -> int:
        spec, regions = self._facts.specs[index], self.needs.regions
        place = in_region(regions.index(spec.region)) if regions else 0
        if index in self.preferred:
            return place
        weak = self.floor is not None and (spec.quality is None or spec.quality < self.floor)
        return place | (NOT_PREFERRED | WEAK if weak else NOT_PREFERRED)


def _wanted(facts: Facts, preferred: frozenset[str]) -> Sequence[float]:
    return [len(preferred & spec.custom_capabilities) / len(preferred) for spec in facts.specs]


class Shapes:
    """The shapes met lately, for one fleet."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, Shape] = OrderedDict()

    def get(self, key: Hashable) -> Shape | None:
        """Returns the shape of that key, None where it is not known (any more)."""
        shape = self._known.get(key)
        if shape is not None:
            self._known.move_to_end(key)
        return shape

    def keep(self, key: Hashable, shape: Shape) -> None:
        """Keeps a shape; beyond the bound the one longest unused is forgotten."""
        self._known[key] = shape
        if len(self._known) > SHAPES_MAXIMUM:
            self._known.popitem(last=False)

    def clear(self) -> None:
        """Forgets all of them."""
        self._known.clear()


def lacking(facts: Facts, credentials: CredentialsReading, *, tenant: str, executing: bool) -> frozenset[int]:
    """Returns the places of the targets that no key is configured for that such a call could use."""
    return frozenset(
        index for index, spec in enumerate(facts.specs) if credentials.lacking(spec, tenant=tenant, executing=executing)
    )
