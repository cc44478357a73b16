"""What is left of a call's cap, whatever its attempts cost or may have cost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import floor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.fleets import spec
from tests.unit.core.test_budget_need import PRICES, TIERED
from turnout_server.core.attempt_need import AttemptNeed
from turnout_server.core.budget_need import INPUT_MARGIN, UNKNOWN_OUTPUT_TOKENS, Claim
from turnout_server.core.call import AttemptRecord
from turnout_server.core.cost import cost_nano_usd
from turnout_server.core.cost_cap import CostCap
from turnout_server.core.fleet import Price, TargetSpec
from turnout_server.core.model import FailureKind, ReasoningEffort, RequestProfile, Usage, UsageSource

# 1,000 and 2,000 nano-USD a token.
TARGET = spec("a/m", price=(1.0, 2.0), max_output_tokens=8000)
NEED = AttemptNeed(input_tokens=100, expected_tokens=400)
INPUT = 100 * 1000
NOTHING_ASKED = RequestProfile()
K = FailureKind


def record(attempt_id: str = "1", **facts: Any) -> AttemptRecord:
    return AttemptRecord(
        target=TARGET.target,
        attempt_id=attempt_id,
        started_at_wall=0.0,
        **facts,
    )


def used(output_tokens: int, source: UsageSource = UsageSource.ESTIMATED) -> dict[str, Any]:
    """What a record has of an attempt with 80 tokens of input."""
    usage = Usage(input_tokens=80, output_tokens=output_tokens, source=source)
    return {"usage": usage, "cost_nano_usd": cost_nano_usd(usage, TARGET.price)}


def left_after(ended: AttemptRecord, profile: RequestProfile = NOTHING_ASKED) -> int:
    """What is left of 10 million nano-USD after an attempt that may have cost 2.1 million."""
    cap = CostCap(10_000_000)

    assert cap.claim(TARGET, replace(profile, max_output_tokens=1000), NEED, "1") == Claim(2_100_000, 1000)
    assert cap.left_nano_usd == 7_900_000

    cap.settle(ended)
    return 10_000_000 - cap.left_nano_usd


FAILED: dict[str, Any] = {"failure": K.CONNECTION, "streamed": True}


@pytest.mark.parametrize(
    ("ended", "cost"),
    [
        (record(possibly_billed=False, cost_nano_usd=0, failure=K.RATE_LIMITED, http_status=429), 0),
        (record(**used(50, UsageSource.REPORTED)), 180_000),
        (record(**FAILED, **used(40)), INPUT + 50 * 2000),
        (record(**FAILED, **used(0)), INPUT),
        (record(failure=K.SERVER_ERROR, http_status=500, **used(0)), INPUT),
        (record(failure=K.TIMEOUT, http_status=504, **used(0)), 2_100_000),
        (record(failure=K.CONNECTION, **used(0)), 2_100_000),
        (record(**FAILED), 2_100_000),
        (record(**FAILED, usage=used(40)["usage"], cost_nano_usd=5_000_000), 5_000_000),
        (record(failure=K.CONNECTION, cost_nano_usd=5_000_000), 5_000_000),
    ],
)
def test_what_an_attempt_may_have_cost_is_gone(ended: AttemptRecord, cost: int) -> None:
    assert left_after(ended) == cost


def test_of_a_model_that_thinks_silence_is_no_sign_that_nothing_was_made() -> None:
    thinking = RequestProfile(reasoning_effort=ReasoningEffort.HIGH)

    assert left_after(record(**FAILED, **used(0)), thinking) == 2_100_000
    assert left_after(record(failure=K.SERVER_ERROR, http_status=500, **used(0)), thinking) == INPUT


def test_two_at_once_share_what_is_left() -> None:
    cap = CostCap(INPUT + 1000 * 2000 + INPUT + 600 * 2000)
    asked = replace(NOTHING_ASKED, max_output_tokens=1000)

    assert cap.claim(TARGET, asked, NEED, "1") == Claim(INPUT + 1000 * 2000, 1000)
    assert cap.claim(TARGET, asked, NEED, "2") == Claim(INPUT + 600 * 2000, 600)
    assert cap.left_nano_usd == 0
    assert cap.claim(TARGET, asked, NEED, "3") is None
    assert not cap.affords(TARGET, asked, NEED)

    cap.release("2")

    assert cap.left_nano_usd == INPUT + 600 * 2000
    assert cap.affords(TARGET, asked, NEED)


def test_whoever_bills_more_than_the_worst_leaves_nothing_but_what_is_free() -> None:
    cap = CostCap(1_000_000)
    cap.claim(TARGET, NOTHING_ASKED, NEED, "1")
    cap.settle(record(cost_nano_usd=3_000_000, usage=used(1000, UsageSource.REPORTED)["usage"]))

    assert cap.left_nano_usd == 0
    assert cap.claim(spec("b/m", price=(0.0, 0.0)), NOTHING_ASKED, NEED, "2") == Claim(0, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One attempt: what is asked of whom, and what the provider did and billed of it, as shares of the worst."""

    price: Price
    longest: int | None
    asked: int | None
    need: AttemptNeed
    fate: str
    input_share: float
    output_share: float
    thinks: bool
    overlaps: bool


SHARES = st.floats(0, 1)
TRIES = st.builds(
    Try,
    price=PRICES | TIERED,
    longest=st.none() | st.integers(1, 9000),
    asked=st.none() | st.integers(1, 9000),
    need=st.builds(AttemptNeed, st.integers(0, 3000), st.integers(1, 1000)),
    fate=st.sampled_from(["complete", "refused", "broken", "lost", "error"]),
    input_share=SHARES,
    output_share=SHARES,
    thinks=st.booleans(),
    overlaps=st.booleans(),
)


@given(limit=st.integers(0, 10**9), tries=st.lists(TRIES, max_size=5))
def test_no_call_is_billed_more_than_its_cap_whatever_its_attempts_cost(limit: int, tries: list[Try]) -> None:
    cap, billed = CostCap(limit), 0
    under_way: list[AttemptRecord] = []
    for number, one in enumerate(tries):
        target = spec("a/m", price=(0.0, 0.0), max_output_tokens=one.longest)
        target = replace(target, price=one.price)
        effort = ReasoningEffort.HIGH if one.thinks else None
        profile = RequestProfile(max_output_tokens=one.asked, reasoning_effort=effort)
        affords = cap.affords(target, profile, one.need)
        claim = cap.claim(target, profile, one.need, str(number))

        assert affords == (claim is not None)

        if claim is None:
            continue

        assert claim.output_tokens is None or claim.output_tokens <= (one.asked or claim.output_tokens)

        cost, ended = _ended(one, target, claim, str(number))
        billed += cost
        under_way.append(ended)
        if not one.overlaps:
            while under_way:
                cap.settle(under_way.pop())

    assert billed <= limit


def _ended(one: Try, target: TargetSpec, claim: Claim, attempt_id: str) -> tuple[int, AttemptRecord]:
    """Returns what the provider billed, and what the sidecar knows of it."""
    longest = claim.output_tokens or target.max_output_tokens or UNKNOWN_OUTPUT_TOKENS
    tokens = floor(one.need.input_tokens * one.input_share)
    made = floor(longest * one.output_share)
    bill = Usage(input_tokens=tokens, output_tokens=made, source=UsageSource.REPORTED)
    nothing = replace(bill, output_tokens=0, source=UsageSource.ESTIMATED)
    match one.fate:
        case "complete":
            cost = cost_nano_usd(bill, one.price) or 0
            return cost, record(attempt_id, usage=bill, cost_nano_usd=cost, streamed=True)
        case "refused":
            return 0, record(attempt_id, failure=K.RATE_LIMITED, cost_nano_usd=0, possibly_billed=False)
        case "error":
            cost = cost_nano_usd(nothing, one.price) or 0
            return cost, record(attempt_id, failure=K.SERVER_ERROR, http_status=500, usage=nothing, cost_nano_usd=cost)
        case "lost":
            known = cost_nano_usd(nothing, one.price)
            ended = record(attempt_id, failure=K.TIMEOUT, usage=nothing, cost_nano_usd=known)
            return cost_nano_usd(bill, one.price) or 0, ended
        case _:
            # What came is counted a fifth too low; of a model that thinks, nothing came.
            seen = 0 if one.thinks else -floor(-made / INPUT_MARGIN)
            usage = replace(nothing, output_tokens=seen)
            known = cost_nano_usd(usage, one.price)
            ended = record(attempt_id, failure=K.CONNECTION, streamed=True, usage=usage, cost_nano_usd=known)
            return cost_nano_usd(bill, one.price) or 0, ended
