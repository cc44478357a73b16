"""docs/configuration.md, made from the schema so that it cannot differ from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date
from enum import Enum
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from turnout_server.config.catalog import ModelRow, ProviderRow, built_in, origin
from turnout_server.config.describe import is_section, is_table, plain
from turnout_server.config.fields import NOT_YET
from turnout_server.config.schema import Configuration
from turnout_server.core.fleet import Price
from turnout_server.core.model import NANO_USD

_HEAD = """\
# Configuration

<!-- Made by `turnout schema --markdown`; `make generate` writes it anew. -->

One YAML file, given by `turnout serve -c FILE` or `TURNOUT_CONFIG`; every key is optional, and so is the file: without
a `providers` block, every provider whose usual key variable is set is switched on (they are listed with the models
below). Durations are seconds, money is USD. `turnout check FILE` tells every fault with line and column; `turnout
schema` prints a JSON schema for editors.

An unknown key is a fault, and so is a key given twice. Keys marked *not yet* are known but their feature is not in this
version: a value other than the default is refused.

## Environment

`TURNOUT_` and the path of a value, with `__` between its parts, stands in for the value in the file:
`TURNOUT_ROUTING__POLICIES__DEFAULT__STRATEGY=COST`. In names of providers `_` stands for `-`. Lists of names are
separated by commas; anything else may be given as `[…]` or `{…}`. Short forms, where they concern a policy the default
one: `TURNOUT_STRATEGY`, `TURNOUT_COST_WEIGHT`, `TURNOUT_LATENCY_WEIGHT`, `TURNOUT_AVAILABILITY_WEIGHT`,
`TURNOUT_HEALTH_CHECK_INTERVAL`, `TURNOUT_METRICS_WINDOW`, `TURNOUT_LOG_LEVEL`. An unknown variable only warns.

## Keys

A provider's keys are used in this order, the next taking over when one fails: the pool (`credentials`; those bound to
the caller's tenant first), then `token`, then `api_key_file`, then `api_key_env`, then the vendor's usual variable.
"""


def markdown() -> str:
    """Returns the document."""
    day, source = origin()
    lines = [_HEAD, "| key | default | meaning |", "|---|---|---|"]
    lines += list(_rows(Configuration, ""))
    lines += ["", "## Models known by name", ""]
    lines += [
        f"Prices and windows of {day} ({source}), USD per million tokens. A model is deprecated, and never chosen",
        "unless named, from the day on which its vendor stops serving it. Rows of your own are laid over these by",
        "`catalog.models`, `catalog.overlay_files` and `providers.NAME.models`; `turnout models` lists what results.",
    ]
    for provider in built_in(date.fromisoformat(day)).values():
        lines += list(_models(provider))
    return "\n".join(lines) + "\n"


def _rows(section: type[BaseModel], path: str) -> Iterator[str]:
    for name, info in section.model_fields.items():
        here = f"{path}{name}"
        kind = plain(info.annotation)
        if is_section(kind):
            yield _row(here, "", info)
            yield from _rows(kind, f"{here}.")
        elif is_table(kind) and is_section(inner := plain(get_args(kind)[1])):
            yield _row(f"{here}.NAME", "", info)
            yield from _rows(inner, f"{here}.NAME.")
        elif get_origin(kind) in _LISTS and is_section(inner := plain(get_args(kind)[0])):
            yield _row(f"{here}[]", "", info)
            yield from _rows(inner, f"{here}[].")
        else:
            yield _row(here, _default(info), info)


_LISTS: tuple[Any, ...] = (tuple, list)


def _row(path: str, default: str, info: FieldInfo) -> str:
    meaning = info.description or ""
    extra = info.json_schema_extra
    if isinstance(extra, Mapping) and NOT_YET in extra:
        meaning = f"*Not yet (refused).* {meaning}"
    meaning = meaning.replace("|", r"\|").strip()
    return f"| `{path}` | {default} | {meaning} |"


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return f"`{json.dumps(_plain_value(value))}`"


def _plain_value(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [_plain_value(one) for one in value]
    return value


def _models(provider: ProviderRow) -> Iterator[str]:
    yield ""
    yield f"### {provider.name}"
    yield ""
    yield f"Switched on by {' or '.join(f'`{variable}`' for variable in provider.key_variables)}."
    if provider.regions:
        yield f"Has addresses of its own in the regions {', '.join(f'`{region}`' for region in provider.regions)}."
    if not provider.models:
        yield "Its models are found when the sidecar runs."
        return
    yield ""
    yield "| model | window | longest answer | input | output | cached | quality | |"
    yield "|---|---|---|---|---|---|---|---|"
    for model in provider.models:
        price = model.price
        assert price is not None
        cached = price.cached_input_per_million
        cells = (
            model.name,
            str(model.context_window_tokens),
            str(model.max_output_tokens),
            _usd(price.input_per_million),
            _usd(price.output_per_million),
            _usd(cached) if cached is not None else "",
            f"{model.quality:g}",
            "; ".join(_notes(model, price)),
        )
        yield f"| {' | '.join(cells)} |"


def _notes(model: ModelRow, price: Price) -> Iterator[str]:
    if model.deprecated:
        yield "deprecated: only where named"
    if price.tiers:
        yield f"dearer above {price.tiers[0].above_input_tokens} input tokens"
    if model.retires_on and not model.deprecated:
        yield f"served until {model.retires_on}"
    if model.regional_uplift != 1:
        yield f"{model.regional_uplift} times the price in a region"


def _usd(nano: int) -> str:
    return f"{nano / NANO_USD:g}"
