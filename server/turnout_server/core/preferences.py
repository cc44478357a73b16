"""What the operator wants for this request: which policy, which cap, which limits, which strategy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite

from turnout_server.core.asking import UNLIMITED_USD
from turnout_server.core.errors import FieldViolation, InvalidRequestError, NotYetError, UnknownPolicyError
from turnout_server.core.model import NANO_USD, Complexity, RouteQuery, Strategy, Weights
from turnout_server.core.regions import held_to
from turnout_server.core.scoring import SINGLE_FACTOR
from turnout_server.core.settings import DEFAULT_WEIGHTS, Policy, PolicySelector, RoutingSettings

SIMPLE_TILT = 3.0
"""A simple request prefers cheap and fast: cost and latency weigh three times as much against the rest."""
CAPABILITY_SHARE = 0.2
"""What part of the score the capabilities make that a request would like, where no weight is given: to have all of them
is worth a fifth. That is more than near-equals may differ by while they are new (15 %), so that no chance undoes it,
and as much as takes a conversation from its target (`affinity.advantage`)."""
QUALITY_FLOORS = {Complexity.SIMPLE: 60.0, Complexity.MEDIUM: 75.0, Complexity.COMPLEX: 85.0}
FLOORED_STRATEGIES = frozenset({Strategy.COST, Strategy.LATENCY, Strategy.HYBRID})
"""Strategies that the cheapest or fastest model would win every time; the others mind quality or mean their order."""

ASKED_FOR, THE_DEFAULT = "the request", "routing.default_policy"
"""What chose a policy, where no row of `routing.select` did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """How this decision ranks: the strategy in force, HYBRID's weights scaled to the sum 1, and why this strategy."""

    strategy: Strategy
    weights: tuple[float, float, float, float, float]
    """Cost, latency, availability, quality, priority."""
    why: str
    capability_share: float = 0.0
    """Under HYBRID, what part of the score (0 to 1) is the share of preferred capabilities; weights make the rest."""


def select_policy(query: RouteQuery, settings: RoutingSettings) -> Policy:
    """Returns the policy of a request, as `selected` does and with its error."""
    return selected(query, settings)[0]


def selected(query: RouteQuery, settings: RoutingSettings) -> tuple[Policy, str]:
    """Returns the policy of the first binding selector that fits, else the one the request names, else that of the
    first selector that fits, else the default; and what chose it.

    Raises UnknownPolicyError where no policy has that name, InvalidRequestError where a binding selector allows another
    one alone.
    """
    asked = query.options.policy
    name, rule = (asked, ASKED_FOR) if asked else (settings.default_policy, THE_DEFAULT)
    for selector in settings.select:
        if asked and not selector.binding:
            break
        if _fits(selector, query):
            if asked not in ("", selector.policy):
                raise _bound(asked, selector)
            name, rule = selector.policy, selector.rule
            break
    policy = settings.policies.get(name)
    if policy is None:
        known = ", ".join(sorted(settings.policies))
        raise UnknownPolicyError(f"policy {name!r} does not exist; the policies are {known}", name=name)
    return policy, rule


def _bound(asked: str, selector: PolicySelector) -> InvalidRequestError:
    description = (
        f"{asked!r} may not be named: {selector.rule} binds these requests to {selector.policy!r}; leave it empty"
    )
    return InvalidRequestError([FieldViolation(field="options.policy", description=description)])


def _fits(selector: PolicySelector, query: RouteQuery) -> bool:
    caller = query.caller
    return (
        selector.tenant in ("", caller.tenant)
        and selector.task in ("", query.profile.task)
        and selector.tier in ("", caller.tier)
        and (selector.label is None or caller.labels.get(selector.label[0]) == selector.label[1])
    )


def tier_cap_nano_usd(settings: RoutingSettings, tier: str) -> int | None:
    """Returns the dearest request of the tier; None without tier or cap. Raises InvalidRequestError: no such tier."""
    if not tier:
        return None
    if tier not in settings.tiers:
        known = ", ".join(settings.tiers)
        raise InvalidRequestError(
            [FieldViolation(field="caller.tier", description=f"{tier!r} is not a tier; the tiers are {known}")]
        )
    cap = settings.tiers[tier]
    return None if cap is None else round(cap * NANO_USD)


def quality_floor(policy: Policy, strategy: Strategy, complexity: Complexity) -> float | None:
    """Returns the quality below which targets rank after the others; None where the strategy or policy has no floor."""
    if strategy not in FLOORED_STRATEGIES:
        return None
    return QUALITY_FLOORS[complexity] if policy.quality_floor.auto else policy.quality_floor.value


def resolve_ranking(query: RouteQuery, policy: Policy, complexity: Complexity) -> Ranking:
    """Returns the strategy in force: the request's, else the policy's.

    Where neither strategy, weights nor task is given and the policy leaves it at HYBRID, complexity decides: SIMPLE
    tilts the weights to cost and latency, COMPLEX takes QUALITY. Raises NotYetError for ADAPTIVE, InvalidRequestError
    for weights of which none is above 0.
    """
    options = query.options
    strategy = options.strategy or policy.strategy
    weights = scaled_weights(options.weights, policy.weights)
    wanted = capability_share(options.weights, policy.weights) if query.profile.preferred_capabilities else 0.0
    why = "asked for" if options.strategy else f"policy {policy.name}"
    if strategy is Strategy.ADAPTIVE:
        raise NotYetError("strategy ADAPTIVE is not part of this version; HYBRID is the nearest that is")
    open_to_complexity = options.strategy is None and options.weights is None and not query.profile.task
    if open_to_complexity and strategy is Strategy.HYBRID:
        if complexity is Complexity.COMPLEX:
            return Ranking(strategy=Strategy.QUALITY, weights=weights, why="the request is COMPLEX")
        if complexity is Complexity.SIMPLE:
            cost, latency, *rest = weights
            weights = _to_one((cost * SIMPLE_TILT, latency * SIMPLE_TILT, *rest))
            why = "the request is SIMPLE: cheap and fast weigh more"
    counted = 0.0 if strategy in SINGLE_FACTOR else wanted
    return Ranking(strategy=strategy, weights=weights, why=why, capability_share=counted)


def capability_share(asked: Weights | None, of_policy: Weights) -> float:
    """Returns what part of the score preferred capabilities make: their weight by the sum of all weights, 0 to 1.

    Without a weight of the request's or the policy's it is `CAPABILITY_SHARE`.
    """
    weight = asked.capability if asked is not None and asked.capability is not None else of_policy.capability
    if weight is None:
        return CAPABILITY_SHARE
    if not (isfinite(weight) and weight >= 0):
        raise _wrong_weights()
    return weight / (weight + sum(_layered(asked, of_policy)))


def _layered(asked: Weights | None, of_policy: Weights) -> tuple[float, ...]:
    layers = [layer for layer in (asked, of_policy, DEFAULT_WEIGHTS) if layer is not None]
    return tuple(
        next(float(value) for layer in layers if (value := getattr(layer, name)) is not None)
        for name in ("cost", "latency", "availability", "quality", "priority")
    )


def _wrong_weights() -> InvalidRequestError:
    description = (
        "weights must be finite numbers, none below 0, with a finite sum, and one of cost, latency, availability, "
        "quality and priority above 0"
    )
    return InvalidRequestError([FieldViolation(field="options.weights", description=description)])


def scaled_weights(asked: Weights | None, of_policy: Weights) -> tuple[float, float, float, float, float]:
    """Returns the request's weights over the policy's over the defaults, scaled to the sum 1."""
    values = _layered(asked, of_policy)
    if not all(isfinite(value) and value >= 0 for value in values) or not isfinite(sum(values)) or sum(values) <= 0:
        raise _wrong_weights()
    return _to_one(values)


def cost_cap_nano_usd(query: RouteQuery, policy: Policy, settings: RoutingSettings) -> int | None:
    """Returns the most that one request may cost: by its own limit, its policy's, and its tier's cap; None for no cap.

    Raises InvalidRequestError: no such tier.
    """
    limit = _lower(query.options.max_cost_usd, policy.limits.max_cost_usd)
    cap = tier_cap_nano_usd(settings, query.caller.tier)
    if limit is None:
        return cap
    limit_nano_usd = round(min(limit, UNLIMITED_USD) * NANO_USD)
    return limit_nano_usd if cap is None else min(limit_nano_usd, cap)


def with_limits(query: RouteQuery, policy: Policy) -> RouteQuery:
    """Returns the query with the policy's hard limits laid over its own; of two, the tighter one holds.

    Raises InvalidRequestError where no region is allowed by both.
    """
    limits, options = policy.limits, query.options
    if (
        limits.max_cost_usd is None
        and limits.max_latency_seconds is None
        and limits.min_availability is None
        and limits.min_quality is None
        and not policy.regions
    ):
        return query
    options = replace(
        options,
        max_cost_usd=_lower(options.max_cost_usd, limits.max_cost_usd),
        max_latency_seconds=_lower(options.max_latency_seconds, limits.max_latency_seconds),
        min_availability=_higher(options.min_availability, limits.min_availability),
        min_quality=_higher(options.min_quality, limits.min_quality),
        regions=held_to(options.regions, policy),
    )
    return replace(query, options=options)


def _lower(asked: float | None, limit: float | None) -> float | None:
    return min(asked, limit) if asked is not None and limit is not None else (limit if asked is None else asked)


def _higher(asked: float | None, limit: float | None) -> float | None:
    return max(asked, limit) if asked is not None and limit is not None else (limit if asked is None else asked)


def _to_one(values: tuple[float, ...]) -> tuple[float, float, float, float, float]:
    whole = sum(values)
    cost, latency, availability, quality, priority = (value / whole for value in values)
    return cost, latency, availability, quality, priority
