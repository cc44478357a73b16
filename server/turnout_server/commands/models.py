"""`turnout models`: which models there are to choose from, and what is known of them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from turnout_server.commands.exits import Exit, Failure
from turnout_server.commands.printing import print_columns, print_json

if TYPE_CHECKING:
    from turnout_server.config.catalog import ModelRow
    from turnout_server.core.fleet import Price

HEADINGS = ("MODEL", "WINDOW", "LONGEST", "INPUT", "OUTPUT", "CACHED", "QUALITY", "FIRST TOKEN", "NOTE")

_EPILOG = """\
\b
Examples:
  turnout models                       all that requests may be given to
  turnout models sonnet                those whose name holds "sonnet"
  turnout models --provider groq --capability TOOLS
  turnout models -c turnout.yaml       with the rows of a configuration laid over them

Prices are USD per million tokens. Deprecated models are shown with --all: they are used only where named.

Exit codes: 0 shown, 1 the configuration has faults, or no model is like that, 2 wrong usage.
"""


@click.command("models", epilog=_EPILOG)
@click.argument("search", default="")
@click.option(
    "-c", "--config", "file", metavar="FILE", help="turnout.yaml, whose providers and rows are shown instead."
)
@click.option("--provider", "providers", multiple=True, metavar="NAME", help="Only of this provider; may be repeated.")
@click.option("--capability", "capabilities", multiple=True, metavar="NAME", help="Only those that can do this.")
@click.option("--all", "everything", is_flag=True, help="Deprecated ones too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def models(
    *,
    search: str,
    file: str | None,
    providers: tuple[str, ...],
    capabilities: tuple[str, ...],
    everything: bool,
    as_json: bool,
) -> None:
    """List the models of the catalog, or of a configuration; SEARCH is any part of a name."""
    from turnout_server.config.catalog import origin  # noqa: PLC0415 - the help text needs none of it
    from turnout_server.core.model import Capability  # noqa: PLC0415

    known = _known(file)
    unknown = [name for name in providers if name not in known]
    if unknown:
        raise click.UsageError(f"there is no provider {unknown[0]}; there are: {', '.join(known)}")
    needed = {name.upper().replace("-", "_") for name in capabilities}
    for name in capabilities:
        if name.upper().replace("-", "_") not in list(Capability):
            raise click.UsageError(f"there is no capability {name}; there are: {', '.join(Capability)}")
    shown = [
        (provider, model)
        for provider, rows in known.items()
        if not providers or provider in providers
        for model in rows
        if search.lower() in f"{provider}/{model.name}".lower()
        and needed <= model.capabilities
        and (everything or not model.deprecated)
    ]
    if as_json:
        day, source = origin()
        print_json({"date": day, "source": source, "models": [_as_dict(*each) for each in shown]})
    elif shown:
        print_columns([HEADINGS, *(_row(*each) for each in shown)])
    if not shown:
        raise Failure("no model is like that; deprecated ones are shown with --all", Exit.FAILED)


def _known(file: str | None) -> dict[str, tuple[ModelRow, ...]]:
    from turnout_server.config.catalog import built_in  # noqa: PLC0415
    from turnout_server.config.faults import ConfigurationError  # noqa: PLC0415
    from turnout_server.config.load import load  # noqa: PLC0415
    from turnout_server.config.providers import resolved_providers  # noqa: PLC0415

    if file is None:
        return {name: row.models for name, row in built_in().items()}
    try:
        configuration = load(file, os.environ, files=False).configuration
    except ConfigurationError as error:
        lines = "\nturnout: ".join(str(fault) for fault in error.faults)
        raise Failure(lines, Exit.FAILED) from None
    return {provider.name: provider.models for provider in resolved_providers(configuration, os.environ)}


def _row(provider: str, model: ModelRow) -> tuple[str, ...]:
    price = model.price
    return (
        f"{provider}/{model.name}",
        _count(model.context_window_tokens),
        _count(model.max_output_tokens),
        _usd(price.input_per_million if price else None),
        _usd(price.output_per_million if price else None),
        _usd(price.cached_input_per_million if price else None),
        "-" if model.quality is None else f"{model.quality:g}",
        f"{model.latency_prior_seconds:g} s",
        ", ".join(_notes(model)),
    )


def _notes(model: ModelRow) -> Iterable[str]:
    if model.deprecated:
        yield f"deprecated since {model.retires_on}" if model.retires_on else "deprecated"
    elif model.retires_on:
        yield f"until {model.retires_on}"
    if model.silent_thinking:
        yield "thinks silently"
    for tier in model.price.tiers if model.price else ():
        dearer = f"{_usd(tier.price.input_per_million)}/{_usd(tier.price.output_per_million)}"
        yield f"{dearer} above {_count(tier.above_input_tokens)}"


def _as_dict(provider: str, model: ModelRow) -> dict[str, Any]:
    return {
        "provider": provider,
        "model": model.name,
        "context_window_tokens": model.context_window_tokens,
        "max_output_tokens": model.max_output_tokens,
        "price": None if model.price is None else _price(model.price),
        "capabilities": sorted(model.capabilities),
        "custom_capabilities": sorted(model.custom_capabilities),
        "quality": model.quality,
        "latency_prior_seconds": model.latency_prior_seconds,
        "seconds_per_output_token": model.seconds_per_output_token,
        "silent_thinking": model.silent_thinking,
        "deprecated": model.deprecated,
        "retires_on": model.retires_on or None,
    }


def _price(price: Price) -> dict[str, Any]:
    values = {
        "input_per_million_usd": price.input_per_million,
        "output_per_million_usd": price.output_per_million,
        "cached_input_per_million_usd": price.cached_input_per_million,
        "cache_write_per_million_usd": price.cache_write_per_million,
        "cache_write_1h_per_million_usd": price.cache_write_1h_per_million,
        "audio_input_per_million_usd": price.audio_input_per_million,
        "cached_audio_input_per_million_usd": price.cached_audio_input_per_million,
        "reasoning_per_million_usd": price.reasoning_per_million,
    }
    found: dict[str, Any] = {key: nano / 1e9 for key, nano in values.items() if nano is not None}
    if price.tiers:
        found["tiers"] = [{"above_input_tokens": t.above_input_tokens, **_price(t.price)} for t in price.tiers]
    return found


def _usd(nano: int | None) -> str:
    return "-" if nano is None else f"{nano / 1e9:g}"


def _count(tokens: int | None) -> str:
    """Returns about how many, for people: --json has the exact number."""
    if tokens is None:
        return "-"
    return f"{tokens / 1e6:.3g}M" if tokens >= 1_000_000 else f"{tokens / 1000:.3g}k"  # noqa: PLR2004
