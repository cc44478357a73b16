"""The limit of calls at once that is learned from refusals: none for whoever takes them all."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from turnout_server.core.concurrency import ConcurrencyLimit
from turnout_server.core.settings import PressureSettings

PLAIN = PressureSettings()


def crowd(limit: ConcurrencyLimit, in_flight: int, refused: int, *, now: float) -> list[bool]:
    """So many calls are sent at once, and some of them refused a moment later."""
    for n in range(in_flight):
        limit.sent(n + 1, now)
    return [limit.refused(now, now + 0.1) for _ in range(refused)]


def test_nothing_is_limited_before_anything_is_refused() -> None:
    limit = ConcurrencyLimit(PLAIN)
    crowd(limit, 1000, 0, now=0.0)

    assert (limit.limit(0.0), limit.in_force) == (None, False)


def test_a_tenth_of_refusals_makes_the_limit_seven_tenths_of_what_was_in_flight() -> None:
    limit = ConcurrencyLimit(PLAIN)

    assert [False] * 9 + [True] == crowd(limit, 100, 10, now=0.0)
    assert limit.limit(0.1) == 70


def test_two_refusals_or_less_than_a_tenth_change_nothing() -> None:
    few, many = ConcurrencyLimit(PLAIN), ConcurrencyLimit(PLAIN)
    crowd(few, 5, 2, now=0.0)
    crowd(many, 100, 9, now=0.0)

    assert (few.limit(0.1), many.limit(0.1)) == (None, None)


def test_refusals_of_calls_from_before_a_decrease_are_part_of_it() -> None:
    limit = ConcurrencyLimit(PLAIN)
    crowd(limit, 100, 60, now=0.0)

    assert limit.limit(0.1) == 70

    crowd(limit, 70, 7, now=0.2)

    assert limit.limit(0.3) == 49


def test_it_is_never_below_three() -> None:
    limit = ConcurrencyLimit(PLAIN)
    for second in range(10):
        crowd(limit, 4, 4, now=float(second))

    assert limit.limit(10.0) == 3


def test_it_rises_by_one_a_second_while_all_of_it_is_used() -> None:
    limit = ConcurrencyLimit(PLAIN)
    crowd(limit, 20, 5, now=0.0)
    reached = []
    for second in range(1, 6):
        in_flight = 0
        while in_flight < (limit.limit(second) or 0):
            in_flight += 1
            limit.sent(in_flight, float(second))
        reached.append(in_flight)

    assert reached == [14, 15, 16, 17, 18]


def test_it_does_not_rise_where_it_is_not_used() -> None:
    limit = ConcurrencyLimit(PLAIN)
    crowd(limit, 20, 5, now=0.0)
    for second in range(1, 30):
        crowd(limit, 10, 0, now=float(second))

    assert limit.limit(30.0) == 14


def test_it_is_forgotten_a_minute_after_the_last_decrease() -> None:
    limit = ConcurrencyLimit(PLAIN)
    crowd(limit, 20, 5, now=0.0)

    assert (limit.limit(60.0), limit.limit(60.2)) == (14, None)


def test_switched_off_it_learns_nothing() -> None:
    limit = ConcurrencyLimit(PressureSettings(adaptive_concurrency=False))
    crowd(limit, 100, 100, now=0.0)

    assert limit.limit(0.1) is None


@given(capacity=st.integers(10, 40), excess=st.integers(2, 4), answer_seconds=st.sampled_from([0.5, 2.0]))
@hypothesis_settings(max_examples=15)
def test_a_target_of_any_capacity_is_used_well_and_refuses_hardly_anything(
    capacity: int, excess: int, answer_seconds: float
) -> None:
    """More calls than it copes with come all the time; those beyond the limit go elsewhere."""
    limit = ConcurrencyLimit(PLAIN)
    running: deque[float] = deque()
    rate = excess * capacity / answer_seconds
    sent = refused = busy = 0
    for n in range(int(90 * rate)):
        now = n / rate
        while running and running[0] <= now:
            running.popleft()
        allowed = limit.limit(now)
        if allowed is None or len(running) < allowed:
            limit.sent(len(running) + 1, now)
            takes = len(running) < capacity
            if takes:
                running.append(now + answer_seconds)
            else:
                limit.refused(now, now)
            if now >= 30.0:
                sent += 1
                refused += not takes
        if now >= 30.0:
            busy += len(running)

    assert refused <= 0.1 * sent
    assert busy / (60 * rate) >= 0.75 * capacity


@given(load=st.lists(st.integers(1, 500), min_size=1, max_size=50))
def test_a_healthy_target_is_never_held_back_however_its_load_grows(load: list[int]) -> None:
    limit = ConcurrencyLimit(PLAIN)
    for second, in_flight in enumerate(load):
        crowd(limit, in_flight, 0, now=second / 4)

        assert limit.limit(second / 4) is None


class LimitMachine(RuleBasedStateMachine):
    """A limit in any order of sends, ends and refusals."""

    @initialize(seed=st.integers(0, 1))
    def begin(self, seed: int) -> None:
        self.settings = PressureSettings(concurrency_floor=3 + seed)
        self.limit = ConcurrencyLimit(self.settings)
        self.now = 1000.0
        self.running: list[float] = []
        self.refused_at: list[float] = []
        self.highest = 0

    @rule(count=st.sampled_from([1, 4, 12, 40]))
    def send(self, count: int) -> None:
        before = self.limit.limit(self.now)
        for _ in range(count):
            self.running.append(self.now)
            self.limit.sent(len(self.running), self.now)
            self.highest = max(self.highest, len(self.running))
        after = self.limit.limit(self.now)
        # Sending never lowers a limit, and raises it by one at most.
        assert after == before or (before is not None and after == before + 1)

    @rule(count=st.sampled_from([1, 4, 12, 40]))
    def end(self, count: int) -> None:
        del self.running[:count]

    @rule(count=st.sampled_from([1, 3, 12]), newest=st.booleans())
    def refuse(self, count: int, newest: bool) -> None:  # noqa: FBT001  # drawn
        for _ in range(min(count, len(self.running))):
            before = self.limit.limit(self.now)
            began_at = self.running.pop() if newest else self.running.pop(0)
            begins = self.limit.refused(began_at, self.now)
            self.refused_at.append(self.now)
            after = self.limit.limit(self.now)

            assert begins is (before is None and after is not None)
            # A refusal never raises a limit above the floor.
            assert before is None or (after is not None and after <= max(before, self.settings.concurrency_floor))

    @rule(seconds=st.sampled_from([0.0, 0.3, 1.0, 11.0, 59.0, 61.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def close_a_breaker(self) -> None:
        self.limit.reset()
        self.refused_at.clear()

        assert self.limit.limit(self.now) is None

    @invariant()
    def a_limit_has_its_reasons_and_its_bounds(self) -> None:
        limit = self.limit.limit(self.now)
        if limit is None:
            return
        memory = self.settings.concurrency_memory_seconds
        lately = [at for at in self.refused_at if self.now - at < memory]

        assert lately
        assert len(self.refused_at) >= self.settings.concurrency_refused_count
        # At most one more for each second since, of what was once in flight.
        assert self.settings.concurrency_floor <= limit <= max(self.highest, 3) + memory + 1


TestLimit = LimitMachine.TestCase
TestLimit.settings = hypothesis_settings(max_examples=30, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize("latency_seconds", [1.0, 4.0, 16.0])
def test_slowness_alone_changes_nothing(latency_seconds: float) -> None:
    limit = ConcurrencyLimit(PLAIN)
    for n in range(1000):
        limit.sent(int(10 * latency_seconds), n / 10)

    assert limit.limit(100.0) is None
