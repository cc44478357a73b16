"""Changes of what is in force that somebody asks for while it runs: one at a time, checked as the file is, and whole.

Arrow line: what holds now -> what shall hold -> the checks of the file -> built aside -> put in place -> told.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from turnout_server.config.faults import ConfigurationError, Finding, dotted
from turnout_server.config.policies import all_policies
from turnout_server.core.drains import Drained
from turnout_server.core.errors import (
    AlreadyExistsError,
    FieldViolation,
    InvalidRequestError,
    RegistrationDisabledError,
    UnknownPolicyError,
)
from turnout_server.core.events import Event, EventName

if TYPE_CHECKING:
    from turnout_server.core.changing import ProviderFacts, RoutingChange
    from turnout_server.core.model import Target
    from turnout_server.core.settings import Policy, Settings
    from turnout_server.reloading.in_service import InService
    from turnout_server.router import Router

REGISTERED_MAXIMUM = 100
REGISTERED_MODELS_MAXIMUM = 1000
"""Of all registered providers together; each is a target with windows, sums and metrics of its own."""
NAMES_TOLD = 10
"""Models that an event names; it has the count of the rest."""
BLOCKS = {
    "strategy": "routing.strategy",
    "shares": "routing.strategy",
    "weights": "routing.weights",
    "preferences": "routing.preferences",
    "default_policy": "routing.default_policy",
    "provider_order": "routing.provider_order",
    "failover": "routing.failover_preset",
}
"""Keys of the configuration, and the fields of the request that say what stands there."""


class RunTimeChanges:
    """Over what is in service. `on_event` is told of each change; `clock` is monotonic seconds."""

    def __init__(
        self,
        service: InService,
        router: Router,
        *,
        on_event: Callable[[Event], None],
        clock: Callable[[], float],
    ) -> None:
        self._service = service
        self._router = router
        self._on_event = on_event
        self._clock = clock

    async def change_routing(self, change: RoutingChange, *, still: Callable[[], None], by: str) -> None:
        """Puts other routing rules in force (`Changing`). Raises InvalidRequestError or UnknownPolicyError."""
        service = self._service
        async with service.one_at_a_time:
            policies = all_policies(service.file.routing)
            if change.policy not in policies:
                known = ", ".join(sorted(policies))
                raise UnknownPolicyError(
                    f'policy "{change.policy}" does not exist; the policies are {known}', name=change.policy
                )
            still()
            run_time = service.run_time.with_routing(change, service.file)
            findings = await service.findings(run_time)
            if findings:
                raise InvalidRequestError([_violation(finding) for finding in findings])
            before, order = self._router.configured.settings, self._order()
            try:
                await service.take_change(run_time)
            except ConfigurationError as error:
                raise _not_taken(error) from None
            what = list(_differences(change.policy, before, self._router.configured.settings))
            if order != self._order():
                what.append(f"provider_order {', '.join(self._order())}")
            if what:
                self._tell(EventName.ROUTING_CHANGED, {"by": by, "policy": change.policy, "what": "; ".join(what)})

    def registered(self, name: str) -> ProviderFacts | None:
        """Returns a provider that was registered; None for any other name."""
        return self._service.run_time.providers.get(name)

    async def register_provider(self, facts: ProviderFacts, *, drained: bool, by: str) -> None:
        """Adds a provider (`Changing`). Raises InvalidRequestError, RegistrationDisabledError or AlreadyExistsError."""
        service = self._service
        async with service.one_at_a_time:
            if not service.file.admin.allow_register:
                raise RegistrationDisabledError(
                    "admin.allow_register is off: providers come by the configuration alone"
                )
            if facts.name in self._router.configured.fleet.providers:
                raise AlreadyExistsError(f"there is a provider {facts.name!r} already; change it, or take another name")
            if len(service.run_time.providers) >= REGISTERED_MAXIMUM:
                description = f"{REGISTERED_MAXIMUM} providers are registered, and there can be no more: remove one"
                raise InvalidRequestError([FieldViolation(field="provider.provider", description=description)])
            await self._take_provider(facts)
            if drained:
                self._router.administration.change_drains(facts.name, Drained(whole=True, targets=frozenset()), by=by)
            self._tell(EventName.PROVIDER_REGISTERED, {"by": by, "what": _in_words(facts)}, facts.name)

    async def update_provider(
        self, name: str, changed: Callable[[ProviderFacts], ProviderFacts], *, still: Callable[[], None], by: str
    ) -> None:
        """Gives a registered provider other facts (`Changing`). Raises InvalidRequestError or UnknownProviderError."""
        async with self._service.one_at_a_time:
            before = self._known(name)
            still()
            facts = changed(before)
            if facts == before:
                return
            await self._take_provider(facts)
            what = f"{_in_words(before)} -> {_in_words(facts)}"
            self._tell(EventName.PROVIDER_CHANGED, {"by": by, "what": what}, name)

    async def remove_provider(self, name: str, *, still: Callable[[], None], by: str) -> Sequence[Target]:
        """Takes a registered provider out (`Changing`). Raises InvalidRequestError or UnknownProviderError."""
        service = self._service
        async with service.one_at_a_time:
            before = self._known(name)
            still()
            run_time = service.run_time.without_provider(name)
            findings = await service.findings(run_time)
            if findings:
                # Something that was said since names it: left alone, that would end with the next file.
                raise InvalidRequestError([_provider_violation(finding, name) for finding in findings])
            try:
                adopted = await service.take_change(run_time)
            except ConfigurationError as error:
                raise _not_taken(error) from None
            self._tell(EventName.PROVIDER_REMOVED, {"by": by, "what": _in_words(before)}, name)
            return adopted.removed

    async def _take_provider(self, facts: ProviderFacts) -> None:
        service = self._service
        others = sum(len(each.models) for each in service.run_time.providers.values() if each.name != facts.name)
        if others + len(facts.models) > REGISTERED_MODELS_MAXIMUM:
            description = (
                f"has {len(facts.models)} models; {others} of other providers are registered, and there can be "
                f"{REGISTERED_MODELS_MAXIMUM} in all: give {max(0, REGISTERED_MODELS_MAXIMUM - others)} at most, or "
                f"remove a provider"
            )
            raise InvalidRequestError([FieldViolation(field="provider.models", description=description)])
        run_time = service.run_time.with_provider(facts)
        findings = service.registration_findings(facts) or await service.findings(run_time)
        if findings:
            raise InvalidRequestError([_provider_violation(finding, facts.name) for finding in findings])
        try:
            await service.take_change(run_time)
        except ConfigurationError as error:
            raise _not_taken(error) from None

    def _known(self, name: str) -> ProviderFacts:
        facts = self.registered(name)
        if facts is not None:
            return facts
        # Raises UnknownProviderError where there is no such at all.
        self._router.configured.check_providers([name])
        description = "is the configuration's: take it out there, or drain it"
        raise InvalidRequestError([FieldViolation(field="provider", description=description)])

    def _order(self) -> tuple[str, ...]:
        return self._router.configured.fleet.providers_by_rank

    def _tell(self, name: EventName, fields: dict[str, str | int | float], provider: str = "") -> None:
        self._on_event(Event(name=name, at=self._clock(), provider=provider, fields=fields))


def _violation(finding: Finding) -> FieldViolation:
    """Returns a fault of the configuration as one of the request that leads to it."""
    path, message = finding
    field = next((BLOCKS[key] for key in reversed(path) if isinstance(key, str) and key in BLOCKS), "routing")
    # A policy that inherits from the changed one may be where it does not fit.
    where = f'policy "{path[2]}": ' if path[:2] == ("routing", "policies") else ""
    return FieldViolation(field=field, description=where + message)


def _provider_violation(finding: Finding, name: str) -> FieldViolation:
    """Returns a fault of a registered provider's block as one of the message that leads to it."""
    path, message = finding
    if path[:2] != ("providers", name):
        # It does not fit what the configuration says elsewhere, such as a table that names other models of it.
        return FieldViolation(field="provider", description=f"{dotted(path)}: {message}")
    below = tuple("credential" if part == "credentials" else part for part in path[2:] if part != "price")
    if below[:1] == ("credential",):
        below = ("credential",)
    elif below[:1] == ("enabled_models",):
        below = ("models", *below[1:])
    return FieldViolation(field=dotted(("provider", *below)), description=message)


def _in_words(facts: ProviderFacts) -> str:
    models = ", ".join(model.name for model in facts.models[:NAMES_TOLD])
    more = f" and {len(facts.models) - NAMES_TOLD} more" if len(facts.models) > NAMES_TOLD else ""
    key = f", credential {facts.credential}" if facts.credential else ""
    return f"{facts.wire} at {facts.base_url}{key}: {models}{more}"


def _not_taken(error: ConfigurationError) -> InvalidRequestError:
    """Returns what a request is answered with whose change could not be built, such as for a certificate's sake."""
    return InvalidRequestError(
        [FieldViolation(field="configuration", description=str(fault)) for fault in error.faults]
    )


def _differences(name: str, before: Settings, after: Settings) -> Iterable[str]:
    """Yields what is other than it was, in words for people."""
    old, new = before.routing.policies[name], after.routing.policies[name]
    if old.strategy is not new.strategy:
        yield f"strategy {old.strategy} -> {new.strategy}"
    if old.weights != new.weights:
        yield f"weights {_weights(old)} -> {_weights(new)}"
    if old.preferences != new.preferences:
        yield f"preferences {', '.join(old.preferences) or 'none'} -> {', '.join(new.preferences) or 'none'}"
    if before.failover.breaker != after.failover.breaker:
        one, other = before.failover.breaker, after.failover.breaker
        yield (
            f"breaker: {one.consecutive_failures} in a row, open {one.open_seconds:g} to {one.open_max_seconds:g} s, "
            f"{one.recovery_successes} to close -> {other.consecutive_failures} in a row, open "
            f"{other.open_seconds:g} to {other.open_max_seconds:g} s, {other.recovery_successes} to close"
        )
    if before.routing.default_policy != after.routing.default_policy:
        yield f"default_policy {before.routing.default_policy} -> {after.routing.default_policy}"


def _weights(policy: Policy) -> str:
    values = ((each.name, getattr(policy.weights, each.name) or 0.0) for each in dataclasses.fields(policy.weights))
    return " ".join(f"{name}={value:g}" for name, value in values if value)
