"""`python -m catalog FILE` (`make catalog`): writes the table of models from the package genai-prices and our columns.

The package is large and slow to import, so it is a tool of the developers: what the server reads is one JSON file,
one line for each model.
"""

from __future__ import annotations

import argparse
import importlib.metadata
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import yaml
from genai_prices import data
from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, StartDateConstraint, TieredPrices

COLUMNS = Path(__file__).with_name("columns.yaml")
CLASSES: Mapping[str, str] = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cached": "cache_read_mtok",
    "written": "cache_write_mtok",
    "written_1h": "cache_write_1h_mtok",
    "audio": "input_audio_mtok",
    "cached_audio": "cache_audio_read_mtok",
}
"""Our names of the classes of tokens, and the package's."""


def main() -> None:
    """Writes the file; ends with an error that names the model where a column or a price is missing."""
    parser = argparse.ArgumentParser(prog="python -m catalog", description=__doc__)
    parser.add_argument("file", type=Path, help="where to write")
    parser.add_argument("--date", default=date.today().isoformat(), help="the day it is made on")  # noqa: DTZ011 - a label
    asked = parser.parse_args()
    asked.file.write_bytes(made(asked.date))


def made(day: str) -> bytes:
    """Returns the table as JSON."""
    columns = yaml.safe_load(COLUMNS.read_text())
    lines = [
        "{",
        f' "date": "{day}",',
        f' "source": "genai-prices {importlib.metadata.version("genai-prices")}",',
        ' "providers": {',
    ]
    providers = columns["providers"].items()
    for place, (name, provider) in enumerate(providers):
        facts = {key: provider[key] for key in ("wire", "base_url", "key_variables", "regions") if key in provider}
        lines.append(f'  {_json(name)}: {{{_json(facts)[1:-1]}, "models": {{')
        rows = [f"   {_json(model)}: {_json(row)}" for model, row in _rows(name, provider, columns)]
        lines += [*(f"{row}," for row in rows[:-1]), *rows[-1:], "  }}" + ("," if place + 1 < len(providers) else "")]
    return ("\n".join([*lines, " }", "}"]) + "\n").encode()


def _rows(name: str, provider: Mapping[str, Any], columns: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    prices_of = provider.get("prices_of", name)
    priced = next((one for one in data.providers if one.id == prices_of), None)
    for model, column in provider["models"].items():
        known = None if priced is None else priced.find_model(column.get("priced_as", model))
        uplift = column.get("uplift", provider.get("uplift"))
        row = _row(f"{name}/{model}", column, known, columns)
        yield model, row if uplift is None else {**row, "uplift": uplift}


def _row(name: str, column: Mapping[str, Any], known: ModelInfo | None, columns: Mapping[str, Any]) -> dict[str, Any]:
    family = columns["families"][column["family"]]
    own = column.get("price")
    if own is None and known is None:
        raise SystemExit(f"{name}: genai-prices has no such model; give it a price, or the name it is priced_as")
    window = column.get("window") or (known.context_window if known is not None else None)
    if window is None:
        raise SystemExit(f"{name}: genai-prices has no context window; give it one")
    row: dict[str, Any] = {
        "window": window,
        "longest": column["longest"],
        "quality": family["quality"],
        "first_token_seconds": family["first_token_seconds"],
        "seconds_per_output_token": family["seconds_per_output_token"],
        "can": columns["abilities"][column["can"]],
        "prices": [own] if own is not None else list(_prices(name, known)),
    }
    if column.get("thinks"):
        row["thinks"] = True
    if column.get("retired") or (known is not None and known.deprecated):
        row["retired"] = True
    if "retires_on" in column:
        row["retires_on"] = column["retires_on"].isoformat()
    return row


def _prices(name: str, known: ModelInfo | None) -> Iterator[dict[str, Any]]:
    """Yields the price, or one for each day from which another holds, the first without a day."""
    assert known is not None
    steps = known.prices if isinstance(known.prices, list) else [ConditionalPrice(constraint=None, prices=known.prices)]
    for step in steps:
        if step.constraint is None:
            yield _price(name, step.prices)
        elif isinstance(step.constraint, StartDateConstraint):
            yield {"from": step.constraint.start_date.isoformat(), **_price(name, step.prices)}
        # Prices by the time of day are not known here: what holds by night is left out.


def _price(name: str, price: ModelPrice) -> dict[str, Any]:
    values = {ours: getattr(price, theirs, None) for ours, theirs in CLASSES.items()}
    if values["input"] is None or values["output"] is None:
        raise SystemExit(f"{name}: genai-prices has no price for its tokens")
    starts = sorted(
        {tier.start for value in values.values() if isinstance(value, TieredPrices) for tier in value.tiers}
    )
    found: dict[str, Any] = {key: _text(value, 0) for key, value in values.items() if value is not None}
    if starts:
        found["above"] = [
            {"tokens": start, **{key: _text(value, start) for key, value in values.items() if value is not None}}
            for start in starts
        ]
    return found


def _text(value: Decimal | TieredPrices, start: int) -> str:
    """Returns what holds for prompts above `start` tokens, as the exact number it is."""
    if isinstance(value, TieredPrices):
        reached: Iterable[Decimal] = (tier.price for tier in value.tiers if tier.start <= start)
        value = value.base if start == 0 else list(reached)[-1]
    return f"{value.normalize():f}"


def _json(value: object) -> str:
    return orjson.dumps(value).decode().replace('":', '": ').replace(',"', ', "')


if __name__ == "__main__":
    main()
