"""Forty answers as vendors document them, read by the real wires and priced by the real catalog, to the nano-USD."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from tests.wire.speakers import hello
from turnout_server.config.catalog import built_in, local_row
from turnout_server.core.chat import UsageReported
from turnout_server.core.cost import settled_cost_nano_usd
from turnout_server.core.fleet import Price, TargetSpec
from turnout_server.core.model import NANO_USD, Target
from turnout_server.ports import UpstreamCall
from turnout_server.providers.dialects import dialect_of
from turnout_server.providers.upstream import wire_of

CASES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "cases.yaml").read_text())
DAY = date(2026, 11, 21)


def answer(wire: str, usage: dict[str, Any]) -> dict[str, Any]:
    """A whole answer of a vendor's, with this usage."""
    match wire:
        case "anthropic":
            content = [{"type": "text", "text": "x"}]
            return {"type": "message", "content": content, "stop_reason": "end_turn", "usage": usage}
        case "gemini":
            candidate = {"content": {"parts": [{"text": "x"}], "role": "model"}, "finishReason": "STOP"}
            return {"candidates": [candidate], "usageMetadata": usage}
        case "ollama":
            return {"message": {"role": "assistant", "content": "x"}, "done": True, "done_reason": "stop", **usage}
        case _:
            message = {"role": "assistant", "content": "x"}
            return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}


def reported(provider: str, model: str, usage: dict[str, Any]) -> UsageReported:
    wire = built_in(DAY)[provider].wire
    spec = TargetSpec(target=Target(provider, model), wire=wire, base_url="https://vendor.example")
    call = UpstreamCall(spec=spec, credential="", chat=hello())
    body = orjson.loads(orjson.dumps(answer(wire, usage)))
    events = wire_of(wire).whole(body, call, dialect_of(provider, wire))
    return [event for event in events if isinstance(event, UsageReported)][-1]


def price_of(provider: str, model: str, day: date) -> Price | None:
    if provider == "ollama":
        return local_row(model, None, frozenset()).price
    return next(row.price for row in built_in(day)[provider].models if row.name == model)


@pytest.mark.parametrize("case", CASES, ids=[f"{case['target']}: {case['name']}" for case in CASES])
def test_answer_costs_what_the_vendor_publishes(case: dict[str, Any]) -> None:
    provider, _, model = case["target"].partition("/")
    report = reported(provider, model, case["usage"])
    stated = case.get("stated_usd")
    if stated is None:
        # Tokens by USD per million are millionths of USD: thousands of nano-USD.
        expected = sum((Decimal(str(tokens)) * Decimal(str(rate)) for tokens, rate in case["costs"]), Decimal()) * 1000
        told = None
    else:
        expected = Decimal(str(stated)) * NANO_USD
        told = None if report.cost_usd is None else round(Decimal(str(report.cost_usd)) * NANO_USD)
    cost = settled_cost_nano_usd(told, report.usage, price_of(provider, model, case.get("day", DAY)))

    assert int(expected.to_integral_value()) == cost


def test_there_are_forty_cases_and_each_names_its_source() -> None:
    assert len(CASES) >= 40
    assert all(case["source"] for case in CASES)
    assert len({(case["target"], case["name"]) for case in CASES}) == len(CASES)
    assert set(built_in(DAY)) == {case["target"].partition("/")[0] for case in CASES}
