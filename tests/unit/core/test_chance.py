"""Chance that is drawn once and used twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from turnout_server.core.chance import Recorded, Replayed

DRAWS: dict[str, Callable[[Random], object]] = {
    "random": lambda rng: rng.random(),
    "uniform": lambda rng: rng.uniform(-3.0, 7.0),
    "expovariate": lambda rng: rng.expovariate(2.0),
    "randrange": lambda rng: rng.randrange(1000),
    "getrandbits": lambda rng: rng.getrandbits(128),
    "choice": lambda rng: rng.choice("abcdefg"),
    "choices": lambda rng: rng.choices((1, 2, 3), (5.0, 1.0, 0.5)),
    "sample": lambda rng: rng.sample(range(50), 3),
    "shuffled": lambda rng: rng.sample(range(9), 9),
}
NAMES = st.lists(st.sampled_from(sorted(DRAWS)), max_size=30)


@given(seed=st.integers(), names=NAMES)
def test_whoever_draws_from_what_is_remembered_gets_what_the_source_would_have_given(
    seed: int, names: Sequence[str]
) -> None:
    alone, source = Random(seed), Random(seed)
    recorded = Recorded(source)

    assert [DRAWS[name](alone) for name in names] == [DRAWS[name](recorded) for name in names]
    assert alone.getstate() == source.getstate()


@given(seed=st.integers(), count=st.integers(0, 20), more=st.integers(0, 20))
def test_what_was_drawn_is_handed_out_again_and_then_chance_of_its_own(seed: int, count: int, more: int) -> None:
    recorded = Recorded(Random(seed))
    recorded.begin()
    first = [recorded.random() for _ in range(count)]
    replayed, own = Replayed(5), Random(5)
    replayed.begin(recorded.drawn)

    assert first == [replayed.random() for _ in range(count)]
    assert [own.random() for _ in range(more)] == [replayed.random() for _ in range(more)]


def test_what_was_drawn_before_it_began_is_forgotten() -> None:
    recorded = Recorded(Random(1))
    recorded.random()
    recorded.begin()
    kept = recorded.drawn
    recorded.begin()
    second = recorded.random()

    assert ([], [second]) == (list(kept), list(recorded.drawn))
