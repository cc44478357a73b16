"""The routing rules in force to protobuf, and what is asked of them to the core's words."""

from __future__ import annotations

import dataclasses
from hashlib import sha256
from typing import TYPE_CHECKING

from turnout.v1 import admin_pb2 as pb
from turnout.v1 import router_pb2
from turnout_server.api import enums
from turnout_server.api.faults import MAX_LIST_LENGTH, MAX_NAME_LENGTH, Faults
from turnout_server.core.changing import RoutingChange
from turnout_server.core.errors import StaleEtagError, UnknownPolicyError
from turnout_server.core.model import Weights
from turnout_server.core.near_names import near_target
from turnout_server.core.settings import PRESETS, Preset

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from turnout_server.core.fleet import Fleet
    from turnout_server.core.settings import BreakerSettings, Policy, Settings
    from turnout_server.ports import Changing
    from turnout_server.router import Router

ETAG_LENGTH = 16
HINTS_MAXIMUM = 5
"""Of wrong names in one request that are compared with all others; it holds up every call meanwhile."""
WEIGHT_MAXIMUM = 1e6
"""As in the configuration."""
PRESET = enums.EnumMap(pb.FailoverPreset.DESCRIPTOR, Preset, "FAILOVER_PRESET_")
WEIGHTS = tuple(field.name for field in dataclasses.fields(Weights))
CHANGEABLE = ("strategy", "weights", "failover_preset", "default_policy", "provider_order", "preferences")
PATHS = frozenset((*CHANGEABLE, *(f"weights.{name}" for name in WEIGHTS)))


def get_routing(request: pb.GetRoutingRequest, settings: Settings, fleet: Fleet) -> pb.GetRoutingResponse:
    """Returns one policy's rules and the names of all. Raises InvalidRequestError or UnknownPolicyError."""
    faults = Faults()
    faults.text(request.policy, "policy", MAX_NAME_LENGTH)
    faults.raise_any()
    return pb.GetRoutingResponse(
        routing=_routing(request.policy, settings, fleet), policies=sorted(settings.routing.policies)
    )


async def update_routing(
    request: pb.UpdateRoutingRequest, router: Router, changing: Changing, *, by: str
) -> pb.UpdateRoutingResponse:
    """Puts other rules in force. Raises InvalidRequestError, UnknownPolicyError or StaleEtagError."""
    name = wanted_policy(request) or router.configured.settings.routing.default_policy
    present = _routing(name, router.configured.settings, router.configured.fleet)
    change = routing_change(request, present, router.configured.fleet)

    def still() -> None:
        now = _routing(name, router.configured.settings, router.configured.fleet)
        if request.etag and request.etag != now.etag:
            raise StaleEtagError(
                "the routing rules were changed since they were read; read them again, then change them"
            )

    still()
    if not change.is_empty:
        await changing.change_routing(change, still=still, by=by)
    return pb.UpdateRoutingResponse(routing=_routing(name, router.configured.settings, router.configured.fleet))


def wanted_policy(request: pb.UpdateRoutingRequest) -> str:
    """Reads whose rules are to be changed, "" for the default policy's. Raises InvalidRequestError."""
    faults = Faults()
    faults.text(request.etag, "etag", MAX_NAME_LENGTH)
    faults.text(request.routing.policy, "routing.policy", MAX_NAME_LENGTH)
    if not request.HasField("routing"):
        faults.add("routing", "is missing; give the new values")
    faults.raise_any()
    return request.routing.policy


def routing_change(request: pb.UpdateRoutingRequest, present: pb.Routing, fleet: Fleet) -> RoutingChange:
    """Reads what is to be changed of the rules that are `present`. Raises InvalidRequestError."""
    faults = Faults()
    given = request.routing
    fields = _masked(request, present, faults)
    strategy = faults.choice(enums.STRATEGY.to_core, given.strategy, "routing.strategy")
    preset = faults.choice(PRESET.to_core, given.failover_preset, "routing.failover_preset")
    single = {field.partition(".")[2] for field in fields if field.startswith("weights.")}
    weights: dict[str, float] = {}
    of_them = {field.name: value for field, value in given.weights.ListFields()}
    for name in WEIGHTS:
        if name in of_them and ("weights" in fields or name in single):
            weights[name] = faults.number(of_them[name], f"routing.weights.{name}", 0, WEIGHT_MAXIMUM)
        elif name in single:
            faults.add(
                f"routing.weights.{name}", 'is named in update_mask and not set; name "weights" to undo them all'
            )
    default_policy = faults.text(given.default_policy, "routing.default_policy", MAX_NAME_LENGTH)
    order = _provider_order(given, fleet, faults) if "provider_order" in fields else ()
    preferences = _preferences(given, fleet, faults) if "preferences" in fields else ()
    faults.raise_any()
    values = {
        "strategy": strategy,
        "weights": weights,
        "failover_preset": preset,
        "default_policy": default_policy,
        "provider_order": order,
        "preferences": preferences,
    }
    return RoutingChange(
        policy=present.policy,
        strategy=strategy if "strategy" in fields else None,
        weights=weights,
        failover_preset=preset if "failover_preset" in fields else None,
        default_policy=default_policy if "default_policy" in fields else "",
        provider_order=order,
        preferences=preferences,
        given_back=frozenset(name for name, value in values.items() if name in fields and not value),
    )


def _masked(request: pb.UpdateRoutingRequest, present: pb.Routing, faults: Faults) -> AbstractSet[str]:
    """Returns the fields to change: those of the mask, without one those that are set to something else than now."""
    given = request.routing
    if not request.HasField("update_mask"):
        # What was read and is sent back as it was changes nothing.
        return {
            field.name
            for field, value in given.ListFields()
            if field.name in CHANGEABLE and value != getattr(present, field.name)
        }
    paths = frozenset(request.update_mask.paths)
    if not paths:
        faults.add("update_mask", "names no field; leave it out to change those that are set")
    for path in sorted(paths - PATHS):
        faults.add(
            "update_mask",
            f'"{path[:MAX_NAME_LENGTH]}" is none of {", ".join(CHANGEABLE)}, nor a single weight as in weights.cost',
        )
    return paths & PATHS


def _provider_order(given: pb.Routing, fleet: Fleet, faults: Faults) -> tuple[str, ...]:
    field = "routing.provider_order"
    if not faults.count(given.provider_order, field, MAX_LIST_LENGTH):
        return ()
    for place, name in enumerate(given.provider_order):
        if name not in fleet.providers:
            known = ", ".join(fleet.providers) or "none"
            faults.add(f"{field}[{place}]", f'"{name[:MAX_NAME_LENGTH]}" is no provider; the providers are: {known}')
        elif name in given.provider_order[:place]:
            faults.add(f"{field}[{place}]", f"is {name} again; name each provider once")
    return tuple(given.provider_order)


def _preferences(given: pb.Routing, fleet: Fleet, faults: Faults) -> tuple[str, ...]:
    field = "routing.preferences"
    if not faults.count(given.preferences, field, MAX_LIST_LENGTH):
        return ()
    hinted = 0
    for place, name in enumerate(given.preferences):
        if not fleet.resolve(name):
            hinted += 1
            near = near_target(name[:MAX_NAME_LENGTH], fleet) if hinted <= HINTS_MAXIMUM else ""
            hint = f'did you mean "{near}"?' if near else "ProviderStatus lists them"
            faults.add(f"{field}[{place}]", f'"{name[:MAX_NAME_LENGTH]}" is no target; {hint}')
        elif name in given.preferences[:place]:
            faults.add(f"{field}[{place}]", f"is {name} again; name each target once")
    return tuple(given.preferences)


def _routing(name: str, settings: Settings, fleet: Fleet) -> pb.Routing:
    """Writes one policy's rules, those of the default policy without a name. Raises UnknownPolicyError."""
    policies = settings.routing.policies
    name = name or settings.routing.default_policy
    policy = policies.get(name)
    if policy is None:
        known = ", ".join(sorted(policies))
        raise UnknownPolicyError(f'policy "{name}" does not exist; the policies are {known}', name=name)
    message = pb.Routing(
        policy=name,
        strategy=enums.STRATEGY.to_wire[policy.strategy],
        weights=_weights(policy),
        failover_preset=_preset(settings.failover.breaker),
        policy_version=settings.routing.policy_version,
        default_policy=settings.routing.default_policy,
        provider_order=fleet.providers_by_rank,
        preferences=policy.preferences,
    )
    # Of what there is and not a count: good for as long as the same rules hold.
    message.etag = sha256(message.SerializeToString(deterministic=True)).hexdigest()[:ETAG_LENGTH]
    return message


def _weights(policy: Policy) -> router_pb2.Weights:
    weights = router_pb2.Weights(**{name: getattr(policy.weights, name) or 0.0 for name in WEIGHTS})
    if policy.weights.capability is None:
        # Not 0: a share that follows from the others.
        weights.ClearField("capability")
    return weights


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
