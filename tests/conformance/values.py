"""Reads cases' YAML with its tags, and fills in what is known only when a case runs, such as `${address}`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import yaml

from tests.conformance.expectations import Count, Each, Includes, Not, OneOf, Text, Within

_REFERENCE = re.compile(r"\$\{([^}]+)\}")


@dataclass(frozen=True)
class LongText:
    """A text of so many bytes, made when it is needed."""

    byte_count: int


class CaseError(Exception):
    """A case that cannot be read, or that names what is not there; its text says where and what would be right."""


class CaseLoader(yaml.SafeLoader):
    """Reads YAML with the tags of cases, and nothing that could run code."""


_TAGS: Mapping[str, Callable[[Any], Any]] = {
    "at_least": lambda value: Within(float(value), math.inf),
    "at_most": lambda value: Within(-math.inf, float(value)),
    "between": lambda value: Within(float(value[0]), float(value[1])),
    "one_of": lambda value: OneOf(tuple(value)),
    "not": Not,
    "text": lambda value: Text(str(value)),
    "count": Count,
    "longer": lambda value: Count(Within(float(value), math.inf)),
    "count_between": lambda value: Count(Within(float(value[0]), float(value[1]))),
    "includes": lambda value: Includes(tuple(value)),
    "each": Each,
    "text_of": lambda value: LongText(int(value)),
}


def _tagged(loader: CaseLoader, name: str, node: yaml.Node) -> Any:
    if name not in _TAGS:
        raise CaseError(f"!{name} is not known; there are !{', !'.join(_TAGS)}")
    if isinstance(node, yaml.MappingNode):
        return _TAGS[name](loader.construct_mapping(node, deep=True))
    if isinstance(node, yaml.SequenceNode):
        return _TAGS[name](loader.construct_sequence(node, deep=True))
    # What stands behind a tag is read as if the tag were not there: 3 is a number, "3" a text.
    assert isinstance(node, yaml.ScalarNode)
    return _TAGS[name](node.value if node.style else yaml.safe_load(node.value))


CaseLoader.add_multi_constructor("!", _tagged)


def filled(value: Any, known: Mapping[str, Any]) -> Any:  # noqa: PLR0911 - one for each kind of value
    """Returns a value of a case with its references filled in. Raises `CaseError` for a name that is not known."""
    if isinstance(value, LongText):
        return ("0123456789abcde " * (value.byte_count // 16 + 1))[: value.byte_count]
    if isinstance(value, str):
        whole = _REFERENCE.fullmatch(value)
        if whole:
            return _found(whole[1], known)
        return _REFERENCE.sub(lambda match: str(_found(match[1], known)), value)
    if isinstance(value, Mapping):
        return {name: filled(part, known) for name, part in value.items()}
    if isinstance(value, Sequence):
        return type(value)(filled(part, known) for part in value)  # type: ignore[call-arg]  # a list or a tuple
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{part.name: filled(getattr(value, part.name), known) for part in fields(value)})
    return value


def _found(path: str, known: Mapping[str, Any]) -> Any:
    current: Any = known
    for name in path.split("."):
        if isinstance(current, Mapping) and name in current:
            current = current[name]
        elif isinstance(current, Sequence) and not isinstance(current, str) and name.isdigit():
            if int(name) >= len(current):
                raise CaseError(f"${{{path}}}: there is no element {name}; there are {len(current)}")
            current = current[int(name)]
        else:
            there = ", ".join(sorted(map(str, current))) if isinstance(current, Mapping) else repr(current)[:200]
            raise CaseError(f"${{{path}}}: {name!r} is not known; there is {there}")
    return current
