"""Waits before the same target is used again."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.core.backoff import backoff_ceiling_seconds, backoff_seconds, quick_retry_seconds
from turnout_server.core.settings import BackoffKind, BackoffSettings, FailoverSettings


@pytest.mark.parametrize(
    ("kind", "ceilings"),
    [
        (BackoffKind.EXPONENTIAL, [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]),
        (BackoffKind.LINEAR, [0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4]),
    ],
)
def test_ceiling_grows_by_its_kind_up_to_the_maximum(kind: BackoffKind, ceilings: list[float]) -> None:
    settings = BackoffSettings(kind=kind)

    assert ceilings == pytest.approx([backoff_ceiling_seconds(settings, retry) for retry in range(7)])


@given(st.integers(0, 10_000), st.integers(), st.sampled_from(BackoffKind))
def test_backoff_is_jittered_over_its_whole_range_and_never_beyond_five_seconds(
    retry: int, seed: int, kind: BackoffKind
) -> None:
    wait = backoff_seconds(BackoffSettings(kind=kind), retry, random.Random(seed))

    assert 0.0 <= wait <= 5.0


def test_backoff_has_full_jitter() -> None:
    rng = random.Random(1)
    waits = [backoff_seconds(BackoffSettings(), 10, rng) for _ in range(1000)]

    assert min(waits) < 0.1
    assert max(waits) > 4.9


def test_quick_retry_waits_50_to_200_milliseconds() -> None:
    rng = random.Random(1)
    waits = [quick_retry_seconds(FailoverSettings(), rng) for _ in range(1000)]

    assert min(waits) == pytest.approx(0.05, abs=0.005)
    assert max(waits) == pytest.approx(0.2, abs=0.005)
