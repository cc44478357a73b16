"""RouteRequest and its parts to the core's query, each fault with its field path."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from turnout_server.api import enums
from turnout_server.api.faults import MAX_ID_LENGTH, MAX_LIST_LENGTH, MAX_NAME_LENGTH, MAX_WORD_LENGTH, Faults
from turnout_server.api.principals import own_tenant
from turnout_server.core.model import (
    Caller,
    Capability,
    DecisionDetail,
    Priority,
    RequestProfile,
    RouteQuery,
    RoutingOptions,
    Weights,
)
from turnout_server.core.scoring import FACTORS

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration

    from turnout.v1 import router_pb2 as pb

MAX_LABEL_COUNT = 16
MAX_HINT_BYTES = 1024 * 1024

NO_PROFILE = RequestProfile()
NO_OPTIONS = RoutingOptions()
NO_CALLER = Caller()


def route_query(
    request: pb.RouteRequest | pb.ExecuteRequest | pb.ExecuteStreamRequest,
    *,
    faults: Faults,
    executing: bool = False,
    deadline_seconds: float | None = None,
) -> RouteQuery:
    """Reads what all three requests share. The caller of this function raises the faults."""
    return RouteQuery(
        profile=_profile(request.profile, faults) if request.HasField("profile") else NO_PROFILE,
        options=_options(request.options, faults) if request.HasField("options") else NO_OPTIONS,
        caller=caller(request.caller, "caller", faults) if request.HasField("caller") else nobody_named(),
        request_id=faults.text(request.request_id, "request_id", MAX_ID_LENGTH),
        session_id=faults.text(request.session_id, "session_id", MAX_ID_LENGTH),
        executing=executing,
        deadline_seconds=deadline_seconds,
    )


def nobody_named() -> Caller:
    """Returns who asks where a request does not say: the tenant that its token is bound to, if it is to one."""
    tenant = own_tenant("")
    return Caller(tenant=tenant) if tenant else NO_CALLER


def caller(message: pb.Caller, path: str, faults: Faults) -> Caller:
    """Reads who asks; the tenant that the token is bound to stands for the one that is said."""
    if faults.count(message.labels, f"{path}.labels", MAX_LABEL_COUNT):
        for key, value in message.labels.items():
            faults.text(key, f"{path}.labels", MAX_NAME_LENGTH)
            faults.text(value, f"{path}.labels.{key[:MAX_WORD_LENGTH]}", MAX_NAME_LENGTH)
    return Caller(
        tenant=own_tenant(faults.text(message.tenant, f"{path}.tenant", MAX_NAME_LENGTH)),
        user=faults.text(message.user, f"{path}.user", MAX_NAME_LENGTH),
        tier=faults.text(message.tier, f"{path}.tier", MAX_WORD_LENGTH),
        labels=dict(message.labels) if message.labels else NO_CALLER.labels,
    )


def _profile(message: pb.RequestProfile, faults: Faults) -> RequestProfile:
    hint_bytes = len(message.text_hint.encode()) if message.text_hint else 0
    if hint_bytes > MAX_HINT_BYTES:
        faults.add("profile.text_hint", f"has {hint_bytes} bytes; at most {MAX_HINT_BYTES} are taken")
    input_tokens = _tokens(message, "input_tokens", 0, faults)
    return RequestProfile(
        task=faults.text(message.task, "profile.task", MAX_WORD_LENGTH),
        complexity=faults.choice(enums.COMPLEXITY.to_core, message.complexity, "profile.complexity"),
        input_tokens=input_tokens,
        max_output_tokens=_tokens(message, "max_output_tokens", 1, faults),
        capabilities=_capabilities(message.capabilities, faults),
        custom_capabilities=_named_capabilities(message.custom_capabilities, "custom_capabilities", faults),
        preferred_capabilities=_named_capabilities(message.preferred_capabilities, "preferred_capabilities", faults),
        reasoning_effort=faults.choice(
            enums.REASONING_EFFORT.to_core, message.reasoning_effort, "profile.reasoning_effort"
        ),
        text_hint=message.text_hint,
        input_bytes=hint_bytes if hint_bytes and input_tokens is None else None,
    )


def _named_capabilities(values: Sequence[str], field: str, faults: Faults) -> frozenset[str]:
    return frozenset(names(values, f"profile.{field}", faults)) if values else NO_PROFILE.custom_capabilities


def _tokens(message: pb.RequestProfile, field: str, lowest: int, faults: Faults) -> int | None:
    if not message.HasField(field):  # type: ignore[arg-type]  # the stub lists literals, this is one of two
        return None
    return faults.whole(getattr(message, field), f"profile.{field}", lowest)


def _capabilities(values: Sequence[int], faults: Faults) -> frozenset[Capability]:
    if not values or not faults.count(values, "profile.capabilities", MAX_LIST_LENGTH):
        return frozenset()
    known = []
    for i, value in enumerate(values):
        capability = faults.choice(enums.CAPABILITY.to_core, value, f"profile.capabilities[{i}]")
        if capability is not None:
            known.append(capability)
        elif not value:
            faults.add(f"profile.capabilities[{i}]", "is CAPABILITY_UNSPECIFIED; leave it out")
    return frozenset(known)


def names(values: Sequence[str], path: str, faults: Faults) -> tuple[str, ...]:
    """Reads a list of names; none of them may be empty."""
    if not faults.count(values, path, MAX_LIST_LENGTH):
        return ()
    for i, name in enumerate(values):
        if name:
            faults.text(name, f"{path}[{i}]", MAX_ID_LENGTH)
        else:
            faults.add(f"{path}[{i}]", "is empty; leave it out")
    return tuple(values)


def _options(message: pb.RoutingOptions, faults: Faults) -> RoutingOptions:
    has = message.HasField
    return RoutingOptions(
        policy=faults.text(message.policy, "options.policy", MAX_NAME_LENGTH),
        strategy=faults.choice(enums.STRATEGY.to_core, message.strategy, "options.strategy"),
        weights=_weights(message.weights, faults) if has("weights") else None,
        priority=priority(message, faults),
        max_cost_usd=faults.number(message.max_cost_usd, "options.max_cost_usd", 0) if has("max_cost_usd") else None,
        max_latency_seconds=_limit(message.max_latency, "options.max_latency", faults) if has("max_latency") else None,
        max_time_to_first_token_seconds=_limit(
            message.max_time_to_first_token, "options.max_time_to_first_token", faults
        )
        if has("max_time_to_first_token")
        else None,
        min_availability=faults.number(message.min_availability, "options.min_availability", 0, 1)
        if has("min_availability")
        else None,
        min_quality=faults.number(message.min_quality, "options.min_quality", 0, 100) if has("min_quality") else None,
        include=names(message.include, "options.include", faults) if message.include else (),
        exclude=names(message.exclude, "options.exclude", faults) if message.exclude else (),
        regions=tuple(dict.fromkeys(names(message.regions, "options.regions", faults))) if message.regions else (),
        sticky_key=faults.text(message.sticky_key, "options.sticky_key", MAX_ID_LENGTH),
        force_target=faults.text(message.force_target, "options.force_target", MAX_ID_LENGTH),
        max_candidates=faults.whole(message.max_candidates, "options.max_candidates", 1)
        if has("max_candidates")
        else None,
        allow_fallback=message.allow_fallback if has("allow_fallback") else None,
        mid_stream=faults.choice(enums.MID_STREAM_POLICY.to_core, message.mid_stream, "options.mid_stream"),
        hedge=message.hedge if has("hedge") else None,
        detail=faults.choice(enums.DECISION_DETAIL.to_core, message.detail, "options.detail") or DecisionDetail.BASIC,
    )


def priority(message: pb.RoutingOptions, faults: Faults) -> Priority:
    """Reads the priority; NORMAL where none is given."""
    return faults.choice(enums.PRIORITY.to_core, message.priority, "options.priority") or Priority.NORMAL


def _weights(message: pb.Weights, faults: Faults) -> Weights:
    given = {name: faults.number(value, f"options.weights.{name}", 0) for name, value in _set_fields(message)}
    if all(given.get(name) == 0 for name in FACTORS):
        faults.add("options.weights", "are all 0; give at least one besides capability above 0")
    return Weights(**given)


def _set_fields(message: pb.Weights) -> Iterable[tuple[str, float]]:
    return ((field.name, value) for field, value in message.ListFields())


def _limit(message: Duration, path: str, faults: Faults) -> float:
    value = faults.span(message, path)
    if value == 0:
        faults.add(path, f"is {value:g} s; give a duration above 0")
    return value
