"""The retry budget: retries on the same target are a share of the traffic, with a floor for quiet times."""

from hypothesis import given
from hypothesis import strategies as st

from turnout_server.core.retry_budget import RetryBudget
from turnout_server.core.settings import FailoverSettings


def budget(now: float = 0.0, requests: int = 0) -> RetryBudget:
    made = RetryBudget(FailoverSettings())
    for _ in range(requests):
        made.request(now)
    return made


def spend_all(made: RetryBudget, now: float) -> int:
    count = 0
    while made.try_spend(now):
        count += 1
    return count


def test_quiet_sidecar_may_retry_three_times() -> None:
    made = budget()

    assert spend_all(made, 0.0) == 3


def test_busy_sidecar_may_retry_a_fifth_of_its_requests() -> None:
    made = budget(requests=100)

    assert spend_all(made, 0.0) == 20


def test_retry_after_a_timeout_costs_two() -> None:
    made = budget(requests=100)
    count = 0
    while made.try_spend(0.0, after_timeout=True):
        count += 1

    assert count == 10


def test_retry_after_a_timeout_is_refused_where_only_one_is_left() -> None:
    made = budget()
    made.try_spend(0.0)
    made.try_spend(0.0)

    assert not made.try_spend(0.0, after_timeout=True)
    assert made.try_spend(0.0)


def test_spent_retries_come_back_after_ten_seconds() -> None:
    made = budget()
    spend_all(made, 0.0)

    assert not made.try_spend(9.4)
    assert spend_all(made, 10.0) == 3


def test_requests_older_than_ten_seconds_allow_nothing() -> None:
    made = budget(requests=100)

    assert made.remaining(9.4) == 20.0
    assert made.remaining(10.0) == 3.0


def test_budget_left_alone_for_a_day_starts_anew() -> None:
    made = budget(requests=1000)
    spend_all(made, 0.0)

    assert made.remaining(86_400.0) == 3.0


def test_remaining_tells_what_may_be_spent() -> None:
    made = budget(requests=50)
    made.try_spend(0.0)

    assert made.remaining(0.0) == 9.0
    assert spend_all(made, 0.0) == 9


@given(
    st.lists(st.tuples(st.floats(0.0, 3.0), st.sampled_from(["request", "retry", "timeout"])), min_size=1, max_size=200)
)
def test_spending_never_exceeds_share_or_floor_of_the_window(steps: list[tuple[float, str]]) -> None:
    made = RetryBudget(FailoverSettings())
    now = 0.0
    requests: list[float] = []
    spent: list[tuple[float, int]] = []
    for wait, step in steps:
        now += wait
        if step == "request":
            made.request(now)
            requests.append(now)
            continue
        cost = 2 if step == "timeout" else 1
        if made.try_spend(now, after_timeout=step == "timeout"):
            spent.append((now, cost))
            # A bucket is half a second: what is older than a window and a bucket may be forgotten or not.
            in_window = sum(c for at, c in spent if at > now - 9.5)
            asked = sum(at >= now - 10.0 for at in requests)

            assert in_window <= max(3.0, 0.2 * asked)
        assert made.remaining(now) >= 0.0
