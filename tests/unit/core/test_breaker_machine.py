"""A target's breaker in any order of events: it opens for what is said to open it, and for nothing less."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from math import floor

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.unit.core.gate_machine import KINDS, SECONDS, GateMachine
from turnout_server.core.breaker import BEFORE_CONTENT, Breaker
from turnout_server.core.gate import Change, Gate
from turnout_server.core.model import FailureKind
from turnout_server.core.settings import BreakerSettings


@dataclass
class Told:
    """One thing that the breaker was told: a failure (`kind`), an answer, or (`first`) that one has begun."""

    at: float
    closed: bool
    kind: FailureKind | None = None
    call: str = ""
    began_at: float | None = None
    first: bool = False

    def refutes(self, failure: Told) -> bool:
        """Whether an answer ends a row of failures that this failure is part of."""
        if self.kind is not None or not self.closed:
            return False
        later = self.began_at is not None and failure.at > self.began_at
        if self.first:
            return not later and failure.kind in BEFORE_CONTENT
        return not later or failure.kind not in BEFORE_CONTENT


class BreakerMachine(GateMachine):
    """Remembers all that was told since it closed, and looks there for reasons to open."""

    gate: Breaker

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Told] = []
        self.overdue = 0.0

    def made(self, settings: BreakerSettings, rng: random.Random) -> Gate:
        return Breaker(settings, rng)

    def failed(self, kind: FailureKind, who: int, probe_id: str) -> Change:
        call = f"call {who}"
        self.told.append(Told(self.now, self.opening is None, kind, call))
        return self.gate.record_failure(kind, call, self.now, probe_id=probe_id, overdue_seconds=self.overdue)

    def answered(self, began_at: float | None, probe_id: str) -> Change:
        self.told.append(Told(self.now, self.opening is None, began_at=began_at))
        return self.gate.record_success(self.now, probe_id=probe_id, began_at=began_at)

    def forgiven(self, since: float) -> Change:
        self.told = [each for each in self.told if each.kind is not FailureKind.CONNECTION or each.at < since]
        self.overdue = 0.0
        return self.gate.forgive_connections(since, self.now)

    def closes(self) -> None:
        self.told.clear()

    @rule(ago=SECONDS)
    def first_content(self, ago: float) -> None:
        self.told.append(Told(self.now, self.opening is None, began_at=self.now - ago, first=True))
        self.gate.answering(self.now - ago)

    @rule(seconds=st.sampled_from([0.0, 2.0, 20.0]))
    def answers_take_longer(self, seconds: float) -> None:
        self.overdue = seconds

    @rule(kind=KINDS, calls=st.integers(1, 8))
    def half_of_them_fail(self, kind: FailureKind, calls: int) -> None:
        for who in range(calls):
            self.answered(None, "")
            self.takes_failure(kind, who, "")
            self.now += 0.25

    def trips(self) -> bool | None:
        """A row trips where enough calls in it stand unrefuted; it must where nothing has been answered since."""
        if self._by_share():
            return True
        standing = [
            each
            for place, each in enumerate(self.told)
            if self._counts(each) and not any(later.refutes(each) for later in self.told[place:])
        ]
        if not self._row(standing, self.breaker.consecutive_span_seconds):
            return False
        last_answer = max((place for place, each in enumerate(self.told) if each.kind is None), default=-1)
        unbroken = [each for each in self.told[last_answer + 1 :] if self._counts(each)]
        old = {each.call for each in self.told if each.kind is not None and not self._young(each)}
        unbroken = [each for each in unbroken if each.call not in old]
        certain = self._row(unbroken, max(self.breaker.consecutive_span_seconds, self.overdue))
        return True if certain else None

    def _by_share(self) -> bool:
        # Whole seconds, and the one that the window's edge cuts is gone.
        edge = floor(self.now - self.breaker.ratio_window_seconds)
        ended = [each for each in self.told if not each.first and floor(each.at) > edge]
        failed = sum(each.kind is not None for each in ended)
        return len(ended) >= self.breaker.ratio_minimum_count and failed >= self.breaker.failure_ratio * len(ended)

    def _young(self, failure: Told) -> bool:
        return failure.at > self.now - self.breaker.consecutive_expiry_seconds

    def _counts(self, each: Told) -> bool:
        return each.kind is not None and each.closed and self._young(each)

    def _row(self, failures: Iterable[Told], span_seconds: float) -> bool:
        row = list(failures)
        enough = len({each.call for each in row}) >= self.breaker.consecutive_failures
        return enough and self.now - row[0].at >= span_seconds


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
