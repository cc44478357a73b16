"""The built-in table of providers and models: what they are called, cost, hold and can do.

The rows are in `catalog_data.json`, which `make catalog` writes from PyPI's genai-prices (MIT) and our own columns.
Only the rows of providers that are asked for are made into objects.

A model is deprecated once the vendor says so, or from the day announced (`retires_on`) on; a price that changes on a
day announced holds from that day on. Both go by the day on which the configuration is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache, cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson

from turnout_server.core.fleet import Price, PriceTier
from turnout_server.core.model import NANO_USD, Capability

DATA = Path(__file__).with_name("catalog_data.json")

DEFAULT_PROVIDER_ORDER = (
    "anthropic",
    "openai",
    "google",
    "kimi",
    "groq",
    "cerebras",
    "minimax",
    "mistral",
    "xai",
    "openrouter",
)
"""The order of PRIORITY; custom providers follow in file order, ollama is last."""

LAST_PROVIDER = "ollama"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One model. Tokens are counts, quality is 0 to 100; None is unknown."""

    name: str
    context_window_tokens: int | None = None
    max_output_tokens: int | None = None
    price: Price | None = None
    capabilities: frozenset[Capability] = frozenset()
    custom_capabilities: frozenset[str] = frozenset()
    quality: float | None = None
    latency_prior_seconds: float = 1.0
    seconds_per_output_token: float = 0.015
    silent_thinking: bool = False
    deprecated: bool = False
    retires_on: str = ""
    """Date (ISO 8601) from which the vendor no longer serves it, "" where none is announced."""
    regional_uplift: Decimal = Decimal(1)
    """What the price is multiplied by at the vendor's regional addresses."""

    @property
    def regional_price(self) -> Price | None:
        """The price at the vendor's regional addresses."""
        if self.price is None or self.regional_uplift == 1:
            return self.price
        return _times(self.price, self.regional_uplift)


@dataclass(frozen=True, kw_only=True)
class ProviderRow:
    """One vendor's API. `key_variables` are where its users keep the key, the usual one first."""

    name: str
    wire: str
    base_url: str
    key_variables: tuple[str, ...]
    regions: Mapping[str, str]
    """By region, the address that the vendor promises to answer from within it."""
    rows: Mapping[str, Mapping[str, Any]]
    """Models as they stand in the data."""
    today: date

    @cached_property
    def models(self) -> tuple[ModelRow, ...]:
        """The models, as they are today."""
        return tuple(_model(name, row, self.today) for name, row in self.rows.items())


def built_in(today: date | None = None) -> Mapping[str, ProviderRow]:
    """Returns the providers known by name, with all their models as of `today` (UTC's day where it is None)."""
    return _of_day(today or datetime.now(UTC).date())


LOCAL_ABILITIES: Mapping[str, Capability] = MappingProxyType(
    {"tools": Capability.TOOLS, "vision": Capability.VISION, "thinking": Capability.THINKING}
)
"""What a local server says of its models, in our words."""


def local_row(name: str, context_window_tokens: int | None, abilities: frozenset[str]) -> ModelRow:
    """Returns the row of a model that a server on the operator's own machines was found to have: it costs nothing."""
    return ModelRow(
        name=name,
        context_window_tokens=context_window_tokens,
        price=Price(input_per_million=0, output_per_million=0),
        capabilities=frozenset(
            {
                Capability.STREAMING,
                Capability.CODE,
                Capability.JSON_SCHEMA,
                *(capability for word, capability in LOCAL_ABILITIES.items() if word in abilities),
            }
        ),
        quality=60.0,
        latency_prior_seconds=0.5,
    )


def nano(usd: str | float | Decimal) -> int:
    """Returns USD as nano-USD, rounded to the nearest."""
    return int((Decimal(str(usd)) * NANO_USD).to_integral_value())


def origin() -> tuple[str, str]:
    """Returns the day the data was made on, and the package and version its prices came from."""
    data = _data()
    return data["date"], data["source"]


@cache
def _data() -> Any:
    return orjson.loads(DATA.read_bytes())


@lru_cache(maxsize=1)
def _of_day(today: date) -> Mapping[str, ProviderRow]:
    return MappingProxyType(
        {
            name: ProviderRow(
                name=name,
                wire=row["wire"],
                base_url=row["base_url"],
                key_variables=tuple(row["key_variables"]),
                regions=MappingProxyType(row.get("regions", {})),
                rows=row["models"],
                today=today,
            )
            for name, row in _data()["providers"].items()
        }
    )


def _model(name: str, row: Mapping[str, Any], today: date) -> ModelRow:
    retires_on = row.get("retires_on", "")
    return ModelRow(
        name=name,
        context_window_tokens=row["window"],
        max_output_tokens=row["longest"],
        price=_price_of(row["prices"], today),
        capabilities=frozenset(Capability[word] for word in row["can"]),
        quality=float(row["quality"]),
        latency_prior_seconds=row["first_token_seconds"],
        seconds_per_output_token=row["seconds_per_output_token"],
        silent_thinking=row.get("thinks", False),
        deprecated=row.get("retired", False) or (retires_on != "" and retires_on <= today.isoformat()),
        retires_on=retires_on,
        regional_uplift=Decimal(row.get("uplift", 1)),
    )


def _times(price: Price, factor: Decimal) -> Price:
    changed: dict[str, Any] = {
        field.name: round(value * factor)
        for field in fields(price)
        if isinstance(value := getattr(price, field.name), int)
    }
    tiers = tuple(replace(tier, price=_times(tier.price, factor)) for tier in price.tiers)
    return replace(price, **changed, tiers=tiers)


def _price_of(steps: list[Mapping[str, Any]], today: date) -> Price:
    """Returns the last of the prices that holds by today; each step begins on its day, the first has always held."""
    day = today.isoformat()
    step = [each for each in steps if each.get("from", "") <= day][-1]
    tiers = tuple(
        PriceTier(above_input_tokens=tier["tokens"], price=_price(tier, ())) for tier in step.get("above", ())
    )
    return _price(step, tiers)


def _price(values: Mapping[str, Any], tiers: tuple[PriceTier, ...]) -> Price:
    def optional(key: str) -> int | None:
        return nano(values[key]) if key in values else None

    return Price(
        input_per_million=nano(values["input"]),
        output_per_million=nano(values["output"]),
        cached_input_per_million=optional("cached"),
        cache_write_per_million=optional("written"),
        cache_write_1h_per_million=optional("written_1h"),
        audio_input_per_million=optional("audio"),
        cached_audio_input_per_million=optional("cached_audio"),
        tiers=tiers,
    )
