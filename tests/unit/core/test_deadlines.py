"""How long a call and its attempts may take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.core.deadlines import (
    attempt_limits,
    call_times,
    first_token_limit_seconds,
    streams_unary,
    whole_answer_limit_seconds,
    with_less_time,
)
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.model import ReasoningEffort, RouteQuery, Target
from turnout_server.core.settings import FailoverSettings

SETTINGS = FailoverSettings()


def spec(*, silent_thinking: bool = False, first_token_timeout_seconds: float | None = None) -> TargetSpec:
    return TargetSpec(
        target=Target("p", "m"),
        wire="openai",
        base_url="",
        silent_thinking=silent_thinking,
        first_token_timeout_seconds=first_token_timeout_seconds,
    )


@pytest.mark.parametrize(
    ("given_seconds", "ends_at"),
    [
        (100.0, 98.0),  # 2 %
        (0.5, 0.48),  # at least 20 ms
        (None, 588.0),  # no deadline: 600 s
        (0.01, 0.005),  # a reserve longer than the time given leaves half of it
        (-1.0, 0.0),
    ],
)
def test_work_ends_two_percent_and_at_least_20_ms_before_the_callers_deadline(
    given_seconds: float | None, ends_at: float
) -> None:
    times = call_times(given_seconds, SETTINGS, now=1000.0)

    assert ends_at == pytest.approx(times.ends_at - 1000.0)


def test_stream_ends_after_its_own_maximum_even_where_the_caller_gives_more() -> None:
    times = call_times(7200.0, SETTINGS, now=0.0)

    assert (7056.0, 1800.0) == (times.ends_at, times.stream_ends_at)


@pytest.mark.parametrize(
    ("predicted", "limit"),
    [(0.5, 10.0), (2.5, 10.0), (3.0, 12.0), (60.0, 240.0)],
)
def test_first_token_limit_is_four_times_the_prediction_and_at_least_ten_seconds(
    predicted: float, limit: float
) -> None:
    assert limit == first_token_limit_seconds(spec(), predicted, SETTINGS)


def test_silent_thinker_has_180_seconds_to_its_first_token() -> None:
    assert first_token_limit_seconds(spec(silent_thinking=True), 1.0, SETTINGS) == 180.0


@pytest.mark.parametrize(
    ("effort", "limit"),
    [
        (ReasoningEffort.LOW, 180.0),
        (ReasoningEffort.MEDIUM, 180.0),
        (ReasoningEffort.HIGH, 180.0),
        (ReasoningEffort.NONE, 10.0),
        (None, 10.0),
    ],
)
def test_reasoning_effort_gives_180_seconds_to_the_first_token(effort: ReasoningEffort | None, limit: float) -> None:
    assert limit == first_token_limit_seconds(spec(), 1.0, SETTINGS, effort=effort)


def test_operators_first_token_limit_replaces_the_prediction() -> None:
    settings = FailoverSettings(first_token_timeout_seconds=3.0)

    assert first_token_limit_seconds(spec(), 60.0, settings) == 3.0
    assert first_token_limit_seconds(spec(silent_thinking=True), 60.0, settings) == 180.0


def test_providers_first_token_limit_replaces_everything_else() -> None:
    settings = FailoverSettings(first_token_timeout_seconds=3.0)
    own = spec(silent_thinking=True, first_token_timeout_seconds=7.0)

    assert first_token_limit_seconds(own, 60.0, settings) == 7.0


@pytest.mark.parametrize(("predicted", "limit"), [(1.0, 10.0), (5.0, 20.0)])
def test_whole_answer_without_streaming_has_four_times_its_prediction_and_at_least_ten_seconds(
    predicted: float, limit: float
) -> None:
    assert limit == whole_answer_limit_seconds(spec(), predicted, SETTINGS)


def test_attempt_gets_60_percent_of_what_is_left_while_another_candidate_remains() -> None:
    times = call_times(10.0, SETTINGS, now=0.0)
    first = attempt_limits(spec(), times, SETTINGS, now=0.0, answer_limit_seconds=10.0, others_remain=True)
    second = attempt_limits(
        spec(), times, SETTINGS, now=first.first_content_at, answer_limit_seconds=10.0, others_remain=True
    )
    last = attempt_limits(
        spec(), times, SETTINGS, now=second.first_content_at, answer_limit_seconds=10.0, others_remain=False
    )

    assert first.first_content_at == pytest.approx(5.88)
    assert second.first_content_at == pytest.approx(5.88 + 0.6 * 3.92)
    assert last.first_content_at == last.ends_at == pytest.approx(9.8)


def test_tighter_of_share_and_own_limit_holds_and_is_named() -> None:
    roomy = call_times(600.0, SETTINGS, now=0.0)
    tight = call_times(10.0, SETTINGS, now=0.0)
    by_target = attempt_limits(spec(), roomy, SETTINGS, now=0.0, answer_limit_seconds=10.0, others_remain=True)
    by_share = attempt_limits(spec(), tight, SETTINGS, now=0.0, answer_limit_seconds=10.0, others_remain=True)

    assert (by_target.first_content_at, by_target.limited_by_share) == (10.0, False)
    assert by_share.limited_by_share


def test_idle_gap_is_20_seconds_and_180_while_a_model_thinks() -> None:
    times = call_times(600.0, SETTINGS, now=0.0)
    plain = attempt_limits(spec(), times, SETTINGS, now=0.0, answer_limit_seconds=10.0, others_remain=True)
    thinker = attempt_limits(
        spec(silent_thinking=True), times, SETTINGS, now=0.0, answer_limit_seconds=180.0, others_remain=True
    )

    assert (plain.idle_seconds, plain.thinking_idle_seconds) == (20.0, 20.0)
    assert (thinker.idle_seconds, thinker.thinking_idle_seconds) == (20.0, 180.0)


@pytest.mark.parametrize(
    ("expected_tokens", "effort", "streams"),
    [
        (255, None, False),
        (256, None, True),
        (None, None, True),
        (10, ReasoningEffort.LOW, True),
        (10, ReasoningEffort.NONE, False),
    ],
)
def test_unary_answer_is_fetched_as_a_stream_unless_it_is_short_and_without_reasoning(
    expected_tokens: int | None,
    effort: ReasoningEffort | None,
    streams: bool,  # noqa: FBT001  # a table's column
) -> None:
    assert streams is streams_unary(expected_tokens, effort, SETTINGS)


@given(
    st.floats(0.0, 10_000.0),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1000.0),
    st.booleans(),
)
def test_no_attempt_is_allowed_beyond_the_calls_end(
    given_seconds: float,
    used: float,
    limit: float,
    others_remain: bool,  # noqa: FBT001  # drawn
) -> None:
    times = call_times(given_seconds, SETTINGS, now=0.0)
    now = used * times.stream_ends_at
    limits = attempt_limits(spec(), times, SETTINGS, now=now, answer_limit_seconds=limit, others_remain=others_remain)

    assert now <= limits.first_content_at <= limits.ends_at <= given_seconds


@pytest.mark.parametrize(
    ("given_seconds", "spent_seconds", "left_seconds"),
    [(None, 5.0, None), (10.0, 0.0, 10.0), (10.0, -1.0, 10.0), (10.0, 4.0, 6.0), (10.0, 11.0, 0.0)],
)
def test_time_that_was_spent_is_not_left(
    given_seconds: float | None, spent_seconds: float, left_seconds: float | None
) -> None:
    query = RouteQuery(deadline_seconds=given_seconds, request_id="r")

    assert with_less_time(query, spent_seconds) == RouteQuery(deadline_seconds=left_seconds, request_id="r")
