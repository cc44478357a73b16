"""`turnout providers add`, `set` and `remove`: providers that are registered while the sidecar runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from turnout.answer import target_name
from turnout.v1 import admin_pb2 as pb
from turnout.v1 import router_pb2
from turnout_server.commands.exits import Exit, Failure
from turnout_server.commands.printing import as_dict, print_columns, print_json
from turnout_server.commands.sidecar import CALL_SECONDS, EPILOG, calling, sidecar_options

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

WIRES = ("openai", "anthropic", "gemini", "ollama")
PRICES = (
    "input_per_million_usd",
    "output_per_million_usd",
    "cached_input_per_million_usd",
    "cache_write_per_million_usd",
)
CREDENTIAL_HELP = "Name of a key in admin.credentials of the sidecar's configuration."
FAULTS_MAXIMUM = 10
"""So many faults of a file of models are told at once."""
MODELS_HELP = "YAML list of models, written as `models` of a provider in the configuration."


@click.command("add", epilog=EPILOG)
@click.argument("name")
@click.option("--wire", type=click.Choice(WIRES), required=True, help="The wire format it speaks.")
@click.option("--base-url", metavar="URL", required=True, help="On a host of admin.allowed_hosts.")
@click.option("--credential", default="", metavar="NAME", help=CREDENTIAL_HELP)
@click.option("--model", "models", multiple=True, metavar="NAME", help="A model; may be given several times.")
@click.option("--models-file", type=click.Path(exists=True, dir_okay=False), help=MODELS_HELP)
@click.option("--region", default="", help="Its region.")
@click.option("--max-concurrency", type=click.IntRange(min=1), help="Most calls under way to each target.")
@click.option("--drained", is_flag=True, help="It gets no calls until it is undrained.")
@sidecar_options
def add(
    *,
    address: str | None,
    timeout_seconds: float | None,
    as_json: bool,
    name: str,
    wire: str,
    base_url: str,
    credential: str,
    models: tuple[str, ...],
    models_file: str | None,
    region: str,
    max_concurrency: int | None,
    drained: bool,
) -> None:
    """Register the provider NAME until the sidecar starts anew, where its configuration allows that."""
    wanted = pb.RegisteredProvider(
        provider=name,
        wire=wire,
        base_url=base_url,
        credential=credential,
        models=_models(models, models_file),
        region=region,
        max_concurrency=max_concurrency,
        drained=drained or None,
    )
    with calling(address) as client:
        made = client.admin.register_provider(wanted, timeout_seconds=timeout_seconds or CALL_SECONDS)
    _print(made, as_json=as_json)


@click.command("set", epilog=EPILOG)
@click.argument("name")
@click.option("--base-url", metavar="URL", help="On a host of admin.allowed_hosts.")
@click.option("--credential", metavar="NAME", help=f'{CREDENTIAL_HELP} "": none.')
@click.option("--model", "models", multiple=True, metavar="NAME", help="All of its models, one each.")
@click.option("--models-file", type=click.Path(exists=True, dir_okay=False), help=MODELS_HELP)
@click.option("--region", help='Its region; "": unknown.')
@click.option("--max-concurrency", type=click.IntRange(min=1), help="Most calls under way to each target.")
@click.option("--etag", default="", help="Change it only if it is still as it was then.")
@sidecar_options
def set_provider(
    *,
    address: str | None,
    timeout_seconds: float | None,
    as_json: bool,
    name: str,
    base_url: str | None,
    credential: str | None,
    models: tuple[str, ...],
    models_file: str | None,
    region: str | None,
    max_concurrency: int | None,
    etag: str,
) -> None:
    """Give the registered provider NAME other values; those that are not given stay."""
    wanted = pb.RegisteredProvider(provider=name, models=_models(models, models_file))
    fields = ["models"] if wanted.models else []
    for field, value in (
        ("base_url", base_url),
        ("credential", credential),
        ("region", region),
        ("max_concurrency", max_concurrency),
    ):
        if value is not None:
            setattr(wanted, field, value)
            fields.append(field)
    if not fields:
        raise Failure("nothing to change: give --base-url, --credential, --model, --region or another", Exit.USAGE)
    with calling(address) as client:
        seconds = timeout_seconds or CALL_SECONDS
        changed = client.admin.update_provider(wanted, *fields, etag=etag, timeout_seconds=seconds)
    _print(changed, as_json=as_json)


@click.command("remove", epilog=EPILOG)
@click.argument("name")
@click.option("--etag", default="", help="Remove it only if it is still as it was then.")
@sidecar_options
def remove(*, address: str | None, timeout_seconds: float | None, as_json: bool, name: str, etag: str) -> None:
    """Take the registered provider NAME out; calls that run go on. One of the configuration is drained instead."""
    with calling(address) as client:
        gone = client.admin.remove_provider(name, etag=etag, timeout_seconds=timeout_seconds or CALL_SECONDS)
    if as_json:
        print_json({"removed": [as_dict(target) for target in gone]})
    else:
        click.echo(f"removed: {', '.join(map(target_name, gone))}")


def _models(names: tuple[str, ...], file: str | None) -> list[pb.RegisteredModel]:
    if names and file:
        raise click.UsageError("give --model or --models-file, not both")
    return _from_file(file) if file else [pb.RegisteredModel(name=name) for name in names]


def _from_file(file: str) -> list[pb.RegisteredModel]:
    # Needed for this alone: pydantic takes longer to load than the command takes.
    import yaml  # noqa: PLC0415
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415

    from turnout_server.config.describe import NO_KEY_TEXT, kind_at, known_keys, may_be_key  # noqa: PLC0415
    from turnout_server.config.faults import did_you_mean, dotted  # noqa: PLC0415
    from turnout_server.config.schema_providers import ModelSection  # noqa: PLC0415
    from turnout_server.config.wording import wording  # noqa: PLC0415

    def told(details: ErrorDetails) -> str:
        """In the words of `turnout check`."""
        place = details["loc"]
        if not place:
            return "a list is needed here, one row for each model"
        if details["type"] != "extra_forbidden":
            return f"{dotted(place)}: {wording(details)}"
        name, above = str(place[-1]), place[:-1]
        if not may_be_key(name):
            return f"{dotted(above)}: {NO_KEY_TEXT}"
        return f"{dotted(place)}: unknown key{did_you_mean(name, known_keys(kind_at(ModelSection, above[1:])))}"

    try:
        rows = TypeAdapter(list[ModelSection]).validate_python(yaml.safe_load(Path(file).read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Failure(f"{file} cannot be read: {str(error).splitlines()[0]}", Exit.USAGE) from None
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)[:FAULTS_MAXIMUM]
        words = "; ".join(map(told, faults))
        raise Failure(f"{file}: {words}", Exit.USAGE) from None
    return [_message(row) for row in rows]


def _message(row: Any) -> pb.RegisteredModel:
    message = pb.RegisteredModel(
        name=row.name,
        context_window_tokens=row.context_window_tokens,
        max_output_tokens=row.max_output_tokens,
        capabilities=[router_pb2.Capability.Value(f"CAPABILITY_{each.name}") for each in row.capabilities],
        custom_capabilities=row.custom_capabilities,
        quality=row.quality,
        silent_thinking=row.silent_thinking,
        **({name: getattr(row.price, name) for name in PRICES} if row.price is not None else {}),
    )
    if row.latency_prior_seconds is not None:
        message.latency_prior.FromNanoseconds(round(row.latency_prior_seconds * 1e9))
    return message


def _print(provider: pb.RegisteredProvider, *, as_json: bool) -> None:
    if as_json:
        print_json(provider)
        return
    print_columns(
        [
            ("provider", provider.provider + (" (drained)" if provider.drained else "")),
            ("wire", provider.wire),
            ("address", provider.base_url),
            ("credential", provider.credential or "none"),
            ("region", provider.region or "unknown"),
            ("models", ", ".join(model.name for model in provider.models)),
            ("etag", provider.etag),
        ]
    )
