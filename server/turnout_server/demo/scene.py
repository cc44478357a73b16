"""Who takes part in the demonstration and when what happens: simulated providers, prices, a configuration, the acts."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from turnout_server.providers.simulated.latency import LatencyModel
from turnout_server.providers.simulated.provider import ProviderSettings, WireName

MINIMUM_SECONDS = 8.0
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CastModel:
    """A simulated model as the configuration describes it; prices in USD per million tokens."""

    name: str
    quality: float
    input_usd: float
    output_usd: float

    def cost_usd(self, input_tokens: int, output_tokens: int) -> float:
        """Returns what so many tokens cost here."""
        return (input_tokens * self.input_usd + output_tokens * self.output_usd) / _MILLION


@dataclass(frozen=True, slots=True, kw_only=True)
class CastProvider:
    """A simulated provider with its models; `key` is made anew for each run."""

    name: str
    wire: WireName
    first_token_seconds: float
    seconds_per_output_token: float
    models: tuple[CastModel, ...]
    key: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    @property
    def key_variable(self) -> str:
        """The environment variable that brings the key to the sidecar."""
        return f"DEMO_{self.name.upper()}_KEY"

    def settings(self) -> ProviderSettings:
        """Returns what the simulated side needs."""
        return ProviderSettings.model_validate(
            {
                "wire": self.wire,
                "models": [model.name for model in self.models],
                "api_key": self.key,
                "latency": LatencyModel(
                    first_token_seconds=self.first_token_seconds,
                    seconds_per_output_token=self.seconds_per_output_token,
                    jitter=0.25,
                ),
            }
        )


def default_cast() -> tuple[CastProvider, ...]:
    """Returns three providers: one good and dear, one fast and cheap, one cheap and slower."""
    return (
        CastProvider(
            name="atlas",
            wire=WireName.ANTHROPIC,
            first_token_seconds=0.35,
            seconds_per_output_token=0.014,
            models=(
                CastModel(name="large", quality=94, input_usd=3.0, output_usd=15.0),
                CastModel(name="small", quality=84, input_usd=0.8, output_usd=4.0),
            ),
        ),
        CastProvider(
            name="boreal",
            wire=WireName.OPENAI,
            first_token_seconds=0.12,
            seconds_per_output_token=0.009,
            models=(
                CastModel(name="large", quality=90, input_usd=2.0, output_usd=8.0),
                CastModel(name="small", quality=82, input_usd=0.15, output_usd=0.6),
            ),
        ),
        CastProvider(
            name="cirrus",
            wire=WireName.OPENAI,
            first_token_seconds=0.25,
            seconds_per_output_token=0.012,
            models=(CastModel(name="medium", quality=80, input_usd=0.2, output_usd=0.9),),
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """When the acts begin, in seconds from the first request, and how the breaker is set so that they fit.

    The failure lasts at least until `recover_seconds` and until a breaker was seen open; the last act at least until
    `end_seconds` and until traffic is back. `limit_seconds` ends it all the same.
    """

    fail_seconds: float
    recover_seconds: float
    end_seconds: float
    limit_seconds: float
    open_seconds: float
    open_max_seconds: float
    ramp_seconds: float

    @classmethod
    def of(cls, seconds: float) -> Times:
        """Returns the times of a demonstration of about this length."""
        return cls(
            fail_seconds=0.3 * seconds,
            recover_seconds=0.6 * seconds,
            end_seconds=seconds,
            limit_seconds=1.5 * seconds + 5.0,
            open_seconds=round(seconds / 15, 2),
            open_max_seconds=round(seconds / 10, 2),
            ramp_seconds=round(seconds / 10, 2),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The cast and the times of one run."""

    cast: tuple[CastProvider, ...] = field(default_factory=default_cast)
    times: Times

    def provider(self, name: str) -> CastProvider:
        """Returns a provider by its name. Raises KeyError for one that has no part."""
        return {provider.name: provider for provider in self.cast}[name]

    def cost_usd(self, provider: str, model: str, input_tokens: int, output_tokens: int) -> float:
        """Returns what so many tokens cost at a target."""
        models = {known.name: known for known in self.provider(provider).models}
        return models[model].cost_usd(input_tokens, output_tokens)

    def dearest_cost_usd(self, input_tokens: int, output_tokens: int) -> float:
        """Returns what the same tokens cost at the dearest target."""
        models = (model for provider in self.cast for model in provider.models)
        return max(model.cost_usd(input_tokens, output_tokens) for model in models)

    def configuration(self, base_urls: Mapping[str, str]) -> dict[str, Any]:
        """Returns the sidecar's configuration, as its file holds it."""
        times = self.times
        return {
            "listen": {"address": "127.0.0.1:0"},
            "health": {"address": "127.0.0.1:0"},
            "metrics": {"address": "127.0.0.1:0"},
            "providers": {provider.name: _entry(provider, base_urls[provider.name]) for provider in self.cast},
            "routing": {"policies": {"default": {"strategy": "HYBRID", "mid_stream": "RESTART"}}},
            "failover": {
                "preset": "aggressive",
                "open_seconds": times.open_seconds,
                "open_max_seconds": times.open_max_seconds,
                "recovery_successes": 2,
                "ramp_seconds": times.ramp_seconds,
            },
            "telemetry": {"log_level": "info", "log_format": "json"},
            "drain_seconds": 3,
        }

    def write_configuration(self, path: Path, base_urls: Mapping[str, str]) -> None:
        """Writes the configuration file."""
        path.write_text(yaml.safe_dump(self.configuration(base_urls), sort_keys=False), encoding="utf-8")


def _entry(provider: CastProvider, base_url: str) -> dict[str, Any]:
    return {
        "wire": provider.wire.value,
        "base_url": base_url,
        "api_key_env": provider.key_variable,
        "allow_insecure": True,
        "allow_private": True,
        "models": [
            {
                "name": model.name,
                "context_window_tokens": 128_000,
                "max_output_tokens": 8192,
                "price": {"input_per_million_usd": model.input_usd, "output_per_million_usd": model.output_usd},
                "capabilities": ["STREAMING", "TOOLS", "PARALLEL_TOOLS", "JSON_SCHEMA", "CODE"],
                "quality": model.quality,
                "latency_prior_seconds": provider.first_token_seconds,
            }
            for model in provider.models
        ],
    }
