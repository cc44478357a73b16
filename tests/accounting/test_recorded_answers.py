"""Answers that vendors really gave: what the wires read of them, and that our price is the vendor's bill."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.accounting.test_published_prices import DAY, price_of, reported
from turnout_server.core.cost import cost_nano_usd
from turnout_server.core.model import NANO_USD, Usage

CASES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "recorded.yaml").read_text())
BILLED = [case for case in CASES if "billed_usd" in case]


def named(case: dict[str, Any]) -> str:
    return f"{case['target']}: {case['source'][-60:]}"


@pytest.mark.parametrize("case", CASES, ids=named)
def test_recorded_usage_is_read_with_its_parts_within_their_wholes(case: dict[str, Any]) -> None:
    provider, _, model = case["target"].partition("/")

    assert Usage(**case["read"]) == reported(provider, model, case["usage"]).usage


@pytest.mark.parametrize("case", CASES, ids=named)
def test_recorded_usage_costs_what_the_vendor_publishes(case: dict[str, Any]) -> None:
    provider, _, model = case["target"].partition("/")
    # Tokens by USD per million are millionths of USD: thousands of nano-USD.
    expected = sum((Decimal(str(tokens)) * Decimal(str(rate)) for tokens, rate in case["costs"]), Decimal()) * 1000

    assert expected == cost_nano_usd(Usage(**case["read"]), price_of(provider, model, DAY))


@pytest.mark.parametrize("case", BILLED, ids=named)
def test_bill_of_the_provider_itself_is_our_price_to_the_nano_usd(case: dict[str, Any]) -> None:
    provider, _, model = case["target"].partition("/")
    report = reported(provider, model, case["usage"])
    assert report.cost_usd is not None

    assert Decimal(str(case["billed_usd"])) * NANO_USD == round(report.cost_usd * NANO_USD)
    assert round(report.cost_usd * NANO_USD) == cost_nano_usd(report.usage, price_of(provider, model, DAY))


def test_bill_of_a_customers_own_key_is_the_vendors_and_the_fee() -> None:
    # openrouter.ai/docs/use-cases/usage-accounting
    usage = {
        "prompt_tokens": 194,
        "completion_tokens": 2,
        "cost": 0.95,
        "cost_details": {"upstream_inference_cost": 19},
    }

    assert 0.95 == reported("openrouter", "openai/gpt-4o", usage).cost_usd
    assert 0.95 + 19 == reported("openrouter", "openai/gpt-4o", usage | {"is_byok": True}).cost_usd
