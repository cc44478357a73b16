from __future__ import annotations

from tests.unit.core.fleets import SetBreaker, SetFleet, candidate, decided, spec
from turnout_server.core.decide import Hop
from turnout_server.core.decision import Rejection
from turnout_server.core.explain import rejected_counts
from turnout_server.core.model import BreakerState, RejectionReason, Strategy, Target
from turnout_server.core.settings import Policy, RoutingSettings


def test_candidate_that_stands_where_its_score_puts_it_needs_no_words() -> None:
    decision = decided(SetFleet(spec("a/m"), spec("b/m", price=(9, 9))))

    assert [c.reason for c in decision.candidates] == ["", ""]


def test_all_that_moved_a_candidate_is_told() -> None:
    fleet = SetFleet(spec("a/m", quality=1.0, latency_prior_seconds=30.0))
    target = fleet.at("a/m")
    target.suspected, target.breaker = True, SetBreaker(BreakerState.HALF_OPEN)
    decision = decided(fleet, executing=True, hop=Hop(failed_providers=frozenset({"a"})))

    assert candidate(decision, "a/m").reason == (
        "half-open: one trial at a time; suspect: its calls wait, or its endpoint was not reached; "
        "its provider failed in this call; beyond the soft limit to the first token; below the soft quality floor"
    )


def test_preferred_candidate_that_is_also_suspect_says_both() -> None:
    fleet = SetFleet(spec("a/m"))
    fleet.at("a/m").suspected = True
    decision = decided(fleet, settings=RoutingSettings(policies={"default": Policy(preferences=("a/m",))}))

    assert (
        candidate(decision, "a/m").reason
        == "suspect: its calls wait, or its endpoint was not reached; preferred by preferences"
    )


def test_preferred_trial_says_both() -> None:
    fleet = SetFleet(spec("a/m"))
    fleet.at("a/m").breaker = SetBreaker(BreakerState.HALF_OPEN)
    decision = decided(fleet, settings=RoutingSettings(policies={"default": Policy(preferences=("a/m",))}))

    assert candidate(decision, "a/m").reason == "half-open: one trial at a time; preferred by preferences"


def test_trial_at_its_natural_rank_says_that_it_is_one() -> None:
    fleet = SetFleet(spec("a/m"))
    fleet.at("a/m").breaker = SetBreaker(BreakerState.HALF_OPEN)

    assert candidate(decided(fleet), "a/m").reason == "half-open: one trial at a time"


def test_sentence_tells_why_the_first_does_not_stand_there_by_its_score() -> None:
    fleet = SetFleet(spec("a/m", price=(9, 9)), spec("b/m"))
    decision = decided(fleet, settings=RoutingSettings(policies={"default": Policy(preferences=("a/m",))}))

    assert ", preferred by preferences, before b/m with " in decision.reason


def test_sentence_tells_no_chance_where_there_was_none() -> None:
    fleet = SetFleet(spec("a/m", quality=90.0), spec("b/m", quality=20.0))

    assert "chance" not in decided(fleet, strategy=Strategy.QUALITY).reason


def test_counts_name_the_five_most_frequent_reasons_and_count_the_rest() -> None:
    kinds = list(RejectionReason)[:7]
    found = [Rejection(Target("p", "m"), (kind,)) for i, kind in enumerate(kinds) for _ in range(10 - i)]

    assert rejected_counts(found) == ("10 EXCLUDED, 9 NOT_FORCED, 8 TIER, 7 REGION, 6 CAPABILITY, and 2 more reasons")
