"""Numbers that vendors state: nonsense is unknown."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.core.chat import ChatInput, UsageReported
from turnout_server.providers.anthropic.answer import AnthropicDecoder
from turnout_server.providers.counts import cost_usd, token_count
from turnout_server.providers.openai.usage import read_usage

NONSENSE: list[Any] = [-1, 10**9 + 1, 2**63, 2**64 - 1, 1.5, 7.0, True, "7", None, [], {}, math.nan, math.inf]


@pytest.mark.parametrize("value", NONSENSE, ids=repr)
def test_what_cannot_be_a_count_is_unknown(value: Any) -> None:
    assert token_count(value) is None


@pytest.mark.parametrize("value", [0, 1, 10**9])
def test_count_is_taken_as_it_stands(value: int) -> None:
    assert value == token_count(value)


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, -math.inf, 1e300, True, "0.1", None, {}], ids=repr)
def test_what_cannot_be_a_cost_is_unknown(value: Any) -> None:
    assert cost_usd(value) is None


@pytest.mark.parametrize(("value", "cost"), [(0, 0.0), (0.25, 0.25), (3, 3.0)])
def test_cost_is_taken_as_it_stands(value: float, cost: float) -> None:
    assert cost == cost_usd(value)


scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5)
usages = st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": scalars,
        "completion_tokens": scalars,
        "total_tokens": scalars,
        "cost": scalars,
        "cost_in_usd_ticks": scalars,
        "is_byok": scalars,
        "cost_details": st.fixed_dictionaries({"upstream_inference_cost": scalars}),
        "prompt_tokens_details": st.fixed_dictionaries({"cached_tokens": scalars, "audio_tokens": scalars}),
        "completion_tokens_details": st.fixed_dictionaries({"reasoning_tokens": scalars}),
    },
)


@given(usage=usages)
def test_no_usage_of_any_vendor_makes_a_number_that_cannot_be_told(usage: dict[str, Any]) -> None:
    report = read_usage(usage)
    if report is None:
        return
    counts = [report.usage.input_tokens, report.usage.output_tokens, report.usage.cached_input_tokens]

    assert all(count is None or 0 <= count <= 2 * 10**9 for count in counts)
    assert report.cost_usd is None or math.isfinite(report.cost_usd)


def test_counts_beyond_all_bounds_leave_an_answer_readable() -> None:
    decoder = AnthropicDecoder(ChatInput(messages=()))
    out: list[Any] = []
    usage = {"input_tokens": 2**64 - 1, "cache_read_input_tokens": 2**63, "output_tokens": 3}
    start = {"type": "message_start", "message": {"id": "m", "model": "x", "usage": usage}}
    decoder.feed(orjson.dumps(start), out)
    (report,) = (event for event in out if isinstance(event, UsageReported))

    assert (None, None, 3) == (
        report.usage.input_tokens,
        report.usage.cached_input_tokens,
        report.usage.output_tokens,
    )
