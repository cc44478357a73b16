"""The fleet and the settings in force, and what they say of a request."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from turnout_server.core.cost_cap import CostCap
from turnout_server.core.errors import UnknownProviderError
from turnout_server.core.in_force import InForce
from turnout_server.core.preferences import cost_cap_nano_usd, select_policy
from turnout_server.core.tokens import RATIO_MAXIMUM, estimate_input_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout_server.core.decision import Decision
    from turnout_server.core.fleet import Fleet
    from turnout_server.core.model import RouteQuery
    from turnout_server.core.settings import FailoverSettings, Policy, Settings
    from turnout_server.core.state import Adopted, FleetState


class Configured:
    """What holds now. Everybody reads `fleet`, `settings` and `in_force`; `adopt` alone changes them, all in one step.

    Whoever makes a call keeps the `in_force` that it began with until the call has ended.
    """

    __slots__ = ("_state", "_trims", "fleet", "in_force", "settings")

    def __init__(self, state: FleetState, settings: Settings) -> None:
        self._state = state
        self.fleet = state.fleet
        self.settings = settings
        self.in_force = InForce(state, settings)
        self._trims = _any_trims(settings)

    def adopt(self, fleet: Fleet, settings: Settings) -> Adopted:
        """Takes another fleet and its settings; what stays keeps its state (`FleetState.adopt`).

        Returns the targets that are new and those that are gone.
        """
        self.in_force.retire()
        fleet = fleet.sharing(self.fleet)
        if settings.routing == self.settings.routing:
            # What was worked out, or kept, under the same rules stays valid.
            settings = dataclasses.replace(settings, routing=self.settings.routing)
        adopted = self._state.adopt(fleet, settings)
        self.fleet = fleet
        self.settings = settings
        self.in_force = InForce(self._state, settings)
        self._trims = _any_trims(settings)
        return adopted

    def check_providers(self, names: Sequence[str]) -> None:
        """Raises UnknownProviderError for a name that no provider has."""
        for name in names:
            if name not in self.fleet.providers:
                known = ", ".join(self.fleet.providers) or "none"
                raise UnknownProviderError(f"there is no provider {name!r}; the providers are: {known}", name=name)

    def policy(self, decision: Decision) -> Policy:
        """Returns the policy that the decision was made under."""
        return self.settings.routing.policies[decision.policy]

    def failover(self, decision: Decision) -> FailoverSettings:
        """Returns how calls under this decision's policy are carried through failures."""
        return self.policy(decision).failover or self.settings.failover

    def trims(self, query: RouteQuery) -> bool:
        """Whether old turns may be left out for this request. Raises UnknownPolicyError."""
        return self._trims and select_policy(query, self.settings.routing).trim

    def fits_everywhere(self, query: RouteQuery) -> bool:
        """Whether no target can be too small or too dear for a request: at the most tokens that its bytes can be."""
        routing, profile = self.settings.routing, query.profile
        limits = (
            query.options.max_cost_usd,
            select_policy(query, routing).limits.max_cost_usd,
            routing.tiers.get(query.caller.tier),
        )
        most = estimate_input_tokens(profile.input_bytes or 0, RATIO_MAXIMUM) + profile.extra_input_tokens
        smallest = min(self._state.prepared.facts.windows, default=0)
        return limits == (None, None, None) and most + (profile.max_output_tokens or 1) <= smallest

    def cost_cap(self, query: RouteQuery, policy: Policy) -> CostCap | None:
        """Returns what one call may cost, by its own limit, its policy's, and the cap of its tier; None for no cap."""
        limit = cost_cap_nano_usd(query, policy, self.settings.routing)
        return None if limit is None else CostCap(limit)


def _any_trims(settings: Settings) -> bool:
    return any(policy.trim for policy in settings.routing.policies.values())
