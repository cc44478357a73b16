"""What takes no new calls because somebody said so: whole providers and single targets, as configured and as changed
since.

A drain is of a name. It holds for whatever has that name, at another address as well, and for models that a drained
provider is given later. It ends when it is taken back, when the configuration loses the name, and with a restart.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from turnout_server.core.fleet import Fleet, TargetSpec
    from turnout_server.core.model import Target

ETAG_LENGTH = 16


class Drained(NamedTuple):
    """What is drained of one provider: all of it (`whole`), and single targets, which stay so when it is not."""

    whole: bool
    targets: frozenset[Target]


class Drains:
    """All drains of a fleet. `configured` are names as the configuration has them; those of nothing are ignored."""

    __slots__ = ("_configured_providers", "_configured_targets", "_fleet", "_providers", "_targets")

    def __init__(self, fleet: Fleet, configured: Iterable[str] = ()) -> None:
        self._fleet = fleet
        self._configured_providers, self._configured_targets = _resolved(fleet, configured)
        self._providers = self._configured_providers
        self._targets = self._configured_targets

    def adopt(self, fleet: Fleet, configured: Iterable[str]) -> None:
        """Takes another fleet and what its configuration drains.

        What the configuration says anew holds from now on, in either direction; where it says what it said before, what
        was changed since stays.
        """
        providers, targets = _resolved(fleet, configured)
        known = {spec.target for spec in fleet.specs}
        kept_providers = self._providers - (self._configured_providers - providers)
        kept_targets = self._targets - (self._configured_targets - targets)
        self._providers = (kept_providers | (providers - self._configured_providers)) & frozenset(fleet.providers)
        self._targets = (kept_targets | (targets - self._configured_targets)) & known
        self._configured_providers, self._configured_targets = providers, targets
        self._fleet = fleet

    def of(self, provider: str) -> Drained:
        """Returns what is drained of a provider."""
        return Drained(
            provider in self._providers, frozenset(each for each in self._targets if each.provider == provider)
        )

    def change(self, provider: str, drained: Drained) -> None:
        """Says anew what is drained of a provider that is known."""
        others = frozenset(each for each in self._targets if each.provider != provider)
        self._targets = others | drained.targets
        self._providers = self._providers | {provider} if drained.whole else self._providers - {provider}

    def set_target(self, target: Target, *, drained: bool) -> None:
        """Drains one target that is known, or takes that back."""
        self._targets = self._targets | {target} if drained else self._targets - {target}

    def hold(self, target: Target) -> bool:
        """Whether a target is drained, by itself or with its provider."""
        return target.provider in self._providers or target in self._targets

    def etag(self, provider: str) -> str:
        """Returns what changes with every change of a provider: of its facts by a reload, and of its drains.

        It is of what there is and not a count: where the same holds again, so does an etag from then.
        """
        drained = self.of(provider)
        facts = [_facts(spec) for spec in self._fleet.specs if spec.target.provider == provider]
        values = (drained.whole, sorted(map(str, drained.targets)), facts)
        return sha256(repr(values).encode(errors="surrogatepass")).hexdigest()[:ETAG_LENGTH]


def _facts(spec: TargetSpec) -> tuple[object, ...]:
    """Returns what is told of a target; sets in an order that is the same in every process."""
    return (
        spec.target,
        spec.wire,
        spec.base_url,
        spec.region,
        spec.context_window_tokens,
        spec.max_output_tokens,
        spec.price,
        sorted(spec.capabilities),
        sorted(spec.custom_capabilities),
        spec.quality,
        spec.latency_prior_seconds,
        spec.silent_thinking,
        [credential.label for credential in spec.credentials],
        spec.max_concurrency,
    )


def _resolved(fleet: Fleet, names: Iterable[str]) -> tuple[frozenset[str], frozenset[Target]]:
    """Returns the providers and the single targets that names stand for."""
    providers: set[str] = set()
    targets: set[Target] = set()
    known: Collection[str] = fleet.providers
    for name in names:
        if name in known:
            providers.add(name)
        else:
            targets.update(fleet.specs[index].target for index in fleet.resolve(name))
    return frozenset(providers), frozenset(targets)
