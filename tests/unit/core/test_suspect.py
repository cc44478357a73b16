"""A target that has gone quiet is seen before the first timeout."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from turnout_server.core.settings import HealthSettings
from turnout_server.core.suspect import SuspectWatch

T = 1000.0
P95 = 0.5


def waiting(count: int, at: float = T) -> SuspectWatch:
    watch = SuspectWatch(HealthSettings())
    for n in range(count):
        watch.started(f"attempt {n}", at)
    return watch


def test_five_attempts_without_a_token_for_two_seconds_make_suspect() -> None:
    watch = waiting(5)

    assert not watch.suspect(P95, T + 2.0)
    assert watch.suspect(P95, T + 2.01)


def test_four_attempts_never_do() -> None:
    assert not waiting(4).suspect(P95, T + 1000.0)


def test_slow_target_has_three_times_its_p95() -> None:
    watch = waiting(5)

    assert not watch.suspect(3.0, T + 9.0)
    assert watch.suspect(3.0, T + 9.01)


def test_five_of_them_must_be_that_old() -> None:
    watch = waiting(4)
    watch.started("late", T + 10.0)

    assert not watch.suspect(P95, T + 12.0)
    assert watch.suspect(P95, T + 12.01)


def test_first_token_clears_all_who_wait() -> None:
    watch = waiting(50)
    watch.first_token()

    assert not watch.suspect(P95, T + 100.0)
    assert watch.waiting_count == 0


def test_attempts_after_the_token_count_anew() -> None:
    watch = waiting(5)
    watch.first_token()
    for n in range(5):
        watch.started(f"later {n}", T + 10.0)

    assert not watch.suspect(P95, T + 12.0)
    assert watch.suspect(P95, T + 12.1)


def test_attempts_that_ended_do_not_wait() -> None:
    watch = waiting(5)
    watch.ended("attempt 0")

    assert not watch.suspect(P95, T + 100.0)


def test_suspicion_is_new_once_and_stays_while_some_still_wait() -> None:
    watch = waiting(5)

    assert [watch.flag(P95, T + at) for at in (1.0, 3.0, 4.0)] == [False, True, False]

    watch.ended("attempt 0")

    assert watch.suspect(P95, T + 5.0)


def test_suspicion_ends_with_an_answer() -> None:
    watch = waiting(5)
    watch.flag(P95, T + 3.0)
    watch.first_token()

    assert not watch.suspect(P95, T + 3.0)
    assert not watch.may_be


def test_suspicion_ends_when_none_is_left_who_could_answer() -> None:
    watch = waiting(5)
    watch.flag(P95, T + 3.0)
    for n in range(5):
        watch.ended(f"attempt {n}")

    assert not watch.suspect(P95, T + 4.0)


@given(st.lists(st.tuples(st.sampled_from(["start", "end", "token"]), st.integers(0, 9)), max_size=80))
def test_watch_agrees_with_counting_the_waiting_ones(steps: list[tuple[str, int]]) -> None:
    watch = SuspectWatch(HealthSettings())
    began: dict[str, float] = {}
    now = T
    for what, number in steps:
        now += 0.5
        name = f"attempt {number}"
        if what == "start" and name not in began:
            watch.started(name, now)
            began[name] = now
        elif what == "end":
            watch.ended(name)
            began.pop(name, None)
        elif what == "token":
            watch.first_token()
            began.clear()

        assert watch.suspect(P95, now) is (sum(now - at > 2.0 for at in began.values()) >= 5)
