"""Attempts that failed are charged to the model that was asked, once, and estimates are marked as such."""

from __future__ import annotations

import pytest

from tests.faults.cases import Case, Outcome, Way, call, good_places
from tests.faults.provider import FaultyProvider
from tests.faults.sidecar import running
from tests.faults.table import FAULTS
from tests.faults.vendors import WIRES
from turnout.v1 import router_pb2 as pb

WHOLE_ANSWER_USD = {"openai": 7.8e-5, "anthropic": 7.8e-5, "gemini": 7.8e-5, "ollama": 1.5e-4}
"""By the wire that answers: 110 tokens in, 80 of them cached if the vendor tells, and 20 out, at 1, 0.1 and 2 USD."""


async def met(case: Case) -> tuple[Outcome, dict[str, float], dict[str, int]]:
    """Makes one call; returns what came of it, and what each provider has cost and put out since, in USD and tokens."""
    async with (
        FaultyProvider() as provider,
        running([case.place(provider, real=False), *good_places(provider)]) as sidecar,
    ):
        outcome = await call(sidecar, case, timeout_seconds=20)
        status = await sidecar.stub.ProviderStatus(pb.ProviderStatusRequest())
    states = [state for group in status.providers for state in group.targets]
    return (
        outcome,
        {state.target.provider: state.cost_usd for state in states},
        {state.target.provider: state.output_tokens for state in states},
    )


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("fault", ["cut", "error_later"])
async def test_cut_attempt_is_charged_to_its_own_model_by_estimate_and_the_answer_to_its_own(
    wire: str, fault: str
) -> None:
    case = Case(fault=FAULTS[fault], wire=wire, way=Way.RESTART, alone=False)
    outcome, cost, put_out = await met(case)
    failed, answered = outcome.attempts

    assert (case.provider, case.other) == (failed.target.provider, answered.target.provider)
    assert (pb.USAGE_SOURCE_ESTIMATED, pb.USAGE_SOURCE_REPORTED) == (failed.usage.source, answered.usage.source)
    assert failed.possibly_billed
    assert 5 <= failed.usage.output_tokens <= 60, "about what half of the answer comes to"
    assert failed.usage.input_tokens > 0
    assert failed.cost_usd > 0
    assert answered.cost_usd == pytest.approx(WHOLE_ANSWER_USD[case.other.removeprefix("good-")])
    assert cost[case.provider] == pytest.approx(failed.cost_usd)
    assert cost[case.other] == pytest.approx(answered.cost_usd)
    assert put_out[case.provider] == failed.usage.output_tokens
    assert put_out[case.other] == answered.usage.output_tokens


async def test_what_a_vendor_counted_before_the_cut_holds_and_cached_tokens_are_counted_once() -> None:
    outcome, _, _ = await met(Case(fault=FAULTS["cut"], wire="anthropic", way=Way.RESTART, alone=False))
    usage = outcome.attempts[0].usage

    assert (110, 80, 10) == (usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens)
    # 20 new tokens and 10 written to the cache at 1 USD, 80 read from it at 0.1, the output at 2.
    assert outcome.attempts[0].cost_usd == pytest.approx((30 + 8 + 2 * usage.output_tokens) / 1e6)


@pytest.mark.parametrize("wire", WIRES)
async def test_failed_stream_tells_the_sum_of_what_its_attempts_used(wire: str) -> None:
    outcome, _, _ = await met(Case(fault=FAULTS["cut"], wire=wire, way=Way.UNARY, alone=True))

    assert outcome.failure is not None
    assert len(outcome.attempts) > 1
    assert sum(attempt.usage.output_tokens for attempt in outcome.attempts) == outcome.failure.usage.output_tokens
    assert outcome.failure.cost_usd == pytest.approx(sum(attempt.cost_usd for attempt in outcome.attempts))
    assert pb.USAGE_SOURCE_ESTIMATED == outcome.failure.usage.source


@pytest.mark.parametrize("fault", ["refused", "dns", "error_status", "rate_limit"])
async def test_what_cannot_be_billed_costs_nothing_and_is_known_to(fault: str) -> None:
    case = Case(fault=FAULTS[fault], wire="openai", way=Way.FAIL, alone=False)
    outcome, cost, _ = await met(case)
    failed = [attempt for attempt in outcome.attempts if not attempt.ok]

    assert failed
    assert not any(attempt.possibly_billed or attempt.HasField("usage") for attempt in failed)
    assert [0.0] * len(failed) == [attempt.cost_usd for attempt in failed]
    assert cost[case.provider] == 0.0
