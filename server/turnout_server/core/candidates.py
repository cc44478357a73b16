"""The candidates of one decision, written out only where somebody reads them.

Most callers look at five of what may be hundreds. Each is worked out from the numbers of the decision, which never
change, so that the history can keep those instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, overload

from turnout_server.core.briefs import Brief, Explained, briefly, explaining
from turnout_server.core.deadlines import whole_answer_limit_seconds
from turnout_server.core.decision import Candidate
from turnout_server.core.explain import A_TABLE, HELD, candidate_reason
from turnout_server.core.filters import CLEAR

if TYPE_CHECKING:
    from turnout_server.core.columns import Facts
    from turnout_server.core.expectation import Expectation, Expected
    from turnout_server.core.fleet import TargetSpec
    from turnout_server.core.model import ReasoningEffort, Target
    from turnout_server.core.settings import FailoverSettings
    from turnout_server.core.strategies import Line


KEPT_BYTES = 3600
"""What a decision's numbers take in CPython 3.11, however few targets there are, where something has ended since the
decision before; else it shares most of them, and takes less."""
PLACE_BYTES = 150
"""What each candidate adds: its score and its place in the line; and, where no decision before it was made from the
same state, its part of the columns of vitals and outputs."""


class Candidates(Sequence[Candidate]):
    """Reads like the tuple of them, best first. `answering` says how long an attempt may take, `preferred_by` on whose
    word a target comes first, by its place in the fleet.
    """

    __slots__ = ("_answering", "_effort", "_expectation", "_facts", "_preferred_by", "_read", "line")

    def __init__(
        self,
        line: Line,
        expectation: Expectation,
        facts: Facts,
        answering: FailoverSettings,
        effort: ReasoningEffort | None,
        *,
        preferred_by: Mapping[int, str],
    ) -> None:
        self.line = line
        self._expectation = expectation
        self._facts = facts
        self._answering = answering
        self._effort = effort
        self._preferred_by = preferred_by
        self._read: tuple[Candidate, ...] | None = None
        """The first of them, as somebody has read them while they were to be remembered."""

    @property
    def kept_bytes(self) -> int:
        """An estimate of what keeping them takes."""
        return KEPT_BYTES + PLACE_BYTES * len(self._facts.specs)

    @property
    def first_spec(self) -> TargetSpec | None:
        """The target of the first, None where there is none."""
        order = self.line.order
        return self.line.scoring.spec(order[0]) if order else None

    @property
    def first_score(self) -> float:
        """The score of the first, 0 where there is none."""
        order = self.line.order
        return self.line.scoring.score(order[0]) if order else 0.0

    @property
    def first_is_trial(self) -> bool:
        """Whether the first is the trial of a half-open target."""
        order = self.line.order
        return bool(order) and self.line.scoring.standing(order[0]) is not CLEAR

    def expected(self, index: int, target: Target) -> Expected | None:
        """Returns what was expected of a target, a candidate or not; None where `index` was not its place then.

        The cost is None where nothing was known of the prompt's length.
        """
        specs = self._facts.specs
        if index >= len(specs) or specs[index].target != target:
            return None
        expected = self._expectation.of(index)
        return expected if self._expectation.input_known else expected._replace(cost_nano_usd=None)

    def __len__(self) -> int:
        return len(self.line.order)

    def __iter__(self) -> Iterator[Candidate]:
        return map(self._written, self.line.order)

    @overload
    def __getitem__(self, place: int) -> Candidate: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Candidate, ...]: ...
    def __getitem__(self, place: int | slice) -> Candidate | tuple[Candidate, ...]:
        if isinstance(place, slice):
            found = tuple(map(self._written, self.line.order[place]))
            if self._read is not None and not place.start and place.step is None and len(found) > len(self._read):
                self._read = found
            return found
        return self._written(self.line.order[place])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def __repr__(self) -> str:
        return repr(tuple(self))

    def cheaper_than(self, target: Target) -> Candidate | None:
        """Returns the cheapest, where a price is known and it should cost less than `target`, which is one of them."""
        line, selection = self.line, self.line.scoring.selection
        costs, _ = self._expectation.columns(selection)
        own = next((costs[place] for place in line.order if line.scoring.spec(place).target == target), 0.0)
        found = min(line.order, key=costs.__getitem__, default=None)
        return self._written(found) if found is not None and costs[found] < own else None

    def remember(self, *, read: bool) -> None:
        """Keeps from now on what is read from the first one on, for `explained`; or forgets it.

        To be asked for by whoever forgets it soon: written out they take more room than the numbers.
        """
        self._read = () if read else None

    def brief(self, most: int) -> Brief:
        """Returns the first of them in short, for a sixth of what writing them out takes."""
        scoring, expectation, specs = self.line.scoring, self._expectation, self._facts.specs
        notable, each, order = scoring.notable, expectation.vitals.each, self.line.order[:most]
        indexes = [scoring.selection.indexes[place] for place in order]
        seconds, costs = expectation.latencies_and_costs(indexes)
        health = [each[index].health for index in indexes]
        if notable:
            for number, place in enumerate(order):
                if place in notable:
                    health[number] = notable[place].health
        return Brief(
            [specs[index].name for index in indexes],
            list(map(scoring.score, order)),
            seconds,
            costs if expectation.input_known else [None] * len(indexes),
            health,
        )

    def explained(self, most: int) -> list[Explained]:
        """Returns why the first of them stand there, for less than what writing them out takes."""
        if self._read and len(self._read) >= min(most, len(self)):
            return explaining(self._read, most)
        line, scoring, expectation, specs = self.line, self.line.scoring, self._expectation, self._facts.specs
        found: list[Explained] = []
        for place in line.order[:most]:
            index = scoring.selection.indexes[place]
            expected = expectation.of(index)
            found.append(
                Explained(
                    specs[index].name,
                    scoring.score(place),
                    line.share(place),
                    expectation.vitals.each[index].sample_count,
                    expected.first_token_seconds,
                    self._reason(place),
                    self._factors(place, index, expected),
                )
            )
        return found

    def _written(self, place: int) -> Candidate:
        line, scoring = self.line, self.line.scoring
        index = scoring.selection.indexes[place]
        expectation = self._expectation
        spec, vital, expected = self._facts.specs[index], expectation.vitals.each[index], expectation.of(index)
        notable = scoring.notable.get(place) if scoring.notable else None
        standing = CLEAR if notable is None else notable.standing
        attempt_timeout_seconds = whole_answer_limit_seconds(
            spec,
            expected.latency_seconds,
            self._answering,
            predicted_first_token_seconds=expected.first_token_seconds,
            effort=self._effort,
        )
        # By place: the field names are paid for in every one.
        return Candidate(
            spec,
            scoring.score(place),
            self._factors(place, index, expected),
            expected.latency_seconds,
            expected.first_token_seconds,
            expected.cost_nano_usd if expectation.input_known else None,
            vital.health if notable is None else notable.health,
            vital.sample_count,
            attempt_timeout_seconds,
            False,  # noqa: FBT003  # explored
            line.share(place),
            None,
            standing is not CLEAR,
            self._reason(place),
        )

    def _factors(self, place: int, index: int, expected: Expected) -> dict[str, float]:
        factors = self.line.scoring.factors(place, expected)
        cached_share = self._expectation.cached_share(index)
        if cached_share:
            factors["cached_share"] = cached_share
        return factors

    def _reason(self, place: int) -> str:
        line = self.line
        if place == line.held:
            return HELD
        said = self._preferred_by.get(line.scoring.selection.indexes[place], A_TABLE)
        return candidate_reason(line.groups[place], line.scoring.standing(place), said)


def first_spec(candidates: Sequence[Candidate]) -> TargetSpec | None:
    """Returns the target of the first candidate, None where there is none; nothing is written out for that."""
    if isinstance(candidates, Candidates):
        return candidates.first_spec
    return candidates[0].spec if candidates else None


def first_score(candidates: Sequence[Candidate]) -> float:
    """Returns the score of the first candidate, 0 where there is none; nothing is written out for that."""
    if isinstance(candidates, Candidates):
        return candidates.first_score
    return candidates[0].score if candidates else 0.0


def cheaper(candidates: Sequence[Candidate], target: Target) -> Candidate | None:
    """Returns the cheapest candidate, where it should cost less than `target`, which is one of them."""
    if isinstance(candidates, Candidates):
        return candidates.cheaper_than(target)
    costs = {each.target: each.expected_cost_nano_usd for each in candidates}
    known = [each for each in candidates if each.expected_cost_nano_usd is not None]
    found = min(known, key=lambda each: each.expected_cost_nano_usd or 0, default=None)
    own = costs.get(target)
    return found if found is not None and own is not None and (costs[found.target] or 0) < own else None


def first_is_trial(candidates: Sequence[Candidate]) -> bool:
    """Tells whether the first candidate is the trial of a half-open target."""
    if isinstance(candidates, Candidates):
        return candidates.first_is_trial
    return bool(candidates) and candidates[0].half_open


def brief(candidates: Sequence[Candidate], most: int) -> Brief:
    """Returns the first candidates in short, best first."""
    return candidates.brief(most) if isinstance(candidates, Candidates) else briefly(candidates, most)


def remember(candidates: Sequence[Candidate], *, read: bool) -> None:
    """Has candidates that are written out when they are read keep what is read of them, or forget it."""
    if isinstance(candidates, Candidates):
        candidates.remember(read=read)


def explained(candidates: Sequence[Candidate], most: int) -> list[Explained]:
    """Returns why the first candidates stand there, best first."""
    return candidates.explained(most) if isinstance(candidates, Candidates) else explaining(candidates, most)
