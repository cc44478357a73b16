"""The built-in catalog holds what it must, and every row makes sense."""

from datetime import date

import pytest

from catalog.__main__ import made
from turnout_server.config.catalog import DATA, ModelRow, built_in, origin
from turnout_server.core.fleet import Price
from turnout_server.core.model import NANO_USD, Capability

TODAY = date(2026, 11, 21)
ROWS = [(provider.name, model) for provider in built_in(TODAY).values() for model in provider.models]


def row(name: str, today: date = TODAY) -> ModelRow:
    provider, _, model = name.partition("/")
    return next(each for each in built_in(today)[provider].models if each.name == model)


def price(name: str, today: date = TODAY) -> Price:
    found = row(name, today).price
    assert found is not None
    return found


@pytest.mark.parametrize(
    "name",
    [
        "anthropic/claude-sonnet-4-5",
        "anthropic/claude-opus-4-0",
        "anthropic/claude-haiku-4-5",
        "anthropic/claude-3-5-sonnet-latest",
        "anthropic/claude-3-haiku-20240307",
        "anthropic/claude-3-opus-latest",
        "anthropic/claude-opus-5-5",
        "openai/gpt-4o",
        "openai/gpt-4o-mini",
        "openai/gpt-4-turbo",
        "openai/gpt-6-luna",
        "google/gemini-1.5-pro",
        "google/gemini-1.5-flash",
        "google/gemini-1.0-pro",
        "google/gemini-3.8-flash",
        "groq/llama-3.1-405b-reasoning",
        "groq/llama-3.1-70b-versatile",
        "groq/mixtral-8x7b-32768",
        "groq/openai/gpt-oss-120b",
        "cerebras/llama3.1-70b",
        "cerebras/llama3.1-8b",
        "kimi/kimi-k2.5",
        "kimi/kimi-k2",
        "minimax/MiniMax-Text-01",
        "minimax/abab6.5s-chat",
        "mistral/mistral-small-latest",
        "mistral/devstral-small-2505",
        "mistral/codestral-latest",
        "xai/grok-3-mini",
        "openrouter/openai/gpt-4o",
    ],
)
def test_model_that_must_be_there_has_price_window_and_capabilities(name: str) -> None:
    model = row(name)

    assert model.price is not None
    assert model.context_window_tokens
    assert model.max_output_tokens
    assert Capability.STREAMING in model.capabilities


@pytest.mark.parametrize(
    ("name", "input_usd", "output_usd"),
    [
        ("anthropic/claude-sonnet-4-5", 3, 15),
        ("anthropic/claude-opus-4-0", 15, 75),
        ("anthropic/claude-haiku-4-5", 1, 5),
        ("openai/gpt-4o", 2.5, 10),
        ("openai/gpt-4o-mini", 0.15, 0.6),
    ],
)
def test_prices_are_the_vendors(name: str, input_usd: float, output_usd: float) -> None:
    found = price(name)

    assert (found.input_per_million, found.output_per_million) == (input_usd * NANO_USD, output_usd * NANO_USD)


@pytest.mark.parametrize(("provider", "model"), ROWS, ids=[f"{provider}/{model.name}" for provider, model in ROWS])
def test_row_is_plausible(provider: str, model: ModelRow) -> None:
    found = price(f"{provider}/{model.name}")

    for each in (found, *(tier.price for tier in found.tiers)):
        assert 0 < each.input_per_million
        assert 0 < each.output_per_million
        assert each.cached_input_per_million is None or each.cached_input_per_million < each.input_per_million
    assert model.context_window_tokens is not None
    assert model.max_output_tokens is not None
    assert 0 < model.max_output_tokens <= model.context_window_tokens
    assert model.quality is not None
    assert 0 < model.quality <= 100
    assert 0 < model.latency_prior_seconds < 10
    assert 0 < model.seconds_per_output_token < 0.1
    assert Capability.STREAMING in model.capabilities


@pytest.mark.parametrize("name", ["openai/gpt-4-turbo", "anthropic/claude-3-opus-latest", "anthropic/claude-opus-4-0"])
def test_model_no_longer_served_is_marked(name: str) -> None:
    assert row(name).deprecated


def test_model_served_today_is_not_marked() -> None:
    assert not row("openai/gpt-4o").deprecated
    assert not row("anthropic/claude-sonnet-4-5").deprecated


def test_model_is_deprecated_from_the_day_on_which_its_vendor_retires_it() -> None:
    assert not row("anthropic/claude-sonnet-4-5", date(2026, 11, 29)).deprecated
    assert row("anthropic/claude-sonnet-4-5", date(2026, 11, 30)).deprecated


def test_price_that_changes_on_a_day_announced_holds_from_that_day() -> None:
    before, after = (price("google/gemini-4-argon", day) for day in (date(2026, 11, 30), date(2026, 12, 1)))

    assert (2 * NANO_USD, 10 * NANO_USD) == (before.input_per_million, before.output_per_million)
    assert (4 * NANO_USD, 20 * NANO_USD) == (after.input_per_million, after.output_per_million)


def test_price_of_long_prompts_is_a_tier() -> None:
    (tier,) = price("google/gemini-2.5-pro").tiers

    assert (200_000, int(2.5 * NANO_USD), 15 * NANO_USD) == (
        tier.above_input_tokens,
        tier.price.input_per_million,
        tier.price.output_per_million,
    )


def test_only_the_rows_of_a_provider_that_is_asked_for_are_made() -> None:
    catalog = built_in(date(2020, 1, 1))

    assert catalog["openai"].models
    assert "models" in vars(catalog["openai"])
    assert "models" not in vars(catalog["groq"])


def test_data_file_is_what_the_builder_makes_of_the_locked_package() -> None:
    day, _ = origin()

    assert made(day) == DATA.read_bytes()
