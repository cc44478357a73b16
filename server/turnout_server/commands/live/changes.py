"""What can be changed from the live view: draining a target, taking that back, forgetting its health.

Each change is read, asked about, and made: whoever may not make it is told before the question, and a drain that
somebody else has changed meanwhile is not overwritten.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from turnout.answer import target_name
from turnout.v1 import admin_pb2, router_pb2
from turnout_server.commands.live.figures import one_line
from turnout_server.commands.live.link import Link


class Act(StrEnum):
    """What is asked for."""

    DRAIN = "drain"
    UNDRAIN = "undrain"
    RESET = "reset"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change that can be made: what to ask before it, what to say after it. None is nothing to be done.

    `provider` has the new values and the etag of those that were read; it is None for a reset.
    """

    target: router_pb2.Target
    question: str
    done: str
    provider: admin_pb2.RegisteredProvider | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Needless:
    """There is nothing to be changed; `why` says so."""

    why: str


async def prepare(link: Link, act: Act, target: router_pb2.Target) -> Change | Needless:
    """Returns the change to ask about. Raises TurnoutError where it is not allowed, or not possible."""
    name = one_line(target_name(target))
    # An update of no field changes nothing, needs the same role as all changes, and answers how the provider is.
    request = admin_pb2.UpdateProviderRequest(provider=admin_pb2.RegisteredProvider(provider=target.provider))
    present = (await link.call(link.admin.UpdateProvider, request)).provider
    if act is Act.RESET:
        return Change(
            target=target,
            question=f"Forget the health of {name}? Its breaker closes, cool-downs end, its windows are emptied.",
            done=f"the health of {name} is forgotten",
        )
    wanted = admin_pb2.RegisteredProvider(provider=target.provider, etag=present.etag, drained=present.drained)
    drained = set(present.drained_targets)
    if act is Act.DRAIN:
        if present.drained or target_name(target) in drained:
            return Needless(why=f"{name} is drained already")
        wanted.drained_targets.extend(sorted(drained | {target_name(target)}))
        question = f"Drain {name}? Calls under way go on to their end, no new ones begin."
        return Change(target=target, question=question, done=f"{name} is drained", provider=wanted)
    if not present.drained and target_name(target) not in drained:
        return Needless(why=f"{name} is not drained")
    wanted.drained = False
    wanted.drained_targets.extend(sorted(drained - {target_name(target)}))
    if present.drained:
        whole = one_line(target.provider)
        question = f"{whole} is drained as a whole. Undrain all of it? It takes calls again."
        return Change(target=target, question=question, done=f"{whole} takes calls again", provider=wanted)
    question = f"Undrain {name}? It takes calls again."
    return Change(target=target, question=question, done=f"{name} takes calls again", provider=wanted)


async def make(link: Link, change: Change) -> None:
    """Makes a change. Raises TurnoutError."""
    if change.provider is None:
        scope = admin_pb2.HealthScope(target=change.target)
        await link.call(link.admin.ResetHealth, admin_pb2.ResetHealthRequest(scope=scope))
        return
    request = admin_pb2.UpdateProviderRequest(provider=change.provider, etag=change.provider.etag)
    request.update_mask.paths.extend(("drained", "drained_targets"))
    await link.call(link.admin.UpdateProvider, request)
