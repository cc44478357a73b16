"""What operators change of a running sidecar, as requests: which are made of a name, and of what was read before.

A name is "provider", "provider/model" (the model at all of its endpoints) or "provider/model@endpoint". Single targets
are one list of their provider: it is read, changed and sent back with its etag, and read again where somebody else was
faster.
"""

from __future__ import annotations

from collections.abc import Iterable

import grpc

from turnout.answer import target_name
from turnout.errors import ConflictError, ErrorDetails, NotFoundError, TurnoutError
from turnout.v1 import admin_pb2 as pb
from turnout.v1 import router_pb2

STALE_ETAG = "STALE_ETAG"
CHANGE_TRIES = 10
"""How often a change is tried that others are always faster than."""


def is_stale(error: TurnoutError) -> bool:
    """Whether a change was refused because what was read has changed since."""
    return isinstance(error, ConflictError) and error.reason == STALE_ETAG


def is_whole(name: str) -> bool:
    """Whether a name is that of a provider. Raises ValueError for no name."""
    if not name.partition("/")[0]:
        msg = f'{name!r} names nothing: give "provider", "provider/model" or "provider/model@endpoint"'
        raise ValueError(msg)
    return "/" not in name


def whole_request(name: str, *, drained: bool) -> pb.UpdateProviderRequest:
    """Returns the request that drains a whole provider, or takes that back."""
    request = pb.UpdateProviderRequest(provider=pb.RegisteredProvider(provider=name, drained=drained))
    request.update_mask.paths.append("drained")
    return request


def read_request(name: str) -> pb.UpdateProviderRequest:
    """Returns the request that changes nothing of a target's provider, and so reads it."""
    return pb.UpdateProviderRequest(provider=pb.RegisteredProvider(provider=name.partition("/")[0]))


def targets_request(read: pb.RegisteredProvider, name: str, *, drained: bool) -> pb.UpdateProviderRequest | None:
    """Returns the request that drains a target or takes that back; None where it is not drained as it is."""
    listed = list(read.drained_targets)
    if drained:
        wanted = [*listed, name]
    else:
        models = {model.name for model in read.models}
        wanted = [each for each in listed if not _stands_for(name, each, models)]
        if len(wanted) == len(listed):
            return None
    request = pb.UpdateProviderRequest(
        provider=pb.RegisteredProvider(provider=read.provider, drained_targets=wanted), etag=read.etag
    )
    request.update_mask.paths.append("drained_targets")
    return request


def check_known(name: str, states: Iterable[router_pb2.ProviderState]) -> None:
    """Raises NotFoundError where a name stands for none of the targets there are."""
    targets = [state.target for provider in states for state in provider.targets]
    names = {target_name(target) for target in targets} | {f"{each.provider}/{each.model}" for each in targets}
    if name not in names:
        raise NotFoundError(
            f'there is no target "{name}"; status() lists those there are',
            ErrorDetails(code=grpc.StatusCode.NOT_FOUND, reason="UNKNOWN_TARGET"),
        )


def reset_request(name: str | None) -> pb.ResetHealthRequest:
    """Returns the request that resets what a name stands for, everything without one."""
    return pb.ResetHealthRequest(scope=_scope(name))


def check_request(name: str | None) -> pb.CheckHealthRequest:
    """Returns the request that checks what a name stands for, all endpoints without one."""
    return pb.CheckHealthRequest(scope=_scope(name))


def _scope(name: str | None) -> pb.HealthScope:
    if name is None:
        return pb.HealthScope(all=pb.AllTargets())
    if is_whole(name):
        return pb.HealthScope(provider=name)
    provider, _, model = name.partition("/")
    # Whether an "@" begins an endpoint's name is for the sidecar to know.
    return pb.HealthScope(target=router_pb2.Target(provider=provider, model=model))


def _stands_for(name: str, listed: str, models: set[str]) -> bool:
    """Whether a name means a target that is listed as drained: that one, or its model at any endpoint."""
    if name == listed:
        return True
    model = listed.partition("/")[2]
    before, found, _ = model.rpartition("@")
    # "@" may stand in a model's own name.
    return bool(found) and model not in models and name == f"{listed.partition('/')[0]}/{before}"
