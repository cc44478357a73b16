"""Providers that operators register while it runs, to and from protobuf. Addresses and keys are judged by others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout.v1 import admin_pb2 as pb
from turnout_server.api import enums
from turnout_server.api.administration import NOT_READ, ProviderChange, registered_provider, wanted_drains
from turnout_server.api.answers import target as target_message
from turnout_server.api.faults import MAX_ID_LENGTH, MAX_LIST_LENGTH, MAX_NAME_LENGTH, Faults
from turnout_server.core.changing import ModelFacts, ProviderFacts
from turnout_server.core.drains import Drained
from turnout_server.core.errors import StaleEtagError

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from turnout_server.core.model import Capability
    from turnout_server.ports import Changing
    from turnout_server.router import Router
    from turnout_server.use_cases.administration import ProviderReport

MAX_URL_LENGTH = 2048
MAX_CONCURRENCY = 10_000_000
MAX_PRICE_USD = 1e9
YEAR_SECONDS = 366 * 86_400.0
DRAINS = frozenset({"drained", "drained_targets"})
CHANGEABLE = frozenset(field.name for field in pb.RegisteredProvider.DESCRIPTOR.fields) - NOT_READ
WIRES = ("openai", "anthropic", "gemini", "ollama")
TOKENS_MAXIMUM = 100_000_000
"""As in the configuration."""


async def register_provider(
    request: pb.RegisterProviderRequest, router: Router, changing: Changing, *, by: str
) -> pb.RegisterProviderResponse:
    """Adds a provider. Raises InvalidRequestError, RegistrationDisabledError or AlreadyExistsError."""
    given = new_provider(request)
    facts = provider_facts(given)
    await changing.register_provider(facts, drained=given.drained, by=by)
    return pb.RegisterProviderResponse(
        provider=registered_provider(router.administration.provider(facts.name), registered=True)
    )


async def update_registered(
    request: pb.UpdateProviderRequest, router: Router, changing: Changing, known: ProviderFacts, *, by: str
) -> pb.UpdateProviderResponse:
    """Changes or drains a registered provider.

    Raises InvalidRequestError, UnknownTargetError, StaleEtagError or RegistrationDisabledError.
    """
    administration = router.administration
    report = administration.provider(known.name)
    change = provider_change(request, report)
    facts = merged_facts(request.provider, known, change.fields)
    drained = wanted_drains(change, report, router.configured.fleet)
    check_one_kind(facts != known, drained, report)

    def still() -> None:
        if request.etag and request.etag != administration.provider(known.name).etag:
            raise StaleEtagError(
                f"provider {known.name!r} was changed since it was read; read it again, then change it"
            )

    still()
    if facts != known:

        def changed(present: ProviderFacts) -> ProviderFacts:
            return merged_facts(request.provider, present, change.fields)

        await changing.update_provider(known.name, changed, still=still, by=by)
        after = administration.provider(known.name)
    else:
        after = administration.change_drains(known.name, drained, by=by)
    return pb.UpdateProviderResponse(provider=registered_provider(after, registered=True))


async def remove_provider(
    request: pb.RemoveProviderRequest, router: Router, changing: Changing, *, by: str
) -> pb.RemoveProviderResponse:
    """Removes a registered provider. Raises InvalidRequestError, UnknownProviderError or StaleEtagError."""
    name = unwanted_provider(request)
    administration = router.administration

    def still() -> None:
        if request.etag and request.etag != administration.provider(name).etag:
            raise StaleEtagError(f"provider {name!r} was changed since it was read; read it again, then remove it")

    administration.provider(name)
    removed = await changing.remove_provider(name, still=still, by=by)
    return pb.RemoveProviderResponse(removed=[target_message(each) for each in removed])


def new_provider(request: pb.RegisterProviderRequest) -> pb.RegisteredProvider:
    """Reads which provider is to be added. Raises InvalidRequestError where none is given."""
    faults = Faults()
    if not request.HasField("provider"):
        faults.add("provider", "is missing; give its name, wire, base_url and models")
    elif request.provider.drained_targets:
        faults.add("provider.drained_targets", "cannot be given with a new provider; set drained to add it drained")
    faults.raise_any()
    return request.provider


def unwanted_provider(request: pb.RemoveProviderRequest) -> str:
    """Reads which provider is to be removed. Raises InvalidRequestError where none is named."""
    faults = Faults()
    faults.text(request.etag, "etag", MAX_NAME_LENGTH)
    if not faults.text(request.provider, "provider", MAX_NAME_LENGTH):
        faults.add("provider", "is missing; ProviderStatus lists the names")
    faults.raise_any()
    return request.provider


def provider_change(request: pb.UpdateProviderRequest, report: ProviderReport) -> ProviderChange:
    """Reads which fields of a registered provider are to be changed. Raises InvalidRequestError."""
    faults = Faults()
    given = request.provider
    if request.HasField("update_mask"):
        fields: AbstractSet[str] = frozenset(request.update_mask.paths)
        if not fields:
            faults.add("update_mask", "names no field; leave it out to change those that are set")
        for path in sorted(fields - CHANGEABLE):
            faults.add("update_mask", f'"{path[:MAX_NAME_LENGTH]}" is none of {", ".join(sorted(CHANGEABLE))}')
    else:
        present = registered_provider(report)
        # What was read and is sent back as it was changes nothing.
        fields = {
            field.name
            for field, value in given.ListFields()
            if field.name in CHANGEABLE and value != getattr(present, field.name)
        }
    faults.raise_any()
    return ProviderChange(given, frozenset(fields))


def check_one_kind(facts_change: bool, drained: Drained, report: ProviderReport) -> None:  # noqa: FBT001 - read once
    """Raises InvalidRequestError where facts and drains are to be changed at once: a drain is of what there is."""
    if facts_change and drained != report.drained:
        faults = Faults()
        faults.add("provider.drained", "and drained_targets are changed in a request of their own")
        faults.raise_any()


def merged_facts(given: pb.RegisteredProvider, known: ProviderFacts, fields: AbstractSet[str]) -> ProviderFacts:
    """Returns the facts with those of a message laid over them. Raises InvalidRequestError."""
    if not fields - DRAINS:
        return known
    whole = pb.RegisteredProvider()
    whole.CopyFrom(registered_facts(known))
    for name in fields - DRAINS:
        whole.ClearField(name)  # type: ignore[arg-type]  # one of its fields
        part = pb.RegisteredProvider()
        part.CopyFrom(given)
        for field, _ in given.ListFields():
            if field.name != name:
                part.ClearField(field.name)  # type: ignore[arg-type]  # likewise
        whole.MergeFrom(part)
    return provider_facts(whole)


def registered_facts(facts: ProviderFacts) -> pb.RegisteredProvider:
    """Writes a provider as it was registered."""
    return pb.RegisteredProvider(
        provider=facts.name,
        wire=facts.wire,
        base_url=facts.base_url,
        credential=facts.credential,
        region=facts.region,
        max_concurrency=facts.max_concurrency,
        models=[_model_message(model) for model in facts.models],
    )


def provider_facts(given: pb.RegisteredProvider) -> ProviderFacts:
    """Reads a provider. Raises InvalidRequestError."""
    faults = Faults()
    where = "provider"
    if not faults.text(given.provider, f"{where}.provider", MAX_NAME_LENGTH):
        faults.add(f"{where}.provider", "is missing; give the name that its targets are to have")
    elif not given.provider.isprintable():
        faults.add(f"{where}.provider", "holds characters that cannot be printed")
    if given.wire not in WIRES:
        faults.add(f"{where}.wire", f'is "{given.wire[:MAX_NAME_LENGTH]}"; give one of {", ".join(WIRES)}')
    if not faults.text(given.base_url, f"{where}.base_url", MAX_URL_LENGTH):
        faults.add(f"{where}.base_url", "is missing; give its address, as in https://llm.example.com/v1")
    faults.text(given.credential, f"{where}.credential", MAX_NAME_LENGTH)
    if not faults.text(given.region, f"{where}.region", MAX_NAME_LENGTH).isprintable():
        faults.add(f"{where}.region", "holds characters that cannot be printed")
    concurrency = None
    if given.HasField("max_concurrency"):
        concurrency = faults.whole(given.max_concurrency, f"{where}.max_concurrency", 1, MAX_CONCURRENCY)
    if not given.models:
        faults.add(f"{where}.models", "is empty; give at least one model")
    models: tuple[ModelFacts, ...] = ()
    if faults.count(given.models, f"{where}.models", MAX_LIST_LENGTH):
        names = [model.name for model in given.models]
        models = tuple(
            _model(model, f"{where}.models[{place}]", names[:place], faults) for place, model in enumerate(given.models)
        )
    faults.raise_any()
    return ProviderFacts(
        name=given.provider,
        wire=given.wire,
        base_url=given.base_url,
        models=models,
        credential=given.credential,
        region=given.region,
        max_concurrency=concurrency,
    )


def _model(given: pb.RegisteredModel, where: str, before: list[str], faults: Faults) -> ModelFacts:
    if not faults.text(given.name, f"{where}.name", MAX_ID_LENGTH):
        faults.add(f"{where}.name", "is missing; give the name that the provider knows it by")
    elif given.name in before:
        faults.add(f"{where}.name", f'"{given.name[:MAX_NAME_LENGTH]}" is there twice')
    elif not given.name.isprintable():
        faults.add(f"{where}.name", "holds characters that cannot be printed")
    present = {field.name: value for field, value in given.ListFields()}

    def tokens(name: str) -> int | None:
        return faults.whole(present[name], f"{where}.{name}", 1, TOKENS_MAXIMUM) if name in present else None

    def price(name: str) -> float | None:
        return faults.number(present[name], f"{where}.{name}", 0, MAX_PRICE_USD) if name in present else None

    capabilities, custom = _capabilities(given, where, faults)
    quality = faults.number(given.quality, f"{where}.quality", 0, 100) if given.HasField("quality") else None
    prior = None
    if given.HasField("latency_prior"):
        prior = faults.span(given.latency_prior, f"{where}.latency_prior", YEAR_SECONDS)
        if prior == 0.0:
            faults.add(f"{where}.latency_prior", "is 0 s; give more, or leave it out")
    return ModelFacts(
        name=given.name,
        capabilities=capabilities,
        custom_capabilities=custom,
        quality=quality,
        latency_prior_seconds=prior,
        silent_thinking=given.silent_thinking,
        context_window_tokens=tokens("context_window_tokens"),
        max_output_tokens=tokens("max_output_tokens"),
        input_usd=price("input_per_million_usd"),
        output_usd=price("output_per_million_usd"),
        cached_input_usd=price("cached_input_per_million_usd"),
        cache_write_usd=price("cache_write_per_million_usd"),
    )


def _capabilities(
    given: pb.RegisteredModel, where: str, faults: Faults
) -> tuple[tuple[Capability, ...], tuple[str, ...]]:
    """Reads what a model can do, by the contract's names and by the operator's own."""
    found: list[Capability] = []
    if faults.count(given.capabilities, f"{where}.capabilities", MAX_LIST_LENGTH):
        for place, value in enumerate(given.capabilities):
            capability = enums.CAPABILITY.to_core.get(value)
            if capability is None:
                faults.add(f"{where}.capabilities[{place}]", f"has the value {value}, which this version does not know")
            else:
                found.append(capability)
    if faults.count(given.custom_capabilities, f"{where}.custom_capabilities", MAX_LIST_LENGTH):
        for place, name in enumerate(given.custom_capabilities):
            if not faults.text(name, f"{where}.custom_capabilities[{place}]", MAX_ID_LENGTH):
                faults.add(f"{where}.custom_capabilities[{place}]", "is empty")
            elif not name.isprintable():
                faults.add(f"{where}.custom_capabilities[{place}]", "holds characters that cannot be printed")
    return tuple(found), tuple(given.custom_capabilities)


def _model_message(model: ModelFacts) -> pb.RegisteredModel:
    message = pb.RegisteredModel(
        name=model.name,
        context_window_tokens=model.context_window_tokens,
        max_output_tokens=model.max_output_tokens,
        capabilities=[enums.CAPABILITY.to_wire[each] for each in model.capabilities],
        custom_capabilities=model.custom_capabilities,
        quality=model.quality,
        silent_thinking=model.silent_thinking,
        input_per_million_usd=model.input_usd,
        output_per_million_usd=model.output_usd,
        cached_input_per_million_usd=model.cached_input_usd,
        cache_write_per_million_usd=model.cache_write_usd,
    )
    if model.latency_prior_seconds is not None:
        message.latency_prior.FromNanoseconds(round(model.latency_prior_seconds * 1e9))
    return message
