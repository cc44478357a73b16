"""Which state belongs to which target: made new at the start, and carried over where another fleet is adopted.

A target stays itself as long as its name, wire and address stay: only then does what was learned of it still hold.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from turnout_server.core.endpoint import EndpointBreaker
from turnout_server.core.faults import EndpointGroup
from turnout_server.core.fleet import Fleet, TargetSpec
from turnout_server.core.model import Target
from turnout_server.core.settings import FailoverSettings
from turnout_server.core.target_state import TargetState


class Places(NamedTuple):
    """The state of each target in the order of the fleet, and what the targets of one endpoint share."""

    targets: list[TargetState]
    groups: tuple[EndpointGroup, ...]
    group_of: Mapping[int, EndpointGroup]
    added: tuple[Target, ...]
    """Targets that start with nothing known of them."""


NOBODY: Sequence[TargetState] = ()


def place(
    fleet: Fleet, settings: FailoverSettings, rng: random.Random, *, before: Sequence[TargetState] = NOBODY
) -> Places:
    """Returns a state for each target: that of `before` where it is the same target still, else a new one.

    The states of `before` that stay are changed: they take their new place, facts and settings.
    """
    breakers = _endpoint_breakers(before, settings)
    groups = _groups(fleet, settings, rng, breakers)
    group_of = {index: group for group in groups for index in group.indexes}
    known = {_identity(state.spec): state for state in before}
    targets: list[TargetState] = []
    added: list[Target] = []
    for index, spec in enumerate(fleet.specs):
        endpoint = group_of[index].breaker
        state = known.get(_identity(spec))
        if state is None:
            state = TargetState(spec, index, settings, endpoint, rng)
            added.append(spec.target)
        else:
            state.carry_over(spec, index, settings, endpoint)
        targets.append(state)
    return Places(targets, groups, group_of, tuple(added))


def _identity(spec: TargetSpec) -> tuple[Target, str, str]:
    return spec.target, spec.wire, spec.base_url


def _endpoint_breakers(
    states: Sequence[TargetState], settings: FailoverSettings
) -> dict[tuple[str, str, str], EndpointBreaker]:
    """Returns the breakers there are by provider, endpoint and address, following the settings."""
    breakers: dict[tuple[str, str, str], EndpointBreaker] = {}
    for state in states:
        target = state.spec.target
        state.endpoint.follow(settings.breaker, settings.health)
        breakers[target.provider, target.endpoint, state.spec.base_url] = state.endpoint
    return breakers


def _groups(
    fleet: Fleet,
    settings: FailoverSettings,
    rng: random.Random,
    breakers: Mapping[tuple[str, str, str], EndpointBreaker],
) -> tuple[EndpointGroup, ...]:
    members: dict[tuple[str, str], list[int]] = {}
    for index, spec in enumerate(fleet.specs):
        members.setdefault((spec.target.provider, spec.target.endpoint), []).append(index)
    return tuple(
        EndpointGroup(
            provider=provider,
            endpoint=endpoint,
            breaker=breakers.get((provider, endpoint, fleet.specs[indexes[0]].base_url))
            or EndpointBreaker(settings.breaker, settings.health, rng),
            indexes=tuple(indexes),
        )
        for (provider, endpoint), indexes in members.items()
    )
