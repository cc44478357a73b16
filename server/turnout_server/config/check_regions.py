"""Regions of policies that were hardly meant so: nobody is there, or a policy names whom its own regions rule out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from turnout_server.config.faults import Finding, Path, did_you_mean
from turnout_server.config.providers import ResolvedProvider
from turnout_server.config.schema_routing import PolicySection

SAID_MAXIMUM = 5
"""Targets outside of its regions that are told of each policy; tables may name hundreds."""


def region_findings(policy: PolicySection, path: Path) -> Iterator[Finding]:
    """Yields regions of a policy that cannot be any."""
    for place, region in enumerate(policy.regions):
        if not region.strip():
            yield (*path, "regions", place), "is empty; name a region, or leave it out"
        elif region in policy.regions[:place]:
            yield (*path, "regions", place), f'"{region}" is there twice; the first place counts'


def region_warnings(
    policies: Mapping[str, PolicySection], providers: Sequence[ResolvedProvider], named: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Yields what each policy's regions rule out that was hardly meant: everything, or targets that it names itself.

    `policies` have their inheritance resolved; `named` are the targets that each names.
    """
    known = {endpoint.region for provider in providers for endpoint in provider.endpoints if endpoint.region}
    for name, policy in policies.items():
        where = f"routing.policies.{name}"
        for region in policy.regions:
            if region not in known:
                yield f"{where}.regions: no endpoint of any provider is in region {region}{did_you_mean(region, known)}"
        if not policy.regions:
            continue
        outside = [target for target in named.get(name, ()) if is_outside(target, policy.regions, providers)]
        for target in outside[:SAID_MAXIMUM]:
            yield f"{where}: {target} is never used, since it is not in {' or '.join(policy.regions[:SAID_MAXIMUM])}"
        if len(outside) > SAID_MAXIMUM:
            yield f"{where}: {len(outside) - SAID_MAXIMUM} more targets are never used for the same reason"


def is_outside(target: str, regions: Sequence[str], providers: Sequence[ResolvedProvider]) -> bool:
    """Whether a name stands for endpoints that are known, of which none is in one of the regions."""
    provider_name, _, rest = target.partition("/")
    for provider in providers:
        if provider.name == provider_name:
            asked = rest.rpartition("@")[2] if "@" in rest else ""
            endpoints = [each for each in provider.endpoints if each.name == asked] if asked else []
            return not any(each.region in regions for each in endpoints or provider.endpoints)
    return False
