"""The routing rules in force to protobuf."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from turnout.v1 import admin_pb2 as pb
from turnout.v1 import router_pb2
from turnout_server.api import enums
from turnout_server.api.faults import MAX_NAME_LENGTH, Faults
from turnout_server.core.errors import UnknownPolicyError
from turnout_server.core.settings import PRESETS, Preset

if TYPE_CHECKING:
    from turnout_server.core.settings import BreakerSettings, Policy, Settings

ETAG_LENGTH = 16
PRESET = enums.EnumMap(pb.FailoverPreset.DESCRIPTOR, Preset, "FAILOVER_PRESET_")


def get_routing(request: pb.GetRoutingRequest, settings: Settings) -> pb.GetRoutingResponse:
    """Returns one policy's rules and the names of all. Raises InvalidRequestError or UnknownPolicyError."""
    faults = Faults()
    faults.text(request.policy, "policy", MAX_NAME_LENGTH)
    faults.raise_any()
    policies = settings.routing.policies
    name = request.policy or settings.routing.default_policy
    policy = policies.get(name)
    if policy is None:
        known = ", ".join(sorted(policies))
        raise UnknownPolicyError(f'policy "{name}" does not exist; the policies are {known}', name=name)
    return pb.GetRoutingResponse(routing=_routing(name, policy, settings), policies=sorted(policies))


def _routing(name: str, policy: Policy, settings: Settings) -> pb.Routing:
    weights = policy.weights
    message = pb.Routing(
        policy=name,
        strategy=enums.STRATEGY.to_wire[policy.strategy],
        weights=router_pb2.Weights(
            cost=weights.cost or 0.0,
            latency=weights.latency or 0.0,
            availability=weights.availability or 0.0,
            quality=weights.quality or 0.0,
            priority=weights.priority or 0.0,
        ),
        failover_preset=_preset(settings.failover.breaker),
        policy_version=settings.routing.policy_version,
    )
    # Of what there is and not a count: good for as long as the same rules hold.
    message.etag = sha256(message.SerializeToString(deterministic=True)).hexdigest()[:ETAG_LENGTH]
    return message


def _preset(breaker: BreakerSettings) -> pb.FailoverPreset.ValueType:
    """Returns the preset whose values these are, UNSPECIFIED where they are none's."""
    values = (
        breaker.consecutive_failures,
        breaker.open_seconds,
        breaker.open_max_seconds,
        breaker.recovery_successes,
    )
    for preset, known in PRESETS.items():
        if values == (
            known.consecutive_failures,
            known.open_seconds,
            known.open_max_seconds,
            known.recovery_successes,
        ):
            found: pb.FailoverPreset.ValueType = PRESET.to_wire[preset]
            return found
    return pb.FAILOVER_PRESET_UNSPECIFIED
