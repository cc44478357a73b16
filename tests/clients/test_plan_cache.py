"""Kept plans serve what they may and nothing else, whatever comes in whatever order."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.answer import target_name
from turnout.plan_cache import PlanCache, plan_key, tokens_of
from turnout.v1 import router_pb2 as pb

NO_TOKENS = (None, None)


def decision(*shares: float, reusable: bool = True, valid_seconds: float = 5.0) -> pb.Decision:
    """A decision over the providers p0, p1, … with these shares."""
    made = pb.Decision(decision_id="d", reusable=reusable)
    made.valid_for.FromNanoseconds(int(valid_seconds * 1e9))
    for number, share in enumerate(shares):
        made.candidates.add(target=pb.Target(provider=f"p{number}", model="m"), share=share)
    return made


def first(cache: PlanCache, now: float = 0.0) -> str:
    found = cache.find(b"k", NO_TOKENS, now)
    assert found is not None
    return found[1][0].target.provider


def test_requests_that_differ_in_id_and_tokens_alone_have_one_key() -> None:
    one = pb.RouteRequest(profile=pb.RequestProfile(task="chat", input_tokens=5, max_output_tokens=6), request_id="a")
    other = pb.RouteRequest(profile=pb.RequestProfile(task="chat", input_tokens=50), request_id="b")

    assert plan_key(one) == plan_key(other)
    assert tokens_of(one) == (5, 6)
    assert tokens_of(other) == (50, None)


@pytest.mark.parametrize(
    "other",
    [
        pb.RouteRequest(profile=pb.RequestProfile(task="planning")),
        pb.RouteRequest(profile=pb.RequestProfile(task="chat"), caller=pb.Caller(tenant="blue")),
        pb.RouteRequest(profile=pb.RequestProfile(task="chat"), session_id="s"),
        pb.RouteRequest(profile=pb.RequestProfile(task="chat"), options=pb.RoutingOptions(regions=["eu"])),
        pb.RouteRequest(profile=pb.RequestProfile(task="chat", text_hint="x")),
    ],
    ids=["task", "caller", "session", "options", "hint"],
)
def test_requests_that_differ_otherwise_have_keys_of_their_own(other: pb.RouteRequest) -> None:
    assert plan_key(pb.RouteRequest(profile=pb.RequestProfile(task="chat"))) != plan_key(other)


def test_labels_in_another_order_have_one_key() -> None:
    one, other = pb.RouteRequest(), pb.RouteRequest()
    for name in ("a", "b", "c"):
        one.caller.labels[name] = name
    for name in ("c", "b", "a"):
        other.caller.labels[name] = name

    assert plan_key(one) == plan_key(other)


def test_a_key_is_small_however_long_the_hint() -> None:
    assert len(plan_key(pb.RouteRequest(profile=pb.RequestProfile(text_hint="x" * 1_000_000)))) == 32


@pytest.mark.parametrize(
    ("planned", "asked", "serves"),
    [
        ((100, 10), (100, 10), True),
        ((100, 10), (99, 9), True),
        ((100, 10), (101, 10), False),
        ((100, 10), (100, 11), False),
        ((100, 10), (None, 10), False),
        ((None, 10), (None, 10), True),
        ((None, 10), (1, 10), False),
        ((None, None), (None, None), True),
    ],
)
def test_a_plan_serves_no_more_tokens_than_it_was_made_for(
    planned: tuple[int | None, int | None], asked: tuple[int | None, int | None], *, serves: bool
) -> None:
    cache = PlanCache(random.Random(1))
    cache.keep(b"k", planned, decision(1.0), 0.0)

    assert (cache.find(b"k", asked, 1.0) is not None) == serves


def test_a_plan_is_good_from_when_it_was_asked_for_and_no_longer_than_it_says() -> None:
    cache = PlanCache(random.Random(1))
    cache.keep(b"k", NO_TOKENS, decision(1.0, valid_seconds=5.0), 100.0)

    assert cache.find(b"k", NO_TOKENS, 104.999) is not None
    assert cache.find(b"k", NO_TOKENS, 105.0) is None
    assert len(cache) == 0


@pytest.mark.parametrize(
    "made", [decision(1.0, reusable=False), decision(1.0, valid_seconds=0.0), decision()], ids=["once", "now", "empty"]
)
def test_what_may_not_be_used_again_is_not_kept_and_ends_what_was(made: pb.Decision) -> None:
    cache = PlanCache(random.Random(1))
    cache.keep(b"k", NO_TOKENS, decision(1.0), 0.0)

    cache.keep(b"k", NO_TOKENS, made, 0.0)

    assert cache.find(b"k", NO_TOKENS, 0.0) is None


def test_the_first_is_drawn_by_the_shares_and_the_others_keep_their_order() -> None:
    cache = PlanCache(random.Random(1))
    cache.keep(b"k", NO_TOKENS, decision(0.3, 0.0, 0.3), 0.0)
    orders = Counter(
        tuple(candidate.target.provider for candidate in found[1])
        for found in (cache.find(b"k", NO_TOKENS, 1.0) for _ in range(4000))
        if found is not None
    )

    assert set(orders) == {("p0", "p1", "p2"), ("p2", "p0", "p1")}
    # Half each: six standard deviations are 190.
    assert abs(orders["p0", "p1", "p2"] - 2000) < 200


def test_without_shares_the_order_stands() -> None:
    cache = PlanCache(random.Random(1))
    cache.keep(b"k", NO_TOKENS, decision(0.0, 0.0), 0.0)

    assert {first(cache) for _ in range(100)} == {"p0"}


@given(shares=st.lists(st.floats(0, 1), min_size=1, max_size=5), seed=st.integers(0, 1000))
def test_nobody_without_a_share_is_drawn_where_others_have_one(shares: list[float], seed: int) -> None:
    cache = PlanCache(random.Random(seed))
    cache.keep(b"k", NO_TOKENS, decision(*shares), 0.0)
    found = cache.find(b"k", NO_TOKENS, 1.0)

    assert found is not None
    names = [candidate.target.provider for candidate in found[1]]
    assert sorted(names) == [f"p{number}" for number in range(len(shares))]
    assert names[1:] == sorted(names[1:])
    # Shares may be so small beside the others that rounding leaves the first in their place.
    assert sum(shares) == 0 or shares[int(names[0][1:])] > 0 or names[0] == "p0"


def test_a_failing_target_drops_every_plan_that_lists_it() -> None:
    cache = PlanCache(random.Random(1))
    cache.keep(b"both", NO_TOKENS, decision(1.0, 0.0), 0.0)
    cache.keep(b"one", NO_TOKENS, decision(1.0), 0.0)

    cache.drop(target_name(pb.Target(provider="p1", model="m")))

    assert cache.find(b"both", NO_TOKENS, 1.0) is None
    assert cache.find(b"one", NO_TOKENS, 1.0) is not None


def test_the_plan_least_recently_used_goes() -> None:
    cache = PlanCache(random.Random(1), max_count=2)
    cache.keep(b"a", NO_TOKENS, decision(1.0), 0.0)
    cache.keep(b"b", NO_TOKENS, decision(1.0), 0.0)
    cache.find(b"a", NO_TOKENS, 1.0)

    cache.keep(b"c", NO_TOKENS, decision(1.0), 0.0)

    assert cache.find(b"b", NO_TOKENS, 1.0) is None
    assert cache.find(b"a", NO_TOKENS, 1.0) is not None
