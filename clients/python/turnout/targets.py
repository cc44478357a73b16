"""Targets by name: "provider/model" or "provider/model@endpoint", and what of a request's own limits a name can break.

The sidecar holds requests to their limits. Here is only what a client can hold them to by itself, in the plans that it
goes by while the sidecar is away.
"""

from __future__ import annotations

from collections.abc import Iterable

from turnout.answer import target_name
from turnout.v1 import router_pb2 as pb


def parse_target(name: str) -> pb.Target:
    """Returns the target that a name means, split at the first "/" and at the last "@".

    A model with "@" in its own name is given as a `Target` instead. Raises ValueError for a name that is none.
    """
    provider, _, rest = name.partition("/")
    model, found, endpoint = rest.rpartition("@")
    if not found:
        model, endpoint = rest, ""
    if not provider or not model or (found and not endpoint):
        msg = f'{name!r} names no target: give "provider/model" or "provider/model@endpoint"'
        raise ValueError(msg)
    return pb.Target(provider=provider, model=model, endpoint=endpoint)


def is_allowed(candidate: pb.Candidate, options: pb.RoutingOptions) -> bool:
    """Tells whether a candidate keeps to force_target, include, exclude and regions of a request.

    A candidate of unknown region is in none, as the sidecar has it.
    """
    names = _names(candidate.target)
    if options.force_target and options.force_target not in names:
        return False
    if options.include and names.isdisjoint(options.include):
        return False
    if not names.isdisjoint(options.exclude):
        return False
    return not options.regions or candidate.region in options.regions


def allowed(candidates: Iterable[pb.Candidate], options: pb.RoutingOptions) -> tuple[pb.Candidate, ...]:
    """Returns the candidates that keep to the limits, in their order."""
    return tuple(candidate for candidate in candidates if is_allowed(candidate, options))


def _names(target: pb.Target) -> set[str]:
    """Every name that means the target: its provider's, its model's at any endpoint, its own."""
    return {target.provider, f"{target.provider}/{target.model}", target_name(target)}
