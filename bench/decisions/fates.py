"""What an attempt may meet at a provider, drawn by lot for one call, one target and one moment."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum, auto
from math import exp

from bench.decisions.trace import Fault, Fleet, Target, What
from turnout_server.core.model import FailureKind

REFUSED_AFTER_SECONDS = 0.02
BACKGROUND_ERROR_SECONDS = 0.3


class Piece(Enum):
    """What comes back of an answer; it is whole with the last."""

    FIRST = auto()
    MORE = auto()
    LAST = auto()


class FailedError(Exception):
    """An attempt failed: with which status, and after which wait it may be made again; None where nobody said."""

    def __init__(self, kind: FailureKind, status: int | None = None, retry_after_seconds: float | None = None) -> None:
        super().__init__(kind.value)
        self.kind = kind
        self.status = status
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True)
class Fate:
    """What an attempt would meet: a failure after a while, an answer cut before some piece, or an answer."""

    first_token_seconds: float
    answer_seconds: float
    usual_seconds: float
    """How long the answer would take without scatter."""
    failure: FailedError | None = None
    failure_seconds: float = 0.0
    silent: bool = False
    black_hole: bool = False
    cut_before: Piece | None = None

    @property
    def answers(self) -> bool:
        """Whether the whole answer would come."""
        return self.failure is None and not self.silent and not self.black_hole and self.cut_before is None


@dataclass(frozen=True, slots=True)
class Lots:
    """The lots of one attempt, drawn all at once so that each is the same whatever the others decide."""

    background: float
    hit: float
    cut: float
    cut_before: Piece
    first_scatter: float
    token_scatter: float


def draw(rng: random.Random, fleet: Fleet) -> Lots:
    """Draws the lots; the scatter is log-normal."""
    return Lots(
        background=rng.random(),
        hit=rng.random(),
        cut=rng.random(),
        cut_before=rng.choice(tuple(Piece)),
        first_scatter=exp(fleet.first_token_spread * rng.gauss(0.0, 1.0)),
        token_scatter=exp(fleet.token_spread * rng.gauss(0.0, 1.0)),
    )


def fate_of(lots: Lots, target: Target, faults: Iterable[Fault], fleet: Fleet, *, output_tokens: int) -> Fate:
    """Returns what an attempt meets while these faults hold; whether a limit has room is for others to know."""
    faults = tuple(faults)
    slow, delay = 1.0, 0.0
    for fault in faults:
        if fault.what is What.SLOW:
            slow *= fault.factor
            delay += fault.delay_seconds
    first = target.first_token_seconds * slow + delay
    rest = target.seconds_per_token * slow * output_tokens
    fate = Fate(
        first_token_seconds=first * lots.first_scatter,
        answer_seconds=first * lots.first_scatter + rest * lots.token_scatter,
        usual_seconds=first + rest,
    )
    if lots.background < fleet.background_error_share:
        return failing(fate, FailedError(FailureKind.SERVER_ERROR, 500), BACKGROUND_ERROR_SECONDS)
    for fault in faults:
        worse = _met(fault, fate, lots)
        if worse is not fate:
            return worse
    return fate


def failing(fate: Fate, failure: FailedError, seconds: float) -> Fate:
    """Returns the fate that ends in a failure after so many seconds instead."""
    return replace(fate, failure=failure, failure_seconds=seconds)


def _met(fault: Fault, fate: Fate, lots: Lots) -> Fate:
    """Returns what a fault makes of a fate."""
    what = fault.what
    if what is What.REFUSED:
        return failing(fate, FailedError(FailureKind.CONNECTION), REFUSED_AFTER_SECONDS)
    if what is What.ERRORS and lots.hit < fault.share:
        return failing(fate, FailedError(FailureKind.SERVER_ERROR, 500), fault.after_seconds)
    if what is What.OVERLOADED and lots.hit < fault.share:
        return failing(fate, FailedError(FailureKind.OVERLOADED, 529), REFUSED_AFTER_SECONDS)
    if what is What.CUT and lots.cut < fault.share:
        return replace(fate, cut_before=lots.cut_before)
    if what in {What.BLACK_HOLE, What.SILENT}:
        return replace(fate, black_hole=what is What.BLACK_HOLE, silent=what is What.SILENT)
    return fate
