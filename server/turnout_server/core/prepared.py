"""What decisions need again and again and nobody has to work out again: made once for a fleet, and kept in bounds."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from turnout_server.core.asking import NONE_ASKED, resolve_needs
from turnout_server.core.columns import Facts
from turnout_server.core.outputs import Outputs
from turnout_server.core.preferences import resolve_ranking
from turnout_server.core.shapes import Shape, Shapes, lacking
from turnout_server.core.tables import in_force, is_ranking_chosen, preferred, preferred_by, preferred_order

if TYPE_CHECKING:
    from collections.abc import Hashable

    from turnout_server.core.asking import Hop
    from turnout_server.core.fleet import Fleet
    from turnout_server.core.model import Complexity, RouteQuery
    from turnout_server.core.preferences import Ranking
    from turnout_server.core.readings import CredentialsReading
    from turnout_server.core.settings import Policy, RoutingSettings
    from turnout_server.core.tables import Preferred
    from turnout_server.core.tokens import OutputLengths
    from turnout_server.core.vitals import Vitals

TASKS_MAXIMUM = 64
"""Tasks whose expected outputs are kept as columns; tasks are callers' words. The one longest unused goes first."""


class Prepared:
    """The columns, shapes and expected outputs of one fleet."""

    __slots__ = ("_firsts", "_fleet", "_outputs", "_rankings", "_settings", "_shapes", "facts")

    def __init__(self, fleet: Fleet, facts: Facts | None = None) -> None:
        """`facts` are the fleet's columns where somebody has them already."""
        self._fleet = fleet
        self.facts = facts or Facts(fleet)
        self._shapes = Shapes()
        self._settings: RoutingSettings | None = None
        self._rankings: dict[Hashable, Ranking] = {}
        self._firsts: dict[Hashable, Preferred] = {}
        self._outputs: OrderedDict[str, Outputs] = OrderedDict()

    def hold(self, settings: RoutingSettings) -> None:
        """Forgets what was worked out for other settings; to be called before anything that takes a policy."""
        if settings is not self._settings:
            self._shapes.clear()
            self._rankings.clear()
            self._firsts.clear()
            self._settings = settings

    def ranking(self, query: RouteQuery, policy: Policy, complexity: Complexity) -> Ranking:
        """Returns the strategy in force, as `resolve_ranking` does and with its errors."""
        options = query.options
        if options.weights is not None:
            return resolve_ranking(query, policy, complexity)
        # As few as there are policies, strategies and complexities.
        profile = query.profile
        key = (policy.name, options.strategy, complexity, not profile.task, not profile.preferred_capabilities)
        ranking = self._rankings.get(key)
        if ranking is None:
            ranking = self._rankings[key] = resolve_ranking(query, policy, complexity)
        return ranking

    def outputs(self, task: str, vitals: Vitals, lengths: OutputLengths) -> Outputs:
        """Returns how long answers to a task should be, by what is known now."""
        known = self._outputs.get(task)
        if known is None:
            known = self._outputs[task] = Outputs(task, self.facts, vitals, lengths)
            if len(self._outputs) > TASKS_MAXIMUM:
                self._outputs.popitem(last=False)
        elif known.vitals is not vitals:
            known = self._outputs[task] = known.brought_up(task, self.facts, vitals, lengths)
        self._outputs.move_to_end(task)
        return known

    def shape(
        self,
        query: RouteQuery,
        policy: Policy,
        *,
        floor: float | None,
        credentials: CredentialsReading,
        hop: Hop,
    ) -> Shape:
        """Returns the shape of a query with its policy's limits laid over it.

        Raises UnknownTargetError for a name that stands for nothing, InvalidRequestError for names that contradict.
        """
        options, profile, caller = query.options, query.profile, query.caller
        first = self._first(query, policy)
        # Who asks matters only where keys are bound to tenants.
        tenant = caller.tenant if caller.tenant in self.facts.tenants else ""
        asked = hop.asked if profile.prefilled else NONE_ASKED
        key = (
            policy.name,
            first,
            floor,
            query.executing,
            tenant,
            profile.capabilities,
            profile.custom_capabilities,
            profile.preferred_capabilities,
            profile.url_capabilities,
            profile.forms,
            profile.prefilled,
            options.include,
            options.exclude,
            options.force_target,
            options.regions,
            options.min_quality,
            hop.tried,
            asked,
        )
        shape = self._shapes.get(key)
        if shape is not None:
            return shape
        order = preferred_order(self._fleet, first.names, first.row)
        shares = _shares(policy, self._fleet)
        needs = resolve_needs(query, self._fleet, named=(*order, *shares), hop=hop)
        shape = Shape(
            self.facts,
            needs,
            preferred=order,
            preferred_by=preferred_by(self._fleet, policy, first),
            shares=shares,
            floor=floor,
            lacking=lacking(self.facts, credentials, tenant=caller.tenant, executing=query.executing),
        )
        if not (hop.tried or asked):
            # What one call has tried is of no use to another.
            self._shapes.keep(key, shape)
        return shape

    def _first(self, query: RouteQuery, policy: Policy) -> Preferred:
        """Returns what comes first for a request; a built-in row that stands for nothing in this fleet is left out."""
        task, tier = query.profile.task, query.caller.tier
        chosen = False
        # As many keys as there are policies, tasks of their tables, and tiers: others were refused.
        key: Hashable = policy.name
        if task in policy.built_in_tables or task in policy.tasks:
            chosen = is_ranking_chosen(policy, query.options)
            key = (policy.name, task, tier, chosen)
        first = self._firsts.get(key)
        if first is None:
            first = preferred(policy, task, tier, chosen=chosen)
            if first.row is not None and not in_force(self._fleet, first.row):
                # Tasks whose rows stand for nothing here share their shapes.
                first = first._replace(row=None)
            self._firsts[key] = first
        return first


def _shares(policy: Policy, fleet: Fleet) -> dict[int, float]:
    """A name that stands for several targets gives each an equal part of its share."""
    shares: dict[int, float] = {}
    for name, weight in policy.shares.items():
        places = fleet.resolve(name)
        for place in places:
            shares[place] = shares.get(place, 0.0) + weight / len(places)
    return shares
