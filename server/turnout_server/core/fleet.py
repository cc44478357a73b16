"""The targets that exist: static facts, made once from catalog and configuration, found by the names callers use."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from operator import is_

from turnout_server.core.model import Capability, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a million tokens cost, in nano-USD, by class. None: the vendor states no such price.

    A class without a price of its own is charged as the class it is part of: cached input, cache writes as input,
    one-hour cache writes as cache writes, reasoning as output, sound as other input, cached sound as cached input.
    """

    input_per_million: int
    output_per_million: int
    cached_input_per_million: int | None = None
    cache_write_per_million: int | None = None
    cache_write_1h_per_million: int | None = None
    reasoning_per_million: int | None = None
    audio_input_per_million: int | None = None
    cached_audio_input_per_million: int | None = None
    tiers: tuple[PriceTier, ...] = ()
    """Dearer (or cheaper) prices for longer prompts, by rising threshold; empty where length makes no difference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTier:
    """What holds instead, for all tokens of a request whose input (cached included) exceeds so many tokens."""

    above_input_tokens: int
    price: Price


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialSpec:
    """One key of ours by its label; the secret itself never enters the core. Empty tenants and models mean all.

    `weight` is its share of the calls among keys of one kind; 0 makes it a spare, for when none of those can be used.
    """

    label: str
    weight: float = 1.0
    tenants: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()


class Prefill(Enum):
    """Whether a model takes a conversation that ends with a turn of the assistant: a prefill, which it goes on from."""

    TAKEN = "taken"
    TAKEN_WITHOUT_THINKING = "taken, but for requests that ask for thinking"
    UNKNOWN = "unknown"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSpec:
    """Everything about a target that does not change while it runs. None is unknown."""

    target: Target
    wire: str
    base_url: str
    region: str = ""
    context_window_tokens: int | None = None
    max_output_tokens: int | None = None
    price: Price | None = None
    capabilities: frozenset[Capability] = frozenset()
    custom_capabilities: frozenset[str] = frozenset()
    url_capabilities: frozenset[Capability] = frozenset()
    """The media (VISION, AUDIO, DOCUMENTS) that the wire takes by URL; elsewhere only bytes will do."""
    lacking_forms: frozenset[str] = frozenset()
    """Forms and combinations of its capabilities that it lacks, as `forms` names them."""
    quality: float | None = None
    latency_prior_seconds: float = 1.0
    seconds_per_output_token_prior: float = 0.015
    silent_thinking: bool = False
    prefill: Prefill = Prefill.UNKNOWN
    deprecated: bool = False
    needs_credential: bool = True
    credentials: tuple[CredentialSpec, ...] = ()
    max_concurrency: int | None = None
    first_token_timeout_seconds: float | None = None
    provider_rank: int = 0
    """Place of the provider in the PRIORITY order, 0 first."""
    name: str = ""
    """`str(target)`, made once."""


class Fleet:
    """All enabled targets, in a fixed order, and the ways to name them.

    A name is "provider", "provider/model" (all its endpoints) or "provider/model@endpoint"; it is split at the first
    "/", and at the last "@" only if that endpoint exists.
    """

    __slots__ = ("_by_model", "_by_name", "_by_provider", "_index", "specs")

    def __init__(self, specs: tuple[TargetSpec, ...]) -> None:
        self.specs = specs
        self._index = {spec.target: i for i, spec in enumerate(specs)}
        self._by_name: dict[str, tuple[int, ...]] = {}
        self._by_provider: dict[str, tuple[int, ...]] = {}
        self._by_model: dict[str, tuple[int, ...]] = {}
        for i, spec in enumerate(specs):
            target = spec.target
            self._by_name[str(target)] = (i,)
            self._by_provider[target.provider] = (*self._by_provider.get(target.provider, ()), i)
            model = f"{target.provider}/{target.model}"
            self._by_model[model] = (*self._by_model.get(model, ()), i)

    @property
    def providers(self) -> tuple[str, ...]:
        """Provider names, in file order."""
        return tuple(self._by_provider)

    @property
    def providers_by_rank(self) -> tuple[str, ...]:
        """Provider names in the order of PRIORITY."""
        return tuple(sorted(self._by_provider, key=lambda name: self.specs[self._by_provider[name][0]].provider_rank))

    def sharing(self, before: Fleet) -> Fleet:
        """Returns the same targets, with the facts of `before` in place of equal ones: `before` where all are equal.

        So answers that are kept for it stay, and what is kept of past decisions holds each fact once.
        """
        known = {spec.target: spec for spec in before.specs}
        specs = tuple(known[spec.target] if known.get(spec.target) == spec else spec for spec in self.specs)
        if len(specs) == len(before.specs) and all(map(is_, specs, before.specs)):
            return before
        return Fleet(specs)

    def index(self, target: Target) -> int | None:
        """The target's place in `specs`, or None if it is not known here."""
        return self._index.get(target)

    def resolve(self, name: str) -> tuple[int, ...]:
        """The places of all targets that a name stands for; empty if it stands for none."""
        return self._by_name.get(name) or self._by_model.get(name) or self._by_provider.get(name) or ()
