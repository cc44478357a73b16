"""A target's breaker: what opens it, for how long, what closes it, and how it comes back."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.core.breaker import Breaker
from turnout_server.core.gate import Change
from turnout_server.core.model import BreakerState, FailureKind
from turnout_server.core.settings import PRESETS, BreakerSettings, Preset

T = 1000.0
EXACT = BreakerSettings(open_jitter=0.0)
CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


def breaker(settings: BreakerSettings = EXACT, seed: int = 1) -> Breaker:
    return Breaker(settings, random.Random(seed))


def fail(
    gate: Breaker, *times: float, kind: FailureKind = FailureKind.SERVER_ERROR, call: str = "", probe_id: str = ""
) -> Change:
    change = Change.NONE
    for at in times:
        change = gate.record_failure(kind, call or f"call at {at}", at, probe_id=probe_id)
    return change


def opened(settings: BreakerSettings = EXACT, kind: FailureKind = FailureKind.SERVER_ERROR) -> Breaker:
    """A breaker that opened at T."""
    gate = breaker(settings)
    count = settings.consecutive_failures
    change = fail(gate, *(T - 2.0 + 2.0 * n / (count - 1) for n in range(count)), kind=kind)

    assert change is Change.OPENED
    return gate


def try_once(gate: Breaker, at: float, *, ok: bool, probe_id: str = "") -> Change:
    probe = gate.lease(now=at, lease_seconds=10.0, probe_id=probe_id or f"probe at {at}")
    assert probe is not None
    if ok:
        return gate.record_success(at, probe_id=probe.probe_id)
    return gate.record_failure(FailureKind.SERVER_ERROR, "trial", at, probe_id=probe.probe_id)


# What opens it: failures in a row.


@pytest.mark.parametrize("preset", Preset)
def test_breaker_opens_with_the_presets_number_of_failures_in_a_row(preset: Preset) -> None:
    settings = PRESETS[preset]
    gate = breaker(settings)
    fail(gate, *(T + n for n in range(settings.consecutive_failures - 1)))

    assert gate.state(T + 10.0) is CLOSED

    fail(gate, T + 10.0)

    assert gate.state(T + 10.0) is OPEN


def test_presets_are_two_three_and_five_failures_and_one_two_and_three_successes() -> None:
    values = {p: (s.consecutive_failures, s.recovery_successes, s.open_seconds) for p, s in PRESETS.items()}

    assert values == {
        Preset.AGGRESSIVE: (2, 1, 3.0),
        Preset.BALANCED: (3, 2, 5.0),
        Preset.CONSERVATIVE: (5, 3, 300.0),
    }


def test_failures_of_one_call_count_once() -> None:
    gate = breaker()
    fail(gate, T, T + 1.0, T + 2.0, T + 3.0, call="the same")

    assert gate.state(T + 3.0) is CLOSED
    assert gate.consecutive_failures == 1


def test_failures_within_one_second_are_one_burst_and_do_not_open() -> None:
    gate = breaker()
    fail(gate, T, T + 0.3, T + 0.6, T + 0.99)

    assert gate.state(T + 0.99) is CLOSED

    fail(gate, T + 1.0)

    assert gate.state(T + 1.0) is OPEN


def test_burst_of_any_size_opens_with_the_first_failure_after_a_second() -> None:
    # So that the burst alone is no ratio either.
    gate = breaker(dataclasses.replace(EXACT, ratio_minimum_count=10_000))
    fail(gate, *(T + n / 1000.0 for n in range(500)))

    assert gate.state(T + 0.5) is CLOSED

    fail(gate, T + 1.0)

    assert gate.state(T + 1.0) is OPEN


def test_failures_expire_after_five_minutes() -> None:
    gate = breaker()
    fail(gate, T, T + 1.0, T + 300.0)

    assert gate.state(T + 300.0) is CLOSED
    assert gate.consecutive_failures == 2


def test_failures_a_little_closer_than_five_minutes_do_not_expire() -> None:
    gate = breaker()
    fail(gate, T, T + 1.0, T + 299.9)

    assert gate.state(T + 299.9) is OPEN


def test_success_ends_a_streak() -> None:
    gate = breaker()
    fail(gate, T, T + 1.0)
    gate.record_success(T + 1.5)
    fail(gate, T + 2.0, T + 3.0)

    assert gate.state(T + 3.0) is CLOSED


# What opens it: the share of failures.


def mixed(gate: Breaker, successes: int, failures: int, at: float = T) -> None:
    """Failures all within one call, so that only their share can open."""
    for _ in range(successes):
        gate.record_success(at)
    for _ in range(failures):
        gate.record_failure(FailureKind.SERVER_ERROR, "one call", at)


def test_half_of_ten_within_thirty_seconds_opens() -> None:
    gate = breaker()
    mixed(gate, 5, 4)

    assert gate.state(T) is CLOSED

    mixed(gate, 0, 1)

    assert gate.state(T) is OPEN


def test_all_of_nine_do_not_open_by_their_share() -> None:
    gate = breaker()
    mixed(gate, 0, 9)

    assert gate.state(T) is CLOSED


def test_less_than_half_does_not_open() -> None:
    gate = breaker()
    mixed(gate, 101, 100)

    assert gate.state(T) is CLOSED


def test_share_forgets_what_is_older_than_thirty_seconds() -> None:
    gate = breaker()
    mixed(gate, 5, 4)
    mixed(gate, 0, 1, at=T + 31.0)

    assert gate.state(T + 31.0) is CLOSED


def test_share_remembers_what_is_younger_than_thirty_seconds() -> None:
    gate = breaker()
    mixed(gate, 5, 4)
    mixed(gate, 0, 1, at=T + 28.0)

    assert gate.state(T + 28.0) is OPEN


# For how long.


@pytest.mark.parametrize(("preset", "first", "longest"), [("aggressive", 3, 15), ("balanced", 5, 25)])
def test_open_time_doubles_with_each_reopening_up_to_its_maximum(preset: str, first: float, longest: float) -> None:
    settings = dataclasses.replace(PRESETS[Preset(preset)], open_jitter=0.0)
    gate = opened(settings)
    spans = [gate.reopen_at - T]
    for _ in range(5):
        at = gate.reopen_at
        try_once(gate, at, ok=False)
        spans.append(gate.reopen_at - at)

    assert spans == [min(first * 2**n, longest) for n in range(6)]


def test_conservative_open_time_is_always_five_minutes() -> None:
    gate = opened(dataclasses.replace(PRESETS[Preset.CONSERVATIVE], open_jitter=0.0))

    assert gate.reopen_at == T + 300.0

    try_once(gate, T + 300.0, ok=False)

    assert gate.reopen_at == T + 600.0


def test_open_time_never_ends_in_an_overflow() -> None:
    gate = opened()
    for _ in range(2000):
        try_once(gate, gate.reopen_at, ok=False)

    assert gate.reopen_at < float("inf")


def test_no_open_time_is_longer_than_the_longest_and_chance_spreads_those_too() -> None:
    last = []
    for seed in range(200):
        gate = breaker(BreakerSettings(), seed)
        fail(gate, T - 2.0, T - 1.0, T)
        for _ in range(5):
            try_once(gate, gate.reopen_at, ok=False)
        tried_at = gate.reopen_at
        try_once(gate, tried_at, ok=False)
        last.append(gate.reopen_at - tried_at)

    assert 24.8 < max(last) <= 25.0
    assert 20.4 < min(last) < 20.7


def test_chance_spreads_the_first_open_time_even_where_none_is_longer() -> None:
    first = []
    for seed in range(200):
        gate = breaker(BreakerSettings(open_seconds=300.0, open_max_seconds=300.0), seed)
        fail(gate, T - 2.0, T - 1.0, T)
        first.append(gate.reopen_at - T)

    assert 329.0 < max(first) <= 330.0
    assert 270.0 <= min(first) < 271.0


def test_jitter_spreads_open_times_by_ten_percent_either_way() -> None:
    spans = []
    for seed in range(300):
        gate = breaker(BreakerSettings(), seed)
        fail(gate, T - 2.0, T - 1.0, T)
        spans.append(gate.reopen_at - T)

    assert 4.5 <= min(spans) < 4.55
    assert 5.45 < max(spans) <= 5.5


def test_failure_while_open_changes_nothing() -> None:
    gate = opened()
    before = gate.reopen_at
    fail(gate, T + 1.0, T + 2.0, T + 3.0, T + 4.0)

    assert gate.reopen_at == before
    assert gate.state(T + 4.9) is OPEN


def test_later_deadline_never_shortens_an_earlier_one() -> None:
    gate = opened()
    gate.reopen_at = T + 100.0
    gate._open(FailureKind.TIMEOUT, T + 1.0)

    assert gate.reopen_at == T + 100.0


def close(gate: Breaker, at: float) -> None:
    while not gate.closed:
        try_once(gate, at, ok=True)


def test_escalation_starts_anew_after_it_stayed_closed_for_the_ramp() -> None:
    gate = opened()
    close(gate, T + 5.0)
    fail(gate, T + 33.0, T + 34.0, T + 35.0)

    assert gate.reopen_at == T + 35.0 + 5.0


def test_escalation_goes_on_when_it_opens_again_soon() -> None:
    gate = opened()
    close(gate, T + 5.0)
    fail(gate, T + 32.0, T + 33.0, T + 34.9)

    assert gate.reopen_at == T + 34.9 + 10.0


# Half-open: one trial at a time.


def test_open_breaker_admits_nothing_before_its_reopen_time() -> None:
    gate = opened()

    assert not gate.admits(T + 4.9)
    assert gate.retry_at(T + 4.9) == T + 5.0
    assert gate.lease(now=T + 4.9, lease_seconds=1.0, probe_id="p") is None


def test_half_open_breaker_leases_one_trial_at_a_time() -> None:
    gate = opened()

    assert gate.state(T + 5.0) is HALF_OPEN
    assert gate.admits(T + 5.0)
    assert gate.retry_at(T + 5.0) is None

    probe = gate.lease(now=T + 5.0, lease_seconds=10.0, probe_id="first")

    assert probe is not None
    assert probe.expires_at == T + 15.0
    assert not gate.admits(T + 6.0)
    assert gate.retry_at(T + 6.0) == T + 15.0


def test_running_trial_is_told_by_when_its_answer_is_expected() -> None:
    gate = opened()
    gate.lease(now=T + 5.0, lease_seconds=60.0, probe_id="p", expected_seconds=2.0)

    assert gate.retry_at(T + 5.0) == T + 7.0
    assert gate.retry_at(T + 6.0) == T + 7.0


def test_trial_that_is_late_is_taken_to_need_as_long_again_but_never_beyond_its_lease() -> None:
    gate = opened()
    gate.lease(now=T + 5.0, lease_seconds=10.0, probe_id="p", expected_seconds=2.0)

    assert gate.retry_at(T + 8.0) == T + 11.0
    assert gate.retry_at(T + 14.0) == T + 15.0


def test_trial_that_may_last_longer_than_its_lease_is_told_by_its_lease() -> None:
    gate = opened()
    gate.lease(now=T + 5.0, lease_seconds=10.0, probe_id="p", expected_seconds=99.0)

    assert gate.retry_at(T + 6.0) == T + 15.0
    assert gate.lease(now=T + 6.0, lease_seconds=10.0, probe_id="second") is None


def test_closed_breaker_has_no_trial_to_lease() -> None:
    gate = breaker()

    assert gate.lease(now=T, lease_seconds=10.0, probe_id="p") is None
    assert gate.admits(T)


def test_lapsed_trial_frees_its_slot_and_changes_nothing_else() -> None:
    gate = opened()
    gate.due(T + 5.0)
    gate.lease(now=T + 5.0, lease_seconds=10.0, probe_id="first")

    assert gate.due(T + 14.9).lapsed == ""
    assert gate.due(T + 15.0).lapsed == "first"
    assert gate.due(T + 15.0).lapsed == ""
    assert gate.state(T + 15.0) is HALF_OPEN
    assert gate.lease(now=T + 15.0, lease_seconds=10.0, probe_id="second") is not None


def test_slot_is_free_at_the_leases_end_even_before_anybody_looks() -> None:
    gate = opened()
    gate.lease(now=T + 5.0, lease_seconds=10.0, probe_id="first")

    assert gate.admits(T + 15.0)


def test_released_trial_frees_its_slot_at_once_and_says_nothing() -> None:
    gate = opened()
    gate.lease(now=T + 5.0, lease_seconds=10.0, probe_id="first")
    gate.release("first")

    assert gate.state(T + 5.0) is HALF_OPEN
    assert gate.admits(T + 5.0)
    assert gate.record_success(T + 6.0, probe_id="first") is Change.NONE


def test_release_of_another_trial_does_not_free_the_slot() -> None:
    gate = opened()
    gate.lease(now=T + 5.0, lease_seconds=10.0, probe_id="first")
    gate.release("another")

    assert not gate.admits(T + 5.0)


@pytest.mark.parametrize(("preset", "successes"), [("aggressive", 1), ("balanced", 2), ("conservative", 3)])
def test_presets_number_of_successful_trials_closes(preset: str, successes: int) -> None:
    gate = opened(dataclasses.replace(PRESETS[Preset(preset)], open_jitter=0.0))
    at = gate.reopen_at
    changes = [try_once(gate, at + n, ok=True) for n in range(successes)]

    assert changes == [Change.NONE] * (successes - 1) + [Change.CLOSED]
    assert gate.state(at + successes) is CLOSED


def test_failed_trial_opens_again_and_earlier_successes_are_lost() -> None:
    gate = opened()
    try_once(gate, T + 5.0, ok=True)

    assert try_once(gate, T + 6.0, ok=False) is Change.OPENED
    assert gate.state(T + 6.0) is OPEN

    assert try_once(gate, gate.reopen_at, ok=True) is Change.NONE


def test_success_of_a_call_from_before_the_opening_does_not_close() -> None:
    gate = opened()
    for n in range(10):
        gate.record_success(T + 5.0 + n)

    assert gate.state(T + 15.0) is HALF_OPEN


def test_failure_of_a_call_from_before_the_opening_does_not_end_a_half_opening() -> None:
    gate = opened()
    fail(gate, T + 6.0, T + 8.0)

    assert gate.state(T + 8.0) is HALF_OPEN
    assert gate.reopen_at == T + 5.0


def test_trial_that_succeeds_after_its_lease_still_counts() -> None:
    gate = opened(dataclasses.replace(EXACT, recovery_successes=1))
    gate.lease(now=T + 5.0, lease_seconds=1.0, probe_id="slow")
    gate.due(T + 7.0)

    assert gate.record_success(T + 7.0, probe_id="slow") is Change.CLOSED


def test_trial_of_an_earlier_opening_counts_no_more() -> None:
    gate = opened(dataclasses.replace(EXACT, recovery_successes=1))
    gate.lease(now=T + 5.0, lease_seconds=1.0, probe_id="slow")
    try_once(gate, T + 6.0, ok=False)

    assert gate.record_success(gate.reopen_at, probe_id="slow") is Change.NONE
    assert not gate.closed


def late_while_another_is_out(lease_seconds: float = 30.0) -> Breaker:
    """A breaker whose first trial outlasted its lease; the second, begun at T + 15, is out for so long."""
    gate = opened()
    gate.lease(now=T + 5.0, lease_seconds=10.0, probe_id="late")
    gate.lease(now=T + 15.0, lease_seconds=lease_seconds, probe_id="out", expected_seconds=2.0)
    return gate


def test_late_failure_of_a_lapsed_trial_leaves_the_slot_with_the_trial_that_is_out() -> None:
    gate = late_while_another_is_out()

    assert fail(gate, T + 16.0, probe_id="late") is Change.OPENED
    assert gate.reopen_at == T + 26.0
    assert gate.state(T + 26.0) is HALF_OPEN
    assert not gate.admits(T + 26.0)
    assert gate.lease(now=T + 26.0, lease_seconds=10.0, probe_id="third") is None
    assert gate.admits(T + 45.0)


def test_that_trial_frees_its_slot_with_its_end_and_says_nothing_of_the_new_opening() -> None:
    gate = late_while_another_is_out()
    fail(gate, T + 16.0, probe_id="late")

    assert gate.record_success(T + 20.0, probe_id="out") is Change.NONE
    assert gate.retry_at(T + 20.0) == T + 26.0
    assert gate.admits(T + 26.0)


def test_breaker_that_is_open_while_a_trial_is_out_admits_when_both_are_over() -> None:
    gate = late_while_another_is_out()
    fail(gate, T + 16.0, probe_id="late")

    # The trial is expected to end first, then it is late.
    assert gate.retry_at(T + 16.0) == T + 26.0
    assert gate.retry_at(T + 25.0) == T + 35.0
    assert gate.retry_at(T + 44.0) == T + 45.0


def test_lease_that_lapses_while_the_breaker_is_open_is_told_then_and_once() -> None:
    gate = late_while_another_is_out(lease_seconds=5.0)
    fail(gate, T + 16.0, probe_id="late")

    assert [gate.due(T + at).lapsed for at in (19.9, 20.0, 26.0)] == ["", "out", ""]


def test_breaker_that_closes_forgets_the_trial_that_is_out() -> None:
    gate = opened(dataclasses.replace(EXACT, recovery_successes=1))
    gate.lease(now=T + 5.0, lease_seconds=10.0, probe_id="late")
    gate.lease(now=T + 15.0, lease_seconds=30.0, probe_id="out")

    assert gate.record_success(T + 16.0, probe_id="late") is Change.CLOSED

    fail(gate, T + 17.0, T + 18.0, T + 19.0)

    assert gate.admits(gate.reopen_at)


def test_one_trial_counts_once() -> None:
    gate = opened()
    gate.lease(now=T + 5.0, lease_seconds=10.0, probe_id="p")

    assert gate.record_success(T + 6.0, probe_id="p") is Change.NONE
    assert gate.record_success(T + 6.0, probe_id="p") is Change.NONE
    assert gate.state(T + 6.0) is HALF_OPEN


def test_half_opening_is_told_once() -> None:
    gate = opened()

    assert [gate.due(T + at).half_open for at in (4.9, 5.0, 6.0)] == [False, True, False]


@pytest.mark.parametrize("kind", [FailureKind.TIMEOUT, FailureKind.STALLED])
def test_breaker_opened_by_silence_says_so(kind: FailureKind) -> None:
    assert opened(kind=kind).opened_by_silence


@pytest.mark.parametrize("kind", [FailureKind.SERVER_ERROR, FailureKind.CONNECTION, FailureKind.OVERLOADED])
def test_breaker_opened_by_an_answer_is_not_silent(kind: FailureKind) -> None:
    assert not opened(kind=kind).opened_by_silence


@pytest.mark.parametrize(("seconds", "silence"), [(0.9, False), (1.0, True)])
def test_failure_to_connect_that_took_a_second_is_silence(seconds: float, silence: bool) -> None:  # noqa: FBT001
    gate = opened()
    probe = gate.lease(now=T + 10.0, lease_seconds=10.0, probe_id="p")
    assert probe is not None
    gate.record_failure(FailureKind.CONNECTION, "trial", T + 10.0 + seconds, probe_id="p", seconds=seconds)

    assert gate.opened_by_silence is silence


def test_closing_forgets_the_failures_behind_the_opening() -> None:
    gate = opened()
    close(gate, T + 5.0)

    assert gate.consecutive_failures == 0
    assert not gate.opened_by_silence

    fail(gate, T + 6.0, T + 7.5)

    assert gate.state(T + 7.5) is CLOSED


def test_closing_forgets_the_share_of_failures() -> None:
    gate = breaker()
    mixed(gate, 0, 10)
    at = gate.reopen_at
    close(gate, at)
    gate.record_failure(FailureKind.SERVER_ERROR, "next", at + 1.0)

    assert gate.state(at + 1.0) is CLOSED


# Ramp.


def busy_and_closed_again(calls: int) -> Breaker:
    """A breaker that closed at T + 5, with so many calls in the 30 s before it opened at T."""
    gate = breaker()
    for n in range(calls - 3):
        gate.record_success(T - 28.0 + 25.0 * n / max(1, calls - 3))
    fail(gate, T - 2.0, T - 1.0, T)

    assert gate.state(T) is OPEN
    close(gate, T + 5.0)
    return gate


def test_ramp_rises_from_a_tenth_to_one_over_thirty_seconds() -> None:
    gate = busy_and_closed_again(calls=60)
    factors = [gate.ramp_factor(T + 5.0 + passed) for passed in (0.0, 15.0, 29.999, 30.0, 1000.0)]

    assert factors == pytest.approx([0.1, 0.55, 1.0, 1.0, 1.0], abs=1e-4)
    assert gate.ramp_factor(T + 35.0) == 1.0


def test_ramp_needs_one_call_a_second() -> None:
    assert busy_and_closed_again(calls=30).ramp_factor(T + 5.0) == 0.1
    assert busy_and_closed_again(calls=29).ramp_factor(T + 5.0) == 1.0


def test_breaker_that_never_opened_does_not_ramp() -> None:
    assert breaker().ramp_factor(T) == 1.0


# Our own network.


def test_forgiven_connection_failures_close_what_only_they_opened() -> None:
    gate = opened(kind=FailureKind.CONNECTION)

    assert gate.forgive_connections(T - 5.0, T + 1.0) is Change.CLOSED
    assert gate.state(T + 1.0) is CLOSED
    assert gate.consecutive_failures == 0


def test_forgiven_share_of_connection_failures_does_not_open_later() -> None:
    gate = breaker()
    for _ in range(9):
        gate.record_failure(FailureKind.CONNECTION, "one call", T)
    gate.forgive_connections(T - 5.0, T)
    mixed(gate, 0, 1)

    assert gate.state(T) is CLOSED


def test_failures_of_other_kinds_are_not_forgiven() -> None:
    gate = opened(kind=FailureKind.SERVER_ERROR)

    assert gate.forgive_connections(T - 5.0, T + 1.0) is Change.NONE
    assert gate.state(T + 1.0) is OPEN


def test_connection_failures_from_before_the_window_are_not_forgiven() -> None:
    gate = opened(kind=FailureKind.CONNECTION)

    assert gate.forgive_connections(T + 1.0, T + 5.0) is Change.NONE
    assert not gate.closed


def test_forgiven_trial_leaves_the_breaker_half_open_as_it_was() -> None:
    gate = opened()
    gate.lease(now=T + 5.0, lease_seconds=10.0, probe_id="p")
    gate.record_failure(FailureKind.CONNECTION, "trial", T + 5.0, probe_id="p")

    assert gate.state(T + 5.0) is OPEN

    gate.forgive_connections(T + 4.0, T + 6.0)

    assert gate.state(T + 6.0) is HALF_OPEN
    assert gate.admits(T + 6.0)


def test_forgiven_opening_leaves_the_trial_that_is_out_its_slot() -> None:
    gate = opened(dataclasses.replace(EXACT, recovery_successes=1))
    gate.lease(now=T + 5.0, lease_seconds=10.0, probe_id="first")
    gate.record_failure(FailureKind.CONNECTION, "trial", T + 5.0, probe_id="first")
    gate.lease(now=gate.reopen_at, lease_seconds=10.0, probe_id="out")
    gate.forgive_connections(T, T + 16.0)

    assert gate.state(T + 16.0) is HALF_OPEN
    assert not gate.admits(T + 16.0)
    # It was leased since the opening that stands.
    assert gate.record_success(T + 17.0, probe_id="out") is Change.CLOSED


# What holds whatever happens.


@given(
    st.lists(
        st.tuples(
            st.floats(0.0, 40.0),
            st.sampled_from(["success", "failure", "trial ok", "trial failed", "trial lost"]),
        ),
        max_size=120,
    ),
    st.sampled_from(list(Preset)),
    st.integers(0, 1000),
)
def test_open_times_are_bounded_and_a_breaker_always_comes_back(
    steps: list[tuple[float, str]], preset: Preset, seed: int
) -> None:
    settings = PRESETS[preset]
    gate = breaker(settings, seed)
    now = T
    for number, (passed, what) in enumerate(steps):
        now += passed
        if what == "success":
            gate.record_success(now)
        elif what == "failure":
            gate.record_failure(FailureKind.SERVER_ERROR, str(number), now)
        else:
            probe = gate.lease(now=now, lease_seconds=5.0, probe_id=str(number))
            if probe is not None and what == "trial ok":
                gate.record_success(now, probe_id=probe.probe_id)
            elif probe is not None and what == "trial failed":
                gate.record_failure(FailureKind.SERVER_ERROR, str(number), now, probe_id=probe.probe_id)
        retry_at = gate.retry_at(now)

        assert gate.admits(now) is (retry_at is None)
        assert retry_at is None or now < retry_at <= now + max(settings.open_max_seconds * 1.1, 5.0)
        assert 0.1 <= gate.ramp_factor(now) <= 1.0
        assert gate.closed or gate.admits(now + settings.open_max_seconds * 1.1 + 5.0)


def test_answer_that_began_before_the_failures_does_not_end_their_row() -> None:
    gate = breaker()
    fail(gate, T, T + 1.0)
    gate.record_success(T + 1.5, began_at=T - 20.0)

    assert 2 == gate.consecutive_failures
    assert Change.OPENED is fail(gate, T + 2.0)


def test_row_disputed_by_answers_from_before_opens_when_an_answer_of_later_is_overdue() -> None:
    gate = breaker()
    fail(gate, T)
    gate.record_success(T + 0.5, began_at=T - 20.0)
    changes = [gate.record_failure(FailureKind.SERVER_ERROR, f"{n}", T + n, overdue_seconds=3.0) for n in (1, 2, 3)]

    assert [Change.NONE, Change.NONE, Change.OPENED] == changes


def test_row_that_no_answer_disputes_needs_only_its_span() -> None:
    gate = breaker()
    changes = [gate.record_failure(FailureKind.SERVER_ERROR, f"{n}", T + n, overdue_seconds=9.0) for n in (0, 1, 2)]

    assert [Change.NONE, Change.NONE, Change.OPENED] == changes


def test_dispute_ends_with_the_row() -> None:
    gate = breaker()
    fail(gate, T)
    gate.record_success(T + 0.5, began_at=T - 20.0)
    gate.record_success(T + 1.0, began_at=T + 0.2)
    changes = [gate.record_failure(FailureKind.SERVER_ERROR, f"{n}", T + n, overdue_seconds=9.0) for n in (2, 3, 4)]

    assert [Change.NONE, Change.NONE, Change.OPENED] == changes


def test_answer_that_began_after_some_of_the_failures_ends_the_row_of_those() -> None:
    gate = breaker()
    fail(gate, T, T + 0.5)
    gate.record_success(T + 0.9, began_at=T + 0.2)

    assert 1 == gate.consecutive_failures


def test_answer_whose_beginning_is_not_known_ends_any_row() -> None:
    gate = breaker()
    fail(gate, T, T + 1.0)
    gate.record_success(T + 1.5)

    assert 0 == gate.consecutive_failures


def test_first_content_of_a_later_attempt_ends_a_row_of_failures_to_begin() -> None:
    gate = breaker()
    fail(gate, T, T + 1.0)
    gate.answering(T + 0.5)

    assert 1 == gate.consecutive_failures
    gate.answering(T + 1.0)

    assert 0 == gate.consecutive_failures


@pytest.mark.parametrize("kind", [FailureKind.TRUNCATED, FailureKind.STALLED, FailureKind.PROTOCOL])
def test_first_content_says_nothing_of_answers_that_break_in_the_middle(kind: FailureKind) -> None:
    gate = breaker()
    fail(gate, T, T + 1.0, kind=kind)
    gate.answering(T + 1.5)

    assert 2 == gate.consecutive_failures
    gate.record_success(T + 2.0, began_at=T - 5.0)

    assert 0 == gate.consecutive_failures
