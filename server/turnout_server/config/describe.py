"""What the schema knows about a path: which keys there are, where tables begin, which features are still to come."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from turnout_server.config.faults import Path, nearest
from turnout_server.config.fields import NOT_YET
from turnout_server.config.schema import Configuration

Kind = Any
"""A type as annotations write it."""

DIGITS_MAXIMUM = 4
"""Of a name that may still be a slip of a key; keys have two at most."""
NO_KEY_TEXT = "unknown key, not repeated since it may hold a secret; write keys as in `key: value`, with the space"
PLACES_MAXIMUM = 3
"""Of a key that there is at more places (`name`, `enabled`) it cannot be told which of them was meant."""


def plain(kind: Kind) -> Kind:
    """Returns a type without its constraints, and without None where that is the only other choice."""
    origin: Any = get_origin(kind)
    if origin is Annotated:
        return plain(get_args(kind)[0])
    if origin in {Union, types.UnionType}:
        rest = [plain(one) for one in get_args(kind) if one is not type(None)]
        if len(rest) == 1:
            return rest[0]
    return kind


def is_section(kind: Kind) -> bool:
    """Whether a type is a block of known keys."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def is_table(kind: Kind) -> bool:
    """Whether a type is a table whose keys are names of the operator's."""
    origin: Any = get_origin(kind)
    return origin is dict


def below(kind: Kind, key: str | int) -> Kind | None:
    """Returns the type of what stands under a key or place; None where there is no such thing."""
    if is_section(kind):
        found: FieldInfo | None = kind.model_fields.get(str(key))
        return None if found is None else plain(found.annotation)
    if is_table(kind) and isinstance(key, str):
        return plain(get_args(kind)[1])
    origin: Any = get_origin(kind)
    if origin in {tuple, list} and isinstance(key, int):
        return plain(get_args(kind)[0])
    return None


def kind_at(top: type[BaseModel], path: Path) -> Kind | None:
    """Returns the type at a path, None where the schema has nothing there."""
    kind: Kind | None = top
    for key in path:
        if kind is None:
            return None
        kind = below(kind, key)
    return kind


def known_keys(kind: Kind) -> tuple[str, ...]:
    """Returns the keys of a block; none for anything else."""
    return tuple(kind.model_fields) if is_section(kind) else ()


def may_be_key(name: str) -> bool:
    """Whether a name can be meant as a key: of letters as keys have them, and no longer than the longest there is.

    A vendor's secret is longer or full of digits; one that slipped into the place of a key must not be repeated.
    """
    as_letters = name.replace("-", "_").isidentifier() and sum(map(str.isdigit, name)) <= DIGITS_MAXIMUM
    return as_letters and len(name) <= max(map(len, _places()))


def belongs(name: str, known: Iterable[str]) -> str:
    """Returns the middle of a sentence that says where a key of this name belongs, "" for none and for many places.

    Where none of the `known` keys beside it is near, one more or less "s" makes it no other name.
    """
    wanted, found = _folded(name), _places()
    if wanted.removesuffix("s") in {key.removesuffix("s") for key in known}:
        # The key beside it is meant, whatever there is elsewhere.
        return ""
    places = found.get(wanted, ())
    if not places and not nearest(name, known):
        places = found.get(f"{wanted}s") or found.get(wanted.removesuffix("s"), ())
    return f"; it belongs at {' or '.join(places)}" if 0 < len(places) <= PLACES_MAXIMUM else ""


@cache
def _places() -> Mapping[str, tuple[str, ...]]:
    """Every key of the schema with its places as operators write them, the shortest first."""
    found: dict[str, list[str]] = {}
    for key, place in _keys(Configuration, "", frozenset()):
        found.setdefault(_folded(key), []).append(place)
    return {key: tuple(sorted(places, key=lambda place: (place.count("."), place))) for key, places in found.items()}


def _keys(kind: Kind, path: str, above: frozenset[Kind]) -> Iterator[tuple[str, str]]:
    """Yields the keys below a type with their places; a block that may stand in itself is gone into once."""
    kind = plain(kind)
    if is_section(kind):
        for key, info in kind.model_fields.items() if kind not in above else ():
            if _not_yet(info):
                continue
            place = f"{path}.{key}" if path else key
            yield key, place
            yield from _keys(info.annotation, place, above | {kind})
    elif is_table(kind):
        yield from _keys(get_args(kind)[1], f"{path}.<name>", above)
    else:
        origin: Any = get_origin(kind)
        each = "[]" if origin in {tuple, list} else ""
        for one in get_args(kind) if each or origin in {Union, types.UnionType} else ():
            yield from _keys(one, path + each, above)


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")


def later_values(section: BaseModel, path: Path = ()) -> Iterator[Path]:
    """Yields the paths of values that differ from the default although their feature is not in this version."""
    for name, info in type(section).model_fields.items():
        value = getattr(section, name)
        here = (*path, name)
        if _not_yet(info):
            if value != info.get_default(call_default_factory=True):
                yield here
        else:
            yield from _within(value, here)


def _not_yet(info: FieldInfo) -> bool:
    extra = info.json_schema_extra
    return isinstance(extra, Mapping) and NOT_YET in extra


def _within(value: object, path: Path) -> Iterator[Path]:
    if isinstance(value, BaseModel):
        yield from later_values(value, path)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _within(one, (*path, key))
    elif isinstance(value, tuple):
        for place, one in enumerate(value):
            yield from _within(one, (*path, place))


def json_schema() -> dict[str, Any]:
    """Returns the JSON schema of the configuration file."""
    schema = Configuration.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "turnout.yaml"}
