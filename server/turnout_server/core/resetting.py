"""Forgetting health because somebody said so: after it a target is as if it had never failed.

What would keep it from being called ends, also where others share it: its breaker and that of its endpoint, pauses and
outages of the keys that it is called with. What is learned of it (latency, lengths, statistics, budgets) stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout_server.core.events import Event, EventName
from turnout_server.core.gate import Change

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from turnout_server.core.credentials import Credentials
    from turnout_server.core.faults import Effects, EndpointGroup
    from turnout_server.core.target_state import TargetState

WHY = {"reason": EventName.HEALTH_RESET.value}


def reset_targets(
    reset: Sequence[TargetState],
    groups: Iterable[EndpointGroup],
    credentials: Credentials,
    effects: Effects,
    now: float,
) -> None:
    """Resets some targets, what they share included; `effects` takes what changed. `groups` are those of all targets.

    Calls that run go on. What becomes of them counts: a failure that ends after this is one of now.
    """
    indexes = {target.index for target in reset}
    providers = {target.spec.target.provider for target in reset}
    for target in reset:
        where = target.spec.target
        if target.breaker.reset() is Change.CLOSED:
            effects.events.append(
                Event(
                    name=EventName.BREAKER_CLOSED,
                    at=now,
                    target=where,
                    provider=where.provider,
                    endpoint=where.endpoint,
                    fields=WHY,
                )
            )
        target.begin_anew()
        target.suspects.reset()
    for group in groups:
        if group.provider in providers:
            # Keys are shared by all of a provider's targets.
            effects.touched.update(group.indexes)
        if indexes.isdisjoint(group.indexes) or group.breaker.reset() is not Change.CLOSED:
            continue
        effects.events.append(
            Event(name=EventName.ENDPOINT_CLOSED, at=now, provider=group.provider, endpoint=group.endpoint, fields=WHY)
        )
    for key in credentials.forget((target.spec for target in reset), now):
        fields = {"credential": key.label, **WHY}
        effects.events.append(Event(name=EventName.CREDENTIAL_BACK, at=now, provider=key.provider, fields=fields))
