"""Usage as the vendors of the openai wire state it: one row per documented shape."""

from __future__ import annotations

from typing import Any

import pytest

from turnout_server.core.model import Usage
from turnout_server.providers.openai.usage import read_usage, stated_usage

ROWS: dict[str, tuple[dict[str, Any], Usage]] = {
    "openai": (
        {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 128, "audio_tokens": 0},
        },
        Usage(input_tokens=2006, output_tokens=300, cached_input_tokens=1920, reasoning_tokens=128),
    ),
    "mistral": (
        {"prompt_tokens": 16, "completion_tokens": 34, "total_tokens": 50, "num_cached_tokens": 8},
        Usage(input_tokens=16, output_tokens=34, cached_input_tokens=8),
    ),
    "kimi": (
        {"prompt_tokens": 19, "completion_tokens": 13, "total_tokens": 32, "cached_tokens": 12},
        Usage(input_tokens=19, output_tokens=13, cached_input_tokens=12),
    ),
    "a server that counts cache hits": (
        {"prompt_tokens": 19, "completion_tokens": 13, "prompt_cache_hit_tokens": 12, "prompt_cache_miss_tokens": 7},
        Usage(input_tokens=19, output_tokens=13, cached_input_tokens=12),
    ),
    "xai, reasoning apart": (
        {
            "prompt_tokens": 37,
            "completion_tokens": 530,
            "total_tokens": 800,
            "completion_tokens_details": {"reasoning_tokens": 233},
        },
        Usage(input_tokens=37, output_tokens=763, reasoning_tokens=233),
    ),
    "xai, reasoning within": (
        {
            "prompt_tokens": 500,
            "completion_tokens": 500,
            "total_tokens": 1000,
            "completion_tokens_details": {"reasoning_tokens": 200},
        },
        Usage(input_tokens=500, output_tokens=500, reasoning_tokens=200),
    ),
    "openrouter": (
        {
            "prompt_tokens": 194,
            "completion_tokens": 2,
            "total_tokens": 196,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 100},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
        Usage(input_tokens=194, output_tokens=2, cached_input_tokens=0, cache_write_tokens=100, reasoning_tokens=0),
    ),
    "a local server": (
        {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
        Usage(input_tokens=3, output_tokens=4),
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_every_vendors_count_means_the_same(name: str) -> None:
    stated, expected = ROWS[name]

    report = read_usage(stated)

    assert report is not None
    assert expected == report.usage
    assert report.cost_usd is None


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"cost": 0.00014}, 0.00014),
        ({"cost": 0}, 0.0),
        ({"cost_in_usd_ticks": 2_709_000}, 0.0002709),
        ({"cost": -1}, None),
        ({"cost": "much"}, None),
        ({"cost": None, "cost_in_usd_ticks": None}, None),
    ],
)
def test_stated_cost_is_in_usd(stated: dict[str, Any], expected: float | None) -> None:
    report = read_usage({"prompt_tokens": 1, "completion_tokens": 2, **stated})

    assert report is not None
    assert expected == report.cost_usd


def test_count_of_nothing_yet_is_no_usage() -> None:
    assert read_usage({"total_tokens": 0, "total_characters": 0}) is None


@pytest.mark.parametrize(
    ("chunk", "choices"),
    [
        ({"usage": {"prompt_tokens": 1}}, []),
        ({"usage": None}, [{"usage": {"prompt_tokens": 1}}]),
        ({"x_groq": {"id": "req_1", "usage": {"prompt_tokens": 1}}}, [{"delta": {}}]),
    ],
)
def test_usage_is_found_wherever_it_stands(chunk: dict[str, Any], choices: list[dict[str, Any]]) -> None:
    assert {"prompt_tokens": 1} == stated_usage(chunk, choices)


def test_chunk_may_state_no_usage() -> None:
    assert stated_usage({"x_groq": None}, [{"delta": {}}]) is None
