"""Reads values.yaml as a text for people: sections, and for each value its default and the comment above it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

Path = tuple[str, ...]


class ValuesError(Exception):
    """values.yaml cannot be documented; the message names the value or line and says what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One value that is documented by itself. `section` is the title of the part of the file it stands in."""

    path: Path
    default: Any
    comment: str
    section: str


def read_values(text: str) -> tuple[Value, ...]:
    """Returns all documented values in the order of the file.

    A block is one value unless something in it has a comment of its own. Raises ValuesError where a value has none.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        raise ValuesError("values.yaml: a block of values is needed")
    return tuple(_within(root, yaml.safe_load(text), (), text.splitlines()))


def _within(node: yaml.MappingNode, values: Any, path: Path, lines: Sequence[str]) -> Iterator[Value]:
    for key, value in node.value:
        here = (*path, str(key.value))
        line: int = key.start_mark.line
        comment = _comment(lines, line)
        if isinstance(value, yaml.MappingNode) and any(_comments_in(value, lines, line)):
            yield from _within(value, values[key.value], here, lines)
            continue
        if not comment:
            raise ValuesError(f"values.yaml:{line + 1}: {'.'.join(here)} has no comment above it")
        yield Value(path=here, default=values[key.value], comment=comment, section=_section(lines, line))


def _comments_in(node: yaml.MappingNode, lines: Sequence[str], outer: int) -> Iterator[str]:
    for key, value in node.value:
        line: int = key.start_mark.line
        if line != outer:
            yield _comment(lines, line)
        if isinstance(value, yaml.MappingNode):
            yield from _comments_in(value, lines, line)


def _comment(lines: Sequence[str], line: int) -> str:
    """Returns the comment that stands directly above a line, as one paragraph."""
    found: list[str] = []
    while line > 0 and (text := lines[line - 1].strip()).startswith("#") and not text.startswith("##"):
        found.append(text.removeprefix("#").strip())
        line -= 1
    return " ".join(reversed(found))


def _section(lines: Sequence[str], line: int) -> str:
    for text in reversed(lines[:line]):
        if text.startswith("## "):
            return text.removeprefix("## ").strip()
    raise ValuesError(f'values.yaml:{line + 1}: stands in no section; write a line "## Title" above it')
