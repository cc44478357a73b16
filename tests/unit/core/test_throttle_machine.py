"""A throttle in any order of sends, refusals, answers and pauses, against a list of all that happened."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from turnout_server.core.settings import PressureSettings
from turnout_server.core.throttle import BUCKET_COUNT, Throttle

COUNTS = st.sampled_from([1, 5, 12, 60])
BUCKET_SECONDS = 6.0


class ThrottleMachine(RuleBasedStateMachine):
    """Every refusal follows a send; an answer or a send may come at any time."""

    @initialize(multiplier=st.sampled_from([1.5, 2.0, 4.0]))
    def begin(self, multiplier: float) -> None:
        self.settings = PressureSettings(throttle_multiplier=multiplier)
        self.throttle = Throttle(self.settings)
        self.now = 1000.0
        self.log: list[tuple[int, str]] = []
        self.out = 0
        self.exact = True
        """Nothing was halved, and no refusal outlived its send: the log alone tells the formula."""

    @rule(count=COUNTS)
    def send(self, count: int) -> None:
        for _ in range(count):
            self.throttle.sent(self.now)
        self.note("sent", count)
        self.out += count

    @rule(count=COUNTS)
    def refuse(self, count: int) -> None:
        count = min(count, self.out, self.counted()["sent"] - self.counted()["refused"])
        for _ in range(count):
            self.throttle.refused(self.now)
        self.note("refused", count)
        self.out -= count

    @rule(count=COUNTS)
    def accept(self, count: int) -> None:
        before = self.throttle.accepts(self.now)
        for _ in range(count):
            self.throttle.accepted(self.now)
        # Answers only ever help.
        assert self.throttle.accepts(self.now)[1] >= before[1]
        self.exact = self.exact and self.throttle.accepts(self.now) == before

    @rule(count=COUNTS)
    def spare(self, count: int) -> None:
        for _ in range(count):
            self.throttle.spare(self.now)
        self.note("spared", count)

    @rule(seconds=st.sampled_from([0.1, 0.9, 1.0, 6.0, 40.0, 119.0, 126.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds
        counted = self.counted()
        self.exact = self.exact and counted["refused"] <= counted["sent"]

    @rule()
    def close_a_breaker(self) -> None:
        self.throttle.reset()
        self.log.clear()
        self.out = 0
        self.exact = True

    @rule(seed=st.integers(0, 9))
    def a_window_of_silence_forgets_everything(self, seed: int) -> None:
        self.now += self.settings.throttle_window_seconds + BUCKET_SECONDS + random.Random(seed).random()

        assert (self.throttle.pressure(self.now), self.throttle.accepts(self.now)) == (0.0, (0, 0))
        assert not self.throttle._buckets

        self.exact = True

    @invariant()
    def the_share_is_a_probability_and_floors_hold(self) -> None:
        pressure, share = self.throttle.pressure(self.now), self.throttle.share(self.now)
        counted = self.counted()

        assert 0.0 <= share <= pressure < 1.0
        assert pressure == 0.0 or self.throttle.troubled
        if counted["sent"] + counted["spared"] < self.settings.throttle_minimum_count:
            assert pressure == 0.0
        if self.now - self.throttle._last_sent_at >= self.settings.throttle_floor_seconds:
            assert share == 0.0

    @invariant()
    def the_formula_holds_for_what_the_window_holds(self) -> None:
        if not self.exact:
            return
        counted = self.counted()
        requests, accepts = counted["sent"] + counted["spared"], counted["sent"] - counted["refused"]
        expected = 0.0
        if counted["refused"] and requests >= self.settings.throttle_minimum_count:
            multiplier = self.settings.throttle_multiplier or 0.0
            expected = max(0.0, (requests - multiplier * accepts) / (requests + 1))

        assert expected == pytest.approx(self.throttle.pressure(self.now))
        assert (counted["sent"], accepts) == self.throttle.accepts(self.now)

    @invariant()
    def memory_is_bounded_and_sums_are_those_of_the_buckets(self) -> None:
        throttle = self.throttle

        assert len(throttle._buckets) <= BUCKET_COUNT
        assert throttle._sent == sum(bucket.sent for bucket in throttle._buckets)
        assert throttle._spared == sum(bucket.spared for bucket in throttle._buckets)
        assert throttle._refused == sum(bucket.refused for bucket in throttle._buckets)
        assert 0 <= throttle._refused <= throttle._sent

    def note(self, what: str, count: int) -> None:
        self.log += [(self.bucket(), what)] * count

    def bucket(self) -> int:
        return int(self.now * BUCKET_COUNT // self.settings.throttle_window_seconds)

    def counted(self) -> Counter[str]:
        oldest = self.bucket() - BUCKET_COUNT
        self.log = [entry for entry in self.log if entry[0] > oldest]
        return Counter(what for _, what in self.log)


TestThrottle = ThrottleMachine.TestCase
TestThrottle.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
