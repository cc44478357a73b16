"""Changes of a running sidecar to and from protobuf: what takes no new calls, and whose health is to be forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from turnout.v1 import admin_pb2 as pb
from turnout_server.api import enums
from turnout_server.api.answers import target as target_message
from turnout_server.api.answers import usd
from turnout_server.api.faults import MAX_ID_LENGTH, MAX_NAME_LENGTH, Faults
from turnout_server.api.instants import duration
from turnout_server.core.drains import Drained
from turnout_server.core.errors import UnknownProviderError, UnknownTargetError
from turnout_server.core.model import Target

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from turnout.v1 import router_pb2
    from turnout_server.core.fleet import Fleet, TargetSpec
    from turnout_server.use_cases.administration import Administration, ProviderReport

MAX_DRAINED = 4096
MAX_FIELDS = 100
"""Paths of a mask: more than a provider has fields, and few enough to look at in one go."""
CHANGEABLE = frozenset({"drained", "drained_targets"})
"""What can be changed of a provider that the configuration has."""
NOT_READ = frozenset({"provider", "registered", "etag"})
"""Its name, and what only answers say; the etag that counts is the request's own."""
ONLY_REGISTERED = "only drained and drained_targets can be changed here, the rest is the configuration's"
"""Short, since what is told of one field is cut at some length."""


class ProviderChange(NamedTuple):
    """A message, and which of its fields are to be taken."""

    given: pb.RegisteredProvider
    fields: frozenset[str]


def update_provider(
    request: pb.UpdateProviderRequest, changing: Administration, fleet: Fleet, *, by: str
) -> pb.UpdateProviderResponse:
    """Drains and undrains. Raises InvalidRequestError, UnknownProviderError, UnknownTargetError or StaleEtagError."""
    known = changing.provider(provider_name(request))
    faults = Faults()
    change = ProviderChange(request.provider, _masked(request, known, faults))
    drained = wanted_drains(change, known, fleet, faults)
    return pb.UpdateProviderResponse(
        provider=registered_provider(changing.change_drains(known.provider, drained, etag=request.etag, by=by))
    )


def reset_health(
    request: pb.ResetHealthRequest, changing: Administration, fleet: Fleet, *, by: str
) -> pb.ResetHealthResponse:
    """Forgets health. Raises InvalidRequestError, UnknownProviderError or UnknownTargetError."""
    places = scope_places(request.scope, fleet)
    return pb.ResetHealthResponse(targets=[target_message(each) for each in changing.reset_health(places, by=by)])


def registered_provider(report: ProviderReport, *, registered: bool = False) -> pb.RegisteredProvider:
    """Writes a provider as it is now. What its endpoints have each for themselves is left empty."""
    specs = report.specs
    labels = {credential.label for spec in specs for credential in spec.credentials}
    limits = {spec.max_concurrency for spec in specs}
    models: dict[str, TargetSpec] = {}
    for spec in specs:
        models.setdefault(spec.target.model, spec)
    return pb.RegisteredProvider(
        provider=report.provider,
        wire=_common(spec.wire for spec in specs),
        base_url=_common(spec.base_url for spec in specs),
        credential=labels.pop() if len(labels) == 1 else "",
        models=[_model(spec) for spec in models.values()],
        region=_common(spec.region for spec in specs),
        max_concurrency=limits.pop() if len(limits) == 1 else None,
        drained=report.drained.whole,
        drained_targets=sorted(map(str, report.drained.targets)),
        registered=registered,
        etag=report.etag,
    )


def scope_places(scope: pb.HealthScope, fleet: Fleet) -> Sequence[int]:
    """Returns the places in the fleet of what a scope names; a target without endpoint is the model at all of its own.

    Raises InvalidRequestError, UnknownProviderError or UnknownTargetError.
    """
    faults = Faults()
    which = scope.WhichOneof("scope")
    match which:
        case "target":
            places = _target_places(scope.target, fleet, faults)
        case "endpoint":
            places = _endpoint_places(scope.endpoint, fleet, faults)
        case "provider":
            if not faults.text(scope.provider, "scope.provider", MAX_NAME_LENGTH):
                faults.add("scope.provider", "is missing; ProviderStatus lists the names")
            faults.raise_any()
            places = _provider_places(scope.provider, fleet)
        case "all":
            places = range(len(fleet.specs))
        case _:
            faults.add("scope", "is missing; give a target, an endpoint, a provider, or all")
            places = ()
    faults.raise_any()
    return places


def provider_name(request: pb.UpdateProviderRequest) -> str:
    """Reads which provider is to be changed. Raises InvalidRequestError where none is named."""
    faults = Faults()
    faults.text(request.etag, "etag", MAX_NAME_LENGTH)
    if not request.HasField("provider"):
        faults.add("provider", "is missing; give the provider's name with the new values")
    elif not faults.text(request.provider.provider, "provider.provider", MAX_NAME_LENGTH):
        faults.add("provider.provider", "is missing; ProviderStatus lists the names")
    faults.raise_any()
    return request.provider.provider


def wanted_drains(change: ProviderChange, known: ProviderReport, fleet: Fleet, faults: Faults | None = None) -> Drained:
    """Returns what is drained with the values of the request laid over it; `faults` are those found before.

    Raises InvalidRequestError, or UnknownTargetError for a target that is not known.
    """
    faults = Faults() if faults is None else faults
    given, fields = change
    whole, targets = known.drained
    if "drained" in fields and given.HasField("drained"):
        whole = given.drained
    names = given.drained_targets if "drained_targets" in fields else ()
    if faults.count(names, "provider.drained_targets", MAX_DRAINED):
        found = [_own_targets(name, place, known, fleet, faults) for place, name in enumerate(names)]
        if "drained_targets" in fields:
            targets = frozenset(target for each in found for target in each or ())
        faults.raise_any()
        for name, each in zip(names, found, strict=True):
            if not each:
                raise UnknownTargetError(
                    f'there is no target "{name}"; ProviderStatus lists those there are', name=name
                )
    faults.raise_any()
    return Drained(whole=whole, targets=targets)


def _masked(request: pb.UpdateProviderRequest, known: ProviderReport, faults: Faults) -> frozenset[str]:
    """Returns the fields to change: those of the mask, without one those that are set and can be changed."""
    given = request.provider
    if request.HasField("update_mask"):
        paths = request.update_mask.paths
        if not paths:
            faults.add("update_mask", "names no field; leave it out to change those that are set")
        if not faults.count(paths, "update_mask", MAX_FIELDS):
            return frozenset()
        for path in paths:
            if path in CHANGEABLE:
                continue
            if path.partition(".")[0] in given.DESCRIPTOR.fields_by_name:
                faults.add("update_mask", f'"{path[:MAX_NAME_LENGTH]}": {ONLY_REGISTERED}')
            else:
                faults.add("update_mask", f'"{path[:MAX_NAME_LENGTH]}" is none of {", ".join(sorted(CHANGEABLE))}')
        return frozenset(paths)
    present = registered_provider(known)
    set_fields = frozenset(field.name for field, _ in given.ListFields())
    for name in sorted(set_fields - CHANGEABLE - NOT_READ):
        # What was read and is sent back as it was changes nothing.
        if getattr(given, name) != getattr(present, name):
            faults.add(f"provider.{name}", f"is not what it is now: {ONLY_REGISTERED}")
    return set_fields & CHANGEABLE


def _own_targets(name: str, place: int, known: ProviderReport, fleet: Fleet, faults: Faults) -> Sequence[Target] | None:
    """Returns the targets of a name; None for one that is at fault, and nothing where there is no such."""
    field = f"provider.drained_targets[{place}]"
    if len(faults.text(name, field, MAX_ID_LENGTH)) > MAX_ID_LENGTH:
        return None
    if not name or name == known.provider:
        faults.add(field, f'is "{name}"; give "provider/model", and set drained for the whole provider')
        return None
    targets = [fleet.specs[index].target for index in fleet.resolve(name)]
    if any(target.provider != known.provider for target in targets):
        faults.add(field, f'is "{name}", which is not of the provider "{known.provider}"')
        return None
    return targets


def _target_places(wanted: router_pb2.Target, fleet: Fleet, faults: Faults) -> Sequence[int]:
    for field in ("provider", "model", "endpoint"):
        value: str = getattr(wanted, field)
        if not faults.text(value, f"scope.target.{field}", MAX_ID_LENGTH) and field != "endpoint":
            faults.add(f"scope.target.{field}", "is missing; ProviderStatus lists the targets")
    faults.raise_any()
    places: Sequence[int] = fleet.resolve(f"{wanted.provider}/{wanted.model}")
    if wanted.endpoint:
        found = fleet.index(Target(wanted.provider, wanted.model, wanted.endpoint))
        places = () if found is None else (found,)
    if not places:
        name = f"{wanted.provider}/{wanted.model}" + (f"@{wanted.endpoint}" if wanted.endpoint else "")
        raise UnknownTargetError(f'there is no target "{name}"; ProviderStatus lists those there are', name=name)
    return places


def _endpoint_places(wanted: pb.EndpointName, fleet: Fleet, faults: Faults) -> Sequence[int]:
    faults.text(wanted.endpoint, "scope.endpoint.endpoint", MAX_NAME_LENGTH)
    if not faults.text(wanted.provider, "scope.endpoint.provider", MAX_NAME_LENGTH):
        faults.add("scope.endpoint.provider", "is missing; ProviderStatus lists the endpoints")
    faults.raise_any()
    places = _provider_places(wanted.provider, fleet)
    names = list(dict.fromkeys(fleet.specs[index].target.endpoint for index in places))
    if wanted.endpoint in names:
        return [index for index in places if fleet.specs[index].target.endpoint == wanted.endpoint]
    if len(names) == 1 and not wanted.endpoint:
        return places
    listed = ", ".join(f'"{name}"' for name in names[:5])
    if not wanted.endpoint:
        faults.add("scope.endpoint.endpoint", f"is missing: the provider has several; name one of them: {listed}")
        faults.raise_any()
    raise UnknownTargetError(
        f'the provider "{wanted.provider}" has no endpoint "{wanted.endpoint}"; it has {listed}', name=wanted.endpoint
    )


def _provider_places(name: str, fleet: Fleet) -> Sequence[int]:
    places = [index for index, spec in enumerate(fleet.specs) if spec.target.provider == name]
    if not places:
        known = ", ".join(fleet.providers) or "none"
        raise UnknownProviderError(f'there is no provider "{name}"; the providers are: {known}', name=name)
    return places


def _common(values: Iterable[str]) -> str:
    """Returns the value that all have, "" where they differ."""
    different = set(values)
    return different.pop() if len(different) == 1 else ""


def _model(spec: TargetSpec) -> pb.RegisteredModel:
    message = pb.RegisteredModel(
        name=spec.target.model,
        context_window_tokens=spec.context_window_tokens,
        max_output_tokens=spec.max_output_tokens,
        capabilities=sorted(enums.CAPABILITY.to_wire[each] for each in spec.capabilities),
        custom_capabilities=sorted(spec.custom_capabilities),
        quality=spec.quality,
        latency_prior=duration(spec.latency_prior_seconds),
        silent_thinking=spec.silent_thinking,
    )
    price = spec.price
    if price is not None:
        message.input_per_million_usd = usd(price.input_per_million)
        message.output_per_million_usd = usd(price.output_per_million)
        if price.cached_input_per_million is not None:
            message.cached_input_per_million_usd = usd(price.cached_input_per_million)
        if price.cache_write_per_million is not None:
            message.cache_write_per_million_usd = usd(price.cache_write_per_million)
    return message
