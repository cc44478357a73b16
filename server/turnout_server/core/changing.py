"""What an operator wants to be another way in the rules that are in force, as values; `reloading` carries it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turnout_server.core.model import Capability, Strategy
    from turnout_server.core.settings import Preset

NO_WEIGHTS: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingChange:
    """Other rules. None and empty values change nothing; `policy` is whose strategy, weights and preferences.

    `weights` are single ones by name, laid over those in force. `given_back` names the fields, as the contract calls
    them, that are to be again what the configuration says.
    """

    policy: str
    strategy: Strategy | None = None
    weights: Mapping[str, float] = field(default_factory=lambda: NO_WEIGHTS)
    failover_preset: Preset | None = None
    default_policy: str = ""
    provider_order: tuple[str, ...] = ()
    preferences: tuple[str, ...] = ()
    given_back: frozenset[str] = frozenset()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be changed."""
        return not (
            self.strategy
            or self.weights
            or self.failover_preset
            or self.default_policy
            or self.provider_order
            or self.preferences
            or self.given_back
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """A model of a registered provider; prices are USD per million tokens. None is unknown."""

    name: str
    context_window_tokens: int | None = None
    max_output_tokens: int | None = None
    input_usd: float | None = None
    output_usd: float | None = None
    cached_input_usd: float | None = None
    cache_write_usd: float | None = None
    capabilities: tuple[Capability, ...] = ()
    custom_capabilities: tuple[str, ...] = ()
    quality: float | None = None
    latency_prior_seconds: float | None = None
    silent_thinking: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderFacts:
    """A provider that somebody registers. `credential` names one of `admin.credentials`, "" for none."""

    name: str
    wire: str
    base_url: str
    models: tuple[ModelFacts, ...]
    credential: str = ""
    region: str = ""
    max_concurrency: int | None = None
