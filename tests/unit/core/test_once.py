"""Keys seen lately: each counts once, and none is remembered for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from turnout_server.core.once import SeenKeys

T = 1000.0


def test_key_is_new_once() -> None:
    seen = SeenKeys()

    assert [seen.add("d", "a", now=T), seen.add("d", "a", now=T), seen.add("d", "b", now=T)] == [True, False, True]
    assert seen.has("d", "a", now=T)
    assert not seen.has("d", "c", now=T)


def test_parts_of_a_key_do_not_run_together() -> None:
    seen = SeenKeys()
    seen.add("ab", "c", now=T)

    assert seen.add("a", "bc", now=T)


def test_key_is_forgotten_after_an_hour() -> None:
    seen = SeenKeys()
    seen.add("d", now=T)

    assert seen.has("d", now=T + 3599.9)
    assert not seen.has("d", now=T + 3600.0)
    assert seen.add("d", now=T + 3600.0)


def test_oldest_key_is_forgotten_when_there_are_too_many() -> None:
    seen = SeenKeys(maximum=3)
    for key in "abcd":
        seen.add(key, now=T)

    assert [seen.has(key, now=T) for key in "abcd"] == [False, True, True, True]
    assert len(seen) == 3


@given(st.lists(st.tuples(st.floats(0.0, 20.0), st.text(max_size=3)), max_size=60))
def test_seen_keys_agree_with_a_plain_list(steps: list[tuple[float, str]]) -> None:
    seen = SeenKeys(maximum=5, seconds=30.0)
    known: list[tuple[float, str]] = []
    now = T
    for passed, key in steps:
        now += passed
        known = [(at, other) for at, other in known if now - at < 30.0]
        is_new = all(other != key for _, other in known)

        assert seen.add(key, now=now) is is_new

        if is_new:
            known = [*known, (now, key)][-5:]
