"""The built-in catalog holds what it must, and every row makes sense."""

import pytest

from turnout_server.config.catalog import ModelRow, built_in
from turnout_server.core.fleet import Price
from turnout_server.core.model import NANO_USD, Capability

ROWS = [(provider.name, model) for provider in built_in().values() for model in provider.models]


def row(name: str) -> ModelRow:
    return next(model for _, model in ROWS if model.name == name)


def price(name: str) -> Price:
    found = row(name).price
    assert found is not None
    return found


@pytest.mark.parametrize(
    "name",
    [
        "claude-sonnet-4-5",
        "claude-opus-4-0",
        "claude-haiku-4-5",
        "claude-3-5-sonnet-latest",
        "claude-3-haiku-20240307",
        "claude-3-opus-latest",
        "claude-opus-5-5",
        "gpt-4o",
        "gpt-4o-mini",
        "gpt-4-turbo",
        "gpt-6-luna",
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
        ("claude-sonnet-4-5", 3, 15),
        ("claude-opus-4-0", 15, 75),
        ("claude-haiku-4-5", 1, 5),
        ("gpt-4o", 2.5, 10),
        ("gpt-4o-mini", 0.15, 0.6),
    ],
)
def test_prices_are_the_vendors(name: str, input_usd: float, output_usd: float) -> None:
    found = price(name)

    assert (found.input_per_million, found.output_per_million) == (input_usd * NANO_USD, output_usd * NANO_USD)


@pytest.mark.parametrize(("provider", "model"), ROWS, ids=lambda value: getattr(value, "name", value))
def test_row_is_plausible(provider: str, model: ModelRow) -> None:
    found = price(model.name)

    assert provider
    assert 0 < found.input_per_million <= found.output_per_million
    assert found.cached_input_per_million is None or found.cached_input_per_million < found.input_per_million
    assert found.cache_write_per_million is None or found.cache_write_per_million > found.input_per_million
    assert model.context_window_tokens is not None
    assert model.max_output_tokens is not None
    assert 0 < model.max_output_tokens <= model.context_window_tokens
    assert model.quality is not None
    assert 0 < model.quality <= 100
    assert 0 < model.latency_prior_seconds < 10


def test_no_model_is_there_twice() -> None:
    names = [model.name for _, model in ROWS]

    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("name", ["gpt-4-turbo", "claude-3-opus-latest", "claude-opus-4-0"])
def test_model_no_longer_served_is_marked(name: str) -> None:
    assert row(name).deprecated


def test_model_served_today_is_not_marked() -> None:
    assert not row("gpt-4o").deprecated
    assert not row("claude-sonnet-4-5").deprecated
