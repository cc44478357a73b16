"""The rejections of one decision, in words only where somebody reads them.

A decision among hundreds of targets may reject hundreds; most callers get counts. What has happened to a target is
written down at once, since it passes; what follows from the request is worked out from the numbers of then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, overload

from turnout_server.core.filters import judge_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from turnout_server.core.asking import Demand
    from turnout_server.core.decision import Rejection
    from turnout_server.core.expectation import Expectation
    from turnout_server.core.model import RejectionReason
    from turnout_server.core.shapes import FirstReasons, Shape


class Rejections(Sequence["Rejection"]):
    """Reads like the tuple of them, in the order of the fleet, then `added` ones.

    `made` are those written down, `loose` the first reasons of those that are not unfit for the whole shape, `earlier`
    those of unfit ones against which this request has an earlier reason than its shape; all by place in the fleet.
    """

    __slots__ = ("_added", "_demand", "_earlier", "_expectation", "_loose", "_made", "_shape")

    def __init__(  # what a decision knows of those it rejects
        self,
        shape: Shape,
        expectation: Expectation,
        demand: Demand,
        *,
        made: Mapping[int, Rejection],
        loose: Mapping[int, RejectionReason],
        earlier: Mapping[int, RejectionReason],
        added: tuple[Rejection, ...] = (),
    ) -> None:
        self._shape = shape
        self._expectation = expectation
        self._demand = demand
        self._made = made
        self._loose = loose
        self._earlier = earlier
        self._added = added

    def with_added(self, added: tuple[Rejection, ...]) -> Rejections:
        """Returns the same with some more at the end."""
        return Rejections(
            self._shape,
            self._expectation,
            self._demand,
            made=self._made,
            loose=self._loose,
            earlier=self._earlier,
            added=self._added + added,
        )

    @property
    def written(self) -> tuple[Rejection, ...]:
        """Those that tell of what has happened to a target: only these can have a time to try again."""
        return (*self._made.values(), *self._added)

    def counts(self) -> Mapping[RejectionReason, int]:
        """Returns how many were rejected for each first reason."""
        shared = self._shape.first_reasons
        if not (self._loose or self._earlier or self._added):
            return shared.counts
        counts = Counter(shared.counts)
        counts.update(self._loose.values())
        counts.update(rejection.reasons[0] for rejection in self._added)
        for index, reason in self._earlier.items():
            counts[reason] += 1
            counts[self._of_shape(index)] -= 1
        return +counts if self._earlier else counts

    @property
    def shared(self) -> FirstReasons | None:
        """The first reasons that all decisions of this shape share; None where this one has others."""
        return None if self._earlier else self._shape.first_reasons

    def by_target(self) -> list[tuple[str, RejectionReason]]:
        """Returns the first reason against each target by name, without those that are `shared`."""
        names = self._shape.names
        found = [(names[index], reason) for index, reason in self._loose.items()]
        found += [(str(rejection.target), rejection.reasons[0]) for rejection in self._added]
        if self._earlier:
            found += [
                (names[index], self._earlier.get(index, reason))
                for index, reason in zip(self._shape.rest.indexes, self._shape.reasons, strict=True)
            ]
        return found

    def __len__(self) -> int:
        return len(self._shape.rest) + len(self._loose) + len(self._added)

    def __iter__(self) -> Iterator[Rejection]:
        for index in sorted({*self._shape.rest.indexes, *self._loose}):
            yield self._made.get(index) or self._worked_out(index)
        yield from self._added

    @overload
    def __getitem__(self, place: int) -> Rejection: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Rejection, ...]: ...
    def __getitem__(self, place: int | slice) -> Rejection | tuple[Rejection, ...]:
        return tuple(self)[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def __repr__(self) -> str:
        return repr(tuple(self))

    def _worked_out(self, index: int) -> Rejection:
        findings = self._shape.judge(index)
        vital = self._expectation.vitals.each[index]
        spec = self._shape.specs[index]
        judge_numbers(
            spec,
            self._expectation.of(index),
            self._demand,
            findings,
            availability=vital.availability,
            sample_count=vital.sample_count,
        )
        return findings.rejection(spec.target)

    def _of_shape(self, index: int) -> RejectionReason:
        place = self._shape.rest.place(index)
        assert place is not None
        return self._shape.reasons[place]


def first_reasons(rejections: Sequence[Rejection]) -> Mapping[RejectionReason, int]:
    """Returns how many were rejected for each first reason."""
    if isinstance(rejections, Rejections):
        return rejections.counts()
    return Counter(rejection.reasons[0] for rejection in rejections)
