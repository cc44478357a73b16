"""Rules of one policy that work against each other, its own or inherited: none is wrong alone, together hardly meant.

Told as warnings, with the policy that each side comes from: much of it hangs on which vendors are set up, and a sidecar
must not stay down because a key is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from turnout_server.config.catalog import ModelRow
from turnout_server.config.check_regions import is_outside
from turnout_server.config.owners import is_said, owner_of
from turnout_server.config.policies import laid_over
from turnout_server.config.providers import ResolvedProvider
from turnout_server.config.schema_routing import FailoverSection, PolicySection, QualityFloorWord
from turnout_server.core.health import UNKNOWN_AVAILABILITY
from turnout_server.core.model import MidStreamPolicy, Strategy
from turnout_server.core.preferences import FLOORED_STRATEGIES

Keys = tuple[str, ...]
Models = Mapping[str, Sequence[ModelRow]]
"""By provider; without those whose models are found only when they run."""

REJECTING = {
    "min_quality": "can never be used",
    "max_cost_usd": "can never be used",
    "max_latency_seconds": "begin as too slow, and are never called to show otherwise",
}
"""Limits that may reject a model whatever the request, and what becomes of those models."""
DEALT = (Strategy.WEIGHTED, Strategy.ROUND_ROBIN)
"""Strategies that deal calls out, so that the next one goes to somebody else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Policy:
    """One policy with its inheritance resolved (`whole`), and all of them as they are given."""

    name: str
    whole: PolicySection
    given: Mapping[str, PolicySection]

    def said(self, *keys: str, by: int | None = None) -> str:
        """Names a key, and the policy that it is inherited from; its first `by` keys are inherited as one."""
        owner = owner_of(self.name, keys[:by], self.given)
        return ".".join(keys) if owner == self.name else f"{'.'.join(keys)} (of policy {owner})"

    def has_said(self, *sides: Keys) -> bool:
        """Returns whether it says one of the sides itself; else the policy that it has both from is told of them."""
        return any(is_said(self.given[self.name], keys) for keys in sides)


def contradictions(
    given: Mapping[str, PolicySection],
    resolved: Mapping[str, PolicySection],
    failover: FailoverSection,
    providers: Sequence[ResolvedProvider],
) -> Iterator[str]:
    """Yields what works against each other in each policy. `failover` is the global block."""
    models = {provider.name: provider.models for provider in providers if not provider.finds_models}
    whole_fleet = len(models) == len(providers)
    for name, whole in resolved.items():
        policy = _Policy(name=name, whole=whole, given=given)
        for told in (
            *_limits(policy, models, whole_fleet=whole_fleet),
            *_regions(policy, providers),
            *_dealt(policy),
            *_lost_shares(policy, {provider.name for provider in providers}),
            *_attempts(policy, failover),
            *_ranking(policy),
        ):
            yield f"routing.policies.{name}: {told}"


def _limits(policy: _Policy, models: Models, *, whole_fleet: bool) -> Iterator[str]:
    """Yields limits that leave nobody, rows of which they leave nothing, and shares for what they reject."""
    yield from _availability(policy)
    for limit, fate in REJECTING.items():
        bound = getattr(policy.whole.limits, limit)
        if bound is None:
            continue
        side = f"{policy.said('limits', limit)} {bound:g}"
        nobody = _nobody(limit, bound, models) if whole_fleet else ""
        if nobody:
            if policy.has_said(("limits", limit)):
                yield f"{side} leaves nobody: {nobody}"
            continue
        for keys, names in _rows(policy.whole):
            known = [name for name in names if _models(name, models)]
            rejected = [name for name in known if all(_rejects(limit, bound, row) for row in _models(name, models))]
            if rejected == known and known and policy.has_said(("limits", limit), keys[:1]):
                yield f"{policy.said(*keys, by=1)} has nobody that {side} leaves: {', '.join(known)} {fate}"
        if limit == "min_quality" and policy.has_said(("shares",)):
            # Each target that a policy names itself is told of elsewhere.
            continue
        for name in policy.whole.shares if policy.has_said(("limits", limit), ("shares",)) else ():
            rows = _models(name, models)
            if policy.whole.shares[name] and rows and all(_rejects(limit, bound, row) for row in rows):
                yield f"{policy.said('shares', name, by=1)} is never drawn, since {side} rejects it"


def _availability(policy: _Policy) -> Iterator[str]:
    """Yields a least availability that nobody has to begin with: who is rejected gets no calls, and so no better."""
    least, keys = policy.whole.limits.min_availability, ("limits", "min_availability")
    if least is not None and least > UNKNOWN_AVAILABILITY and policy.has_said(keys):
        yield (
            f"{policy.said(*keys)} {least:g} leaves nobody: a target that no call of late is known of counts as "
            f"{UNKNOWN_AVAILABILITY:g}, and gets none to show more"
        )


def _nobody(limit: str, bound: float, models: Models) -> str:
    """Returns why a limit leaves nobody at all, "" where it leaves somebody."""
    rows = [(f"{provider}/{row.name}", row) for provider, found in models.items() for row in found]
    if not rows or not all(_rejects(limit, bound, row) for _, row in rows):
        return ""
    if limit == "max_latency_seconds":
        name, quickest = min(rows, key=lambda each: each[1].latency_prior_seconds)
        after = f"{name}, is expected after {quickest.latency_prior_seconds:g} s"
        return f"the first token of the quickest, {after}, and who is never called never shows otherwise"
    # Nobody's quality is told elsewhere.
    return "of no target it is known that it costs nothing" if limit == "max_cost_usd" else ""


def _regions(policy: _Policy, providers: Sequence[ResolvedProvider]) -> Iterator[str]:
    """Yields inherited rows of which the policy's own regions leave nothing; its own rows are told of elsewhere."""
    regions, own = policy.whole.regions, policy.given[policy.name]
    if not is_said(own, ("regions",)) or not regions:
        return
    for keys, names in _rows(policy.whole):
        if not is_said(own, keys[:1]) and all(is_outside(name, regions, providers) for name in names):
            row = policy.said(*keys, by=1)
            yield f"{row} has nobody that regions {', '.join(regions)} leave: {', '.join(names)} can never be used"


def _dealt(policy: _Policy) -> Iterator[str]:
    """Yields tables that take the calls which are to be dealt out, by shares or in turns."""
    strategy = policy.whole.strategy
    if strategy not in DEALT:
        return
    weighted = strategy is Strategy.WEIGHTED
    what = "the shares: they are drawn for" if weighted else "the turns: they are taken"
    for keys, _ in _rows(policy.whole):
        if policy.has_said(keys[:1], ("strategy",), *((("shares",),) if weighted else ())):
            yield f"{policy.said(*keys, by=1)} comes before {what} only where none of it can be used"


def _lost_shares(policy: _Policy, providers: AbstractSet[str]) -> Iterator[str]:
    """Yields shares of which none is for anybody here."""
    shares = [name for name, share in policy.whole.shares.items() if share]
    if policy.whole.strategy is not Strategy.WEIGHTED or not policy.has_said(("strategy",), ("shares",)):
        return
    if shares and not any(name.partition("/")[0] in providers for name in shares):
        yield f"{policy.said('shares')} name nobody that is configured: no call is dealt by them"


def _attempts(policy: _Policy, failover: FailoverSection) -> Iterator[str]:
    whole = policy.whole
    attempts = laid_over(failover, whole.failover).max_attempts
    restarts = whole.mid_stream is MidStreamPolicy.RESTART
    if attempts == 1 and restarts and policy.has_said(("mid_stream",), ("failover", "max_attempts")):
        yield f"{policy.said('mid_stream')} RESTART has no effect: it takes a second attempt, and max_attempts is 1"
    if not whole.hedge.enabled:
        return
    hedged = policy.said("hedge", "enabled")
    if whole.strategy in DEALT and policy.has_said(("hedge", "enabled"), ("strategy",)):
        dealt = f"{policy.said('strategy')} {whole.strategy.value}"
        yield f"{hedged} asks a second target, beside the one that {dealt} has dealt the call to: sides get mixed"
    if attempts == 1 and policy.has_said(("hedge", "enabled"), ("failover", "max_attempts")):
        yield f"{hedged} has no effect: a hedge is a second attempt, and max_attempts is 1"


def _ranking(policy: _Policy) -> Iterator[str]:
    """Yields what ranks by something that the strategy or a limit leaves no room for."""
    whole, own = policy.whole, policy.given[policy.name]
    strategy = f"{policy.said('strategy')} {whole.strategy.value}"
    if whole.strategy is not Strategy.HYBRID and "weights" in own.model_fields_set:
        yield f"weights are for HYBRID, and count under {strategy} only where a request asks for HYBRID"
    floor, least = whole.quality_floor, whole.limits.min_quality
    if "quality_floor" in own.model_fields_set and whole.strategy not in FLOORED_STRATEGIES:
        yield f"quality_floor has no effect under {strategy}, which minds quality or means its order"
    elif not isinstance(floor, QualityFloorWord) and least is not None:
        sides = ("quality_floor",), ("limits", "min_quality")
        if floor <= least and policy.has_said(*sides):
            hard = f"{policy.said(*sides[1])} {least:g}"
            yield f"{policy.said(*sides[0])} {floor:g} has no effect: {hard} rejects all that it would rank last"


def _rows(policy: PolicySection) -> Iterator[tuple[Keys, Sequence[str]]]:
    """Yields the lists of targets that come first, each with its key."""
    if policy.preferences:
        yield ("preferences",), policy.preferences
    for task, tiers in policy.tasks.items():
        for tier, names in tiers.items():
            if names:
                yield ("tasks", task, tier), names


def _models(name: str, models: Models) -> Sequence[ModelRow]:
    """Returns the models that a name stands for; none where the provider or its models are not known."""
    provider, _, model = name.partition("/")
    rows = models.get(provider, ())
    if not model:
        return rows
    return [row for row in rows if row.name in (model, model.rpartition("@")[0])]


def _rejects(limit: str, bound: float, model: ModelRow) -> bool:
    """Returns whether a limit rejects a model whatever the request: what is not known is rejected, as in decisions.

    For a latency it is what is expected before the first call.
    """
    if limit == "max_latency_seconds":
        return model.latency_prior_seconds > bound
    if limit == "min_quality":
        return model.quality is None or model.quality < bound
    price = model.price
    return price is None or (bound == 0 and bool(price.input_per_million or price.output_per_million))
