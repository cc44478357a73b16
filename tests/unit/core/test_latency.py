from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.core.latency import LatencyEstimate

NOW = 1000.0


def observed(
    estimate: LatencyEstimate, first: float, *, now: float, output: int = 100, per_token: float = 0.01
) -> None:
    estimate.observe(
        time_to_first_token_seconds=first,
        latency_seconds=first + output * per_token,
        uncached_input_tokens=0,
        output_tokens=output,
        streamed=True,
        now=now,
    )


def test_prediction_starts_from_the_prior_and_never_from_zero() -> None:
    estimate = LatencyEstimate(1.5, 0.02)

    assert (1.5, 0.02) == (estimate.time_to_first_token(0, NOW), estimate.seconds_per_output_token(NOW))


def test_prediction_is_first_token_plus_seconds_per_output_token() -> None:
    estimate = LatencyEstimate(1.5, 0.02)

    assert estimate.predict(0, 200, NOW) == pytest.approx(1.5 + 200 * 0.02)


def test_uncached_input_tokens_delay_the_first_token() -> None:
    estimate = LatencyEstimate(1.0, 0.02)

    assert estimate.time_to_first_token(100_000, NOW) == pytest.approx(4.0)


def test_measurements_replace_the_prior() -> None:
    estimate = LatencyEstimate(1.0, 0.01)
    for i in range(50):
        observed(estimate, 0.5, now=NOW + i)

    assert estimate.time_to_first_token(0, NOW + 50) == pytest.approx(0.5, rel=0.05)


def test_time_per_output_token_is_learned_apart_from_the_first_token() -> None:
    estimate = LatencyEstimate(1.0, 0.01)
    for i in range(50):
        observed(estimate, 1.0, per_token=0.03, now=NOW + i)

    assert estimate.seconds_per_output_token(NOW + 50) == pytest.approx(0.03, rel=0.1)
    assert estimate.time_to_first_token(0, NOW + 50) == pytest.approx(1.0, rel=0.01)


def test_long_prompts_do_not_make_short_ones_look_slow() -> None:
    estimate = LatencyEstimate(1.0, 0.01)
    for i in range(50):
        estimate.observe(
            time_to_first_token_seconds=4.0,
            latency_seconds=5.0,
            uncached_input_tokens=100_000,
            output_tokens=100,
            streamed=True,
            now=NOW + i,
        )

    assert estimate.time_to_first_token(0, NOW + 50) == pytest.approx(1.0, rel=0.01)


def test_one_slow_answer_shows_at_once() -> None:
    estimate = LatencyEstimate(1.0, 0.01)
    for i in range(50):
        observed(estimate, 1.0, now=NOW + i)
    observed(estimate, 9.0, now=NOW + 50)

    assert estimate.time_to_first_token(0, NOW + 50) == pytest.approx(5.0)


def test_prior_weighs_as_much_as_two_measurements() -> None:
    estimate = LatencyEstimate(1.0, 0.01)
    observed(estimate, 0.4, now=NOW)

    assert estimate.time_to_first_token(0, NOW) == pytest.approx((1.0 + 1.0 + 0.4) / 3)


def test_fast_answers_lower_a_peak_no_faster_than_time_and_the_mean_do() -> None:
    estimate = LatencyEstimate(1.0, 0.01)
    for i in range(50):
        observed(estimate, 1.0, now=NOW + i)
    observed(estimate, 9.0, now=NOW + 50)
    before = estimate.time_to_first_token(0, NOW + 51)
    observed(estimate, 1.0, now=NOW + 51)
    after = estimate.time_to_first_token(0, NOW + 51)

    assert 0.9 * before < after < before


@pytest.mark.parametrize(("first", "ratio"), [(0.0, (1 + 1 + 0.01) / 3), (1e6, 1 + 0.5 * 99)])
def test_one_measurement_counts_as_a_hundredth_to_a_hundred_times_the_prior(first: float, ratio: float) -> None:
    estimate = LatencyEstimate(1.0, 0.01)
    observed(estimate, first, now=NOW)

    assert estimate.time_to_first_token(0, NOW) == pytest.approx(ratio)


def test_first_token_reported_after_the_end_is_not_believed() -> None:
    estimate = LatencyEstimate(1.0, 0.01)
    estimate.observe(
        time_to_first_token_seconds=50.0,
        latency_seconds=2.0,
        uncached_input_tokens=0,
        output_tokens=100,
        streamed=True,
        now=NOW,
    )

    assert (1.0, 1.0) == (estimate.time_to_first_token(0, NOW), estimate.p95_time_to_first_token)


def test_peak_fades_by_half_in_a_half_life_of_sixty_seconds() -> None:
    estimate = LatencyEstimate(1.0, 0.01)
    for i in range(50):
        observed(estimate, 0.5, now=NOW + i)
    observed(estimate, 9.0, now=NOW + 50)
    at_once = estimate.time_to_first_token(0, NOW + 50)
    settled = estimate.time_to_first_token(0, NOW + 1e6)

    assert estimate.time_to_first_token(0, NOW + 110) == pytest.approx((at_once + settled) / 2)


def test_half_life_is_the_span_of_the_last_ten_samples_where_traffic_is_thin() -> None:
    estimate = LatencyEstimate(1.0, 0.01)
    observed(estimate, 0.1, now=NOW - 5000)
    for i in range(9):
        observed(estimate, 0.1, now=NOW + 100 * i)
    observed(estimate, 4.0, now=NOW + 900)
    at_once = estimate.time_to_first_token(0, NOW + 900)
    settled = estimate.time_to_first_token(0, NOW + 1e9)

    # A third of a half-life of 900 s.
    assert estimate.time_to_first_token(0, NOW + 1200) == pytest.approx(settled + (at_once - settled) * 2 ** (-1 / 3))


def test_slow_mean_is_trusted_for_one_half_life_and_then_returns_to_the_prior() -> None:
    estimate = LatencyEstimate(1.0, 0.01)
    for i in range(200):
        observed(estimate, 5.0, now=NOW + i)
    last = NOW + 199
    slow = estimate.time_to_first_token(0, last)
    seen = [estimate.time_to_first_token(0, last + seconds) for seconds in (60, 120, 180, 3600)]

    assert slow == pytest.approx(5.0, abs=0.2)
    assert seen == pytest.approx([slow, (1 + slow) / 2, (3 + slow) / 4, 1.0], abs=0.1)


def test_slow_mean_of_a_target_with_little_traffic_is_trusted_for_five_minutes_at_most() -> None:
    estimate = LatencyEstimate(1.0, 0.01)
    for i in range(20):
        observed(estimate, 5.0, now=NOW + 1200 * i)
    last = NOW + 1200 * 19
    trusted = estimate.time_to_first_token(0, last + 300)

    assert trusted > 3.0
    assert estimate.time_to_first_token(0, last + 600) == pytest.approx((1 + trusted) / 2, abs=0.1)


def test_mean_quicker_than_the_prior_is_kept_however_old_it_is() -> None:
    estimate = LatencyEstimate(1.0, 0.01)
    for i in range(20):
        observed(estimate, 0.2, now=NOW + i)
    quick = estimate.time_to_first_token(0, NOW + 20)

    assert estimate.time_to_first_token(0, NOW + 1e6) == quick


def test_old_measurements_weigh_less_than_new_ones() -> None:
    estimate = LatencyEstimate(1.0, 0.01)
    for i in range(30):
        observed(estimate, 4.0, now=NOW + i)
    for i in range(30):
        observed(estimate, 1.0, now=NOW + 30 + 10 * i)

    assert estimate.time_to_first_token(0, NOW + 330) < 2.0


def test_answer_without_stream_corrects_both_parts() -> None:
    estimate = LatencyEstimate(1.0, 0.01)
    for i in range(50):
        estimate.observe(
            time_to_first_token_seconds=None,
            latency_seconds=4.0,
            uncached_input_tokens=0,
            output_tokens=100,
            streamed=False,
            now=NOW + i,
        )

    assert estimate.predict(0, 100, NOW + 50) == pytest.approx(4.0, rel=0.05)
    assert estimate.time_to_first_token(0, NOW + 50) == pytest.approx(2.0, rel=0.05)


def test_few_output_tokens_teach_nothing_about_the_time_per_token() -> None:
    estimate = LatencyEstimate(1.0, 0.01)
    observed(estimate, 1.0, output=7, per_token=5.0, now=NOW)

    assert estimate.seconds_per_output_token(NOW) == 0.01

    observed(estimate, 1.0, output=8, per_token=5.0, now=NOW)

    assert estimate.seconds_per_output_token(NOW) > 0.1


@pytest.mark.parametrize("latency", [-1.0, math.nan, math.inf])
def test_senseless_latency_teaches_nothing(latency: float) -> None:
    estimate = LatencyEstimate(1.0, 0.01)
    estimate.observe(
        time_to_first_token_seconds=None,
        latency_seconds=latency,
        uncached_input_tokens=0,
        output_tokens=10,
        streamed=False,
        now=NOW,
    )

    assert (0, 1.0) == (estimate.sample_count, estimate.time_to_first_token(0, NOW))


def test_percentiles_are_the_priors_until_measured() -> None:
    estimate = LatencyEstimate(1.0, 0.01)

    assert (1.0, 3.5) == (estimate.p95_time_to_first_token, estimate.p95_latency)


def test_percentiles_are_over_the_last_hundred() -> None:
    estimate = LatencyEstimate(1.0, 0.01)
    for i in range(300):
        observed(estimate, float(i), now=NOW + i)

    assert (294.0, 295.0) == (estimate.p95_time_to_first_token, estimate.p95_latency)


def test_sample_count_counts_answers() -> None:
    estimate = LatencyEstimate(1.0, 0.01)
    for i in range(3):
        observed(estimate, 1.0, now=NOW + i)

    assert estimate.sample_count == 3


samples = st.lists(
    st.tuples(
        st.floats(0, 600), st.floats(0, 600), st.integers(0, 200_000), st.integers(0, 20_000), st.floats(0, 1000)
    ),
    max_size=30,
)


@given(prior=st.floats(0, 60), per_token=st.floats(0, 1), taken=samples, tokens=st.integers(0, 1_000_000))
def test_prediction_is_always_finite_positive_and_no_less_than_its_first_token(
    prior: float, per_token: float, taken: list[tuple[float, float, int, int, float]], tokens: int
) -> None:
    estimate = LatencyEstimate(prior, per_token)
    now = 0.0
    for first, rest, uncached, output, pause in taken:
        now += pause
        estimate.observe(
            time_to_first_token_seconds=first,
            latency_seconds=first + rest,
            uncached_input_tokens=uncached,
            output_tokens=output,
            streamed=True,
            now=now,
        )
    predicted = estimate.predict(tokens, tokens, now + 1)

    assert math.isfinite(predicted)
    assert predicted >= estimate.time_to_first_token(tokens, now + 1) > 0.0


@given(firsts=st.lists(st.floats(0.1, 10), min_size=1, max_size=30), wait=st.floats(0, 1000))
def test_prediction_stays_between_the_lowest_and_the_highest_seen(firsts: list[float], wait: float) -> None:
    estimate = LatencyEstimate(1.0, 0.01)
    for i, first in enumerate(firsts):
        observed(estimate, first, now=NOW + i)
    predicted = estimate.time_to_first_token(0, NOW + len(firsts) + wait)

    assert min(1.0, *firsts) - 1e-9 <= predicted <= max(1.0, *firsts) + 1e-9


@given(waits=st.lists(st.floats(0, 300), min_size=2, max_size=10))
def test_prediction_never_rises_without_a_new_measurement(waits: list[float]) -> None:
    estimate = LatencyEstimate(1.0, 0.01)
    observed(estimate, 8.0, now=NOW)
    now = NOW
    seen = [estimate.time_to_first_token(0, now)]
    for wait in waits:
        now += wait
        seen.append(estimate.time_to_first_token(0, now))

    assert sorted(seen, reverse=True) == seen


def test_late_first_token_is_known_from_twenty_on_and_grows_with_the_prompt() -> None:
    estimate = LatencyEstimate(1.0, 0.01)
    for number in range(19):
        observed(estimate, 0.5, now=NOW + number)

    assert estimate.late_first_token(0) is None

    observed(estimate, 4.0, now=NOW + 19)

    assert estimate.late_first_token(0) == 0.5
    assert estimate.late_first_token(10_000) == pytest.approx(0.5 + 0.3)
    assert estimate.late_first_token(-1) == 0.5


def test_late_first_token_is_not_learned_from_answers_that_were_not_streamed() -> None:
    estimate = LatencyEstimate(1.0, 0.01)
    for number in range(50):
        estimate.observe(
            time_to_first_token_seconds=0.5,
            latency_seconds=1.0,
            uncached_input_tokens=0,
            output_tokens=10,
            streamed=False,
            now=NOW + number,
        )

    assert estimate.late_first_token(0) is None
