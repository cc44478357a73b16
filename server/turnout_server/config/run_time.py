"""What was changed of a configuration at run time, and how that and a changed file meet: the latest word holds.

A changed value stands in the place of the file's, so that it is checked, built and put in force as if the file had it.
With it is kept what the file said of it then: where a later file says something else, the file's word is the later one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from turnout_server.config.policies import all_policies, resolved_policies
from turnout_server.config.providers import provider_sections
from turnout_server.config.registering import registered_section, registration_findings
from turnout_server.config.schema_routing import PolicySection

if TYPE_CHECKING:
    from turnout_server.config.faults import Path
    from turnout_server.config.schema import Configuration
    from turnout_server.core.changing import ProviderFacts, RoutingChange

PRESET_PATH: Path = ("failover", "preset")
DEFAULT_POLICY_PATH: Path = ("routing", "default_policy")
PROVIDER_ORDER_PATH: Path = ("routing", "provider_order")
PRESET_VALUES = ("consecutive_failures", "open_seconds", "open_max_seconds", "recovery_successes")
"""Keys that a preset stands for: where one is chosen at run time, no single value of the file stands beside it."""


@dataclass(frozen=True, slots=True)
class Change:
    """A value given at run time, and what the file said of it then."""

    value: Any
    said: Any


NO_CHANGES: Mapping[Path, Change] = MappingProxyType({})
NO_PROVIDERS: Mapping[str, ProviderFacts] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTime:
    """All that was changed since the start and still holds. `values` are by their paths in the configuration."""

    values: Mapping[Path, Change] = field(default_factory=lambda: NO_CHANGES)
    providers: Mapping[str, ProviderFacts] = field(default_factory=lambda: NO_PROVIDERS)
    """Those that were registered, by name."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was changed."""
        return not self.values and not self.providers

    def laid_over(self, file: Configuration, environ: Mapping[str, str]) -> Configuration:
        """Returns the file's configuration with what was changed in it."""
        for path, change in self.values.items():
            file = _with_value(file, path, change.value)
        if self.providers:
            own = {name: registered_section(facts, file.admin) for name, facts in self.providers.items()}
            file = file.model_copy(update={"providers": {**provider_sections(file, environ), **own}})
        return file

    def following(self, file: Configuration, environ: Mapping[str, str]) -> RunTime:
        """Returns what still holds under another file: what it does not say otherwise than the one before it.

        Of what was registered that is what the file allows, and has no provider of the same name.
        """
        taken = set(provider_sections(file, environ))
        providers = {
            name: facts
            for name, facts in self.providers.items()
            if file.admin.allow_register and not any(registration_findings(facts, file, taken, environ))
        }
        values = {
            path: change
            for path, change in self.values.items()
            if _is_there(file, path) and _said(file, path) == change.said
        }
        return RunTime(values=MappingProxyType(values), providers=MappingProxyType(providers))

    def without_faults(self) -> Iterator[RunTime]:
        """Yields what is tried, one after the other, where all of it together does not fit a file: less and less."""
        yield replace(self, values=NO_CHANGES)
        yield replace(self, providers=NO_PROVIDERS)
        yield RunTime()

    def undone_in(self, later: RunTime) -> tuple[Path, ...]:
        """Returns the paths of what does not hold any more."""
        gone = [("providers", name) for name in self.providers if name not in later.providers]
        return (*(path for path in self.values if path not in later.values), *gone)

    def with_provider(self, facts: ProviderFacts) -> RunTime:
        """Returns these with a registered provider, in the place of one of its name."""
        return replace(self, providers=MappingProxyType({**self.providers, facts.name: facts}))

    def without_provider(self, name: str) -> RunTime:
        """Returns these without a registered provider."""
        others = {each: facts for each, facts in self.providers.items() if each != name}
        return replace(self, providers=MappingProxyType(others))

    def with_routing(self, change: RoutingChange, file: Configuration) -> RunTime:
        """Returns these with other routing rules; the policy is known to exist."""
        strategy_path: Path = ("routing", "policies", change.policy, "strategy")
        weights_path: Path = ("routing", "policies", change.policy, "weights")
        preferences_path: Path = ("routing", "policies", change.policy, "preferences")
        present = replace(self, providers=NO_PROVIDERS).laid_over(file, {})
        values = dict(self.values)
        for name, path in (
            ("strategy", strategy_path),
            ("weights", weights_path),
            ("preferences", preferences_path),
            ("failover_preset", PRESET_PATH),
            ("default_policy", DEFAULT_POLICY_PATH),
            ("provider_order", PROVIDER_ORDER_PATH),
        ):
            if name in change.given_back:
                values.pop(path, None)
        given: dict[Path, Any] = {}
        if change.strategy is not None:
            given[strategy_path] = change.strategy
        if change.weights:
            weights = resolved_policies(present.routing)[change.policy].weights
            given[weights_path] = type(weights)(**{**weights.model_dump(), **change.weights})
        if change.preferences:
            given[preferences_path] = change.preferences
        if change.failover_preset is not None:
            given[PRESET_PATH] = change.failover_preset
        if change.default_policy:
            given[DEFAULT_POLICY_PATH] = change.default_policy
        if change.provider_order:
            given[PROVIDER_ORDER_PATH] = change.provider_order
        for path, value in given.items():
            values[path] = Change(value, _said(file, path))
        return replace(self, values=MappingProxyType(values))


def _is_there(file: Configuration, path: Path) -> bool:
    """Whether the file has what a path is about: a policy may be gone."""
    return path[:2] != ("routing", "policies") or path[2] in all_policies(file.routing)


def _said(file: Configuration, path: Path) -> Any:
    """Returns what a file says at a path, None where it says nothing; of a preset also the values beside it."""
    match path:
        case ("routing", "policies", str() as name, str() as key):
            policy = all_policies(file.routing)[name]
            return getattr(policy, key) if key in policy.model_fields_set else None
        case ("failover", "preset"):
            return (file.failover.preset, *(getattr(file.failover, name) for name in PRESET_VALUES))
        case ("routing", str() as key):
            return getattr(file.routing, key)
    raise AssertionError(path)


def _with_value(file: Configuration, path: Path, value: Any) -> Configuration:
    routing = file.routing
    match path:
        case ("routing", "policies", str() as name, str() as key):
            policies = all_policies(routing)
            policy: PolicySection = policies[name].model_copy(update={key: value})
            routing = routing.model_copy(update={"policies": {**policies, name: policy}})
            return file.model_copy(update={"routing": routing})
        case ("failover", "preset"):
            update = {"preset": value, **dict.fromkeys(PRESET_VALUES)}
            return file.model_copy(update={"failover": file.failover.model_copy(update=update)})
        case ("routing", str() as key):
            return file.model_copy(update={"routing": routing.model_copy(update={key: value})})
    raise AssertionError(path)
