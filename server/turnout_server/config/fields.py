"""The kinds of values that a configuration is made of, and how a key says that its feature is still to come."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

NOT_YET = "x-not-yet"
"""In the JSON schema: the key is known, its feature is not in this version, and a value is refused."""

YEAR_SECONDS = 366 * 86400.0


def later(default: Any, description: str) -> Any:
    """A field whose feature is not in this version yet: any value but the default is a fault, since going on without
    the feature would not be what the operator asked for.
    """
    extra: dict[str, Any] = {NOT_YET: "refused"}
    if callable(default):
        return Field(default_factory=default, description=description, json_schema_extra=extra)
    return Field(default, description=description, json_schema_extra=extra)


class Section(BaseModel):
    """A block of keys. Keys that are not known are faults; an empty block in YAML is a block of defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, value: Any) -> Any:
        return {} if value is None else value


def _no_switch(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")  # noqa: TRY004 - pydantic reports ValueError only
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a finite number is needed")
    return value


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _names(value: Any) -> Any:
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _empty_table(value: Any) -> Any:
    return {} if value is None else value


NUMBER = BeforeValidator(_no_switch)
"""A number, and neither a switch nor infinite. It stands behind the bounds: before them the JSON schema loses them."""

UPPER = BeforeValidator(_upper)
"""Names of the contract's enums may be written in any case."""

LOWER = BeforeValidator(_lower)

TABLE = BeforeValidator(_empty_table)
"""An empty table in YAML is a table without rows."""

Seconds = Annotated[float, Field(gt=0, le=YEAR_SECONDS, allow_inf_nan=False), NUMBER]
SecondsOr0 = Annotated[float, Field(ge=0, le=YEAR_SECONDS, allow_inf_nan=False), NUMBER]
Usd = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False), NUMBER]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), NUMBER]
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False), NUMBER]
Weight = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False), NUMBER]
Count = Annotated[int, Field(ge=1, le=10_000_000), NUMBER]
CountOr0 = Annotated[int, Field(ge=0, le=10_000_000), NUMBER]
Tokens = Annotated[int, Field(ge=1, le=100_000_000), NUMBER]
Mebibytes = Annotated[int, Field(ge=1, le=65536), NUMBER]
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
"""A list of names; in an environment variable they are separated by commas."""
