"""A call's cap beside a budget: who is rejected for which of both, and what it takes to find that out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.fleets import SetFleet, decided, spec
from turnout_server.core.budget_ledger import Room
from turnout_server.core.budget_need import claim, fleet_rates
from turnout_server.core.cost_cap import CostCap
from turnout_server.core.decision import Decision
from turnout_server.core.filters import budget_shortage
from turnout_server.core.model import RejectionReason, RequestProfile
from turnout_server.core.rejections import first_reasons

SPECS = (
    spec("a/dear", price=(15.0, 75.0), max_output_tokens=8000),
    spec("b/cheap", price=(0.1, 0.4), max_output_tokens=8000),
    spec("c/free", price=(0.0, 0.0)),
    spec("d/free-answers", price=(2.0, 0.0), max_output_tokens=500),
    spec("e/short", price=(1.0, 9.0), max_output_tokens=200),
    spec("f/unknown", price=None),
)


def under(cap_nano_usd: int, left_nano_usd: int, asked: int | None) -> Decision:
    """What is decided for a call with a cap while a budget has so much left."""
    fleet = SetFleet(*SPECS)
    profile = RequestProfile(input_tokens=1000, max_output_tokens=asked, task="chat")
    room = Room(left_nano_usd, "monthly", False, None, fleet_rates(SPECS))  # noqa: FBT003  # its fields, in order
    return decided(fleet, profile=profile, room=room, executing=True, max_cost_usd=cap_nano_usd / 1e9)


@given(cap=st.integers(0, 100_000_000), left=st.integers(0, 100_000_000), asked=st.none() | st.integers(1, 20_000))
def test_who_passes_has_enough_of_both_and_who_is_short_of_the_budget_has_enough_of_the_cap(
    cap: int, left: int, asked: int | None
) -> None:
    decision = under(cap, left, asked)
    rejections = list(decision.rejections)
    told = [each.reasons[0] for each in rejections]

    assert dict(first_reasons(decision.rejections)) == {reason: told.count(reason) for reason in told}

    short = {each.target for each in rejections if each.reasons[0] is RejectionReason.BUDGET}
    passed = {candidate.target for candidate in decision.candidates}
    for each in SPECS:
        if each.target in short | passed:
            # What an answer to a chat is expected to have.
            need: Any = {"input_tokens": 1000, "asked": asked, "expected_tokens": 400}
            of_cap = claim(each, left_nano_usd=CostCap(cap).left_nano_usd, may_lower=True, **need)

            assert of_cap is not None

            of_budget = claim(each, left_nano_usd=left, at_most=of_cap.output_tokens, **need)

            assert (of_budget is None) is (each.target in short)


def test_where_a_budget_has_what_the_cap_leaves_nobody_is_looked_at_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of hundreds of targets each would take its share of milliseconds."""
    looked: list[str] = []

    def counting(target: object, *rest: object) -> str:
        looked.append(str(target))
        return budget_shortage(target, *rest)  # type: ignore[arg-type]  # as it is called

    monkeypatch.setattr("turnout_server.core.passing.budget_shortage", counting)
    plenty = under(10_000_000, 10_000_000, 20_000)
    none = len(looked)
    tight = under(10_000_001, 10_000_000, 20_000)

    assert none == 0
    assert looked
    assert RejectionReason.BUDGET not in first_reasons(plenty.rejections)
    assert len(plenty.candidates) == len(tight.candidates) + (RejectionReason.BUDGET in first_reasons(tight.rejections))
