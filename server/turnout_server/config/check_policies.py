"""Policies that contradict each other or themselves: who inherits from whom, who is whose shadow, who is selected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from turnout_server.config.faults import Finding, Path, did_you_mean
from turnout_server.config.policies import CONDITIONS, in_words, inheritance_circle
from turnout_server.config.providers import ResolvedProvider
from turnout_server.config.schema_routing import PolicySection, SelectSection, WhenSection

SAID_MAXIMUM = 5
"""Targets below its least quality that are told of each policy; tables may name hundreds."""
NONE_KNOWN = "the quality of none is known"


def inheritance_findings(name: str, policies: Mapping[str, PolicySection], path: Path) -> Iterator[Finding]:
    """Yields why a policy cannot inherit as it says: from nobody, or in a circle."""
    parent = policies[name].inherits
    if parent is not None and parent not in policies:
        yield (*path, "inherits"), f'no policy "{parent}"{did_you_mean(parent, policies)}'
        return
    circle = inheritance_circle(name, policies)
    if circle:
        yield (*path, "inherits"), f"inherits in a circle: {' -> '.join(circle)}"


def shadow_findings(name: str, policies: Mapping[str, PolicySection], path: Path) -> Iterator[Finding]:
    """Yields why a policy cannot have the shadow that it names: there is none, it is its own, or has one itself."""
    shadow = policies[name].shadow_policy
    if shadow is None:
        return
    where = (*path, "shadow_policy")
    if shadow not in policies:
        yield where, f'no policy "{shadow}"{did_you_mean(shadow, policies)}'
    elif shadow == name:
        yield where, "names the policy itself; name another one to compare it with, or leave it out"
    elif policies[shadow].shadow_policy is not None:
        chain = f"{name} -> {shadow} -> {policies[shadow].shadow_policy}"
        yield where, f"is a chain of shadows: {chain}; a shadow has none of its own, take one of them out"


def select_findings(rows: Sequence[SelectSection]) -> Iterator[Finding]:
    """Yields the rows of `routing.select` that no request ever reaches: another one fits all that they fit.

    That is an earlier one, or a binding one where the row is not binding itself.
    """
    for place, row in enumerate(rows):
        covering = (i for i, each in enumerate(rows) if i != place and _covers(each.when, row.when))
        before = next((i for i in covering if (rows[i].binding, place) > (row.binding, i)), None)
        if before is None:
            continue
        told = f"is never reached: row {before} ({in_words(rows[before].when)}) fits all that it fits"
        if rows[before].binding and not row.binding:
            yield (
                ("routing", "select", place),
                f"{told} and is binding; have it bind and stand before that, or take it out",
            )
        else:
            yield ("routing", "select", place), f"{told}; put it before that row, or take it out"


def binding_warnings(rows: Sequence[SelectSection]) -> Iterator[str]:
    """Yields the binding rows that a caller leaves by saying something else of itself."""
    for place, row in enumerate(rows):
        said = [name for name in ("task", "tier", "label") if getattr(row.when, name)]
        if row.binding and said:
            yield (
                f"routing.select[{place}]: binds by {' and '.join(said)}, which callers say as they like; "
                f"bind by nothing, or by the tenant of a token, what must hold"
            )


def quality_warnings(
    policies: Mapping[str, PolicySection], providers: Sequence[ResolvedProvider], named: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Yields what a policy's least quality rules out that was hardly meant: everything, or targets it names itself.

    `policies` have their inheritance resolved; `named` are the targets that each names.
    """
    models = {f"{provider.name}/{model.name}": model.quality for provider in providers for model in provider.models}
    unknown = {name for name, quality in models.items() if quality is None}
    # As at run time: who is not known to be good enough is not used.
    qualities = {name: quality or 0.0 for name, quality in models.items()}
    finds_models = any(provider.finds_models for provider in providers)
    for name, policy in policies.items():
        least = policy.limits.min_quality
        if least is None:
            continue
        where = f"routing.policies.{name}"
        if qualities and not finds_models and max(qualities.values()) < least:
            best = max(qualities, key=qualities.__getitem__)
            found = f"the best is {best} with {qualities[best]:g}" if best not in unknown else NONE_KNOWN
            yield f"{where}.limits.min_quality: nobody has {least:g}; {found}"
            continue
        low = [target for target in dict.fromkeys(named.get(name, ())) if _quality(target, qualities, least) < least]
        for target in low[:SAID_MAXIMUM]:
            has = "unknown" if _named(target, qualities) in unknown else f"{_quality(target, qualities, least):g}"
            yield f"{where}: {target} is never used, since its quality is {has} and limits.min_quality is {least:g}"
        if len(low) > SAID_MAXIMUM:
            yield f"{where}: {len(low) - SAID_MAXIMUM} more targets are never used for the same reason"


def _covers(earlier: WhenSection, later: WhenSection) -> bool:
    """Whether every request that fits the later row fits the earlier one."""
    return all(getattr(earlier, name) in ("", getattr(later, name)) for name in CONDITIONS)


def _quality(target: str, qualities: Mapping[str, float], unknown: float) -> float:
    """Returns a target's quality, whatever its endpoint; `unknown` where it is not one of those known."""
    return qualities.get(_named(target, qualities), unknown)


def _named(target: str, qualities: Mapping[str, float]) -> str:
    """Returns a target's name without that of an endpoint."""
    return target if target in qualities else target.rpartition("@")[0]
