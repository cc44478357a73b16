"""Compares what came with what a case expects, and says in one line each what differs.

Only what is expected is looked at: an answer may say more. The words that cases use for "anything like this" are YAML
tags, listed in README.md; each is one class here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

RELATIVE = 1e-6
SOMETHING = "<something>"
NOTHING = "<nothing>"
"""Words for anything but nothing, and for nothing: absent or empty."""

SHOWN = 300
"""Characters of a value that a difference shows: enough to see what it is, also where it is 20 MB."""


@runtime_checkable
class Matcher(Protocol):
    """Something that a value may be like."""

    def differences(self, actual: Any, path: str) -> Iterator[str]:
        """Yields what is wrong with it; nothing where it fits."""
        ...


def differences(expected: Any, actual: Any, path: str = "") -> Iterator[str]:
    """Yields one line for each difference; `path` is where in the answer it is."""
    if isinstance(expected, Matcher):
        yield from expected.differences(actual, path)
    elif isinstance(expected, Mapping):
        if not isinstance(actual, Mapping):
            yield _line(path, expected, actual)
            return
        for name, part in expected.items():
            yield from differences(part, actual.get(name), f"{path}.{name}" if path else str(name))
    elif isinstance(expected, Sequence) and not isinstance(expected, str):
        yield from _in_list(expected, [] if actual is None else actual, path)
    elif not _equal(expected, actual):
        yield _line(path, expected, actual)


def _in_list(expected: Sequence[Any], actual: Any, path: str) -> Iterator[str]:
    if not isinstance(actual, Sequence) or isinstance(actual, str) or len(actual) != len(expected):
        yield _line(path, expected, actual)
        return
    for place, part in enumerate(expected):
        yield from differences(part, actual[place], f"{path}[{place}]")


def _equal(expected: Any, actual: Any) -> bool:
    if expected in (SOMETHING, NOTHING):
        return (actual is None or actual in ("", [], {})) is (expected == NOTHING)
    if expected is False:
        # JSON of protobuf leaves out what is false.
        return actual is None or actual is False
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    if isinstance(expected, int | float) and isinstance(actual, int | float):
        return abs(expected - actual) <= RELATIVE * max(abs(expected), abs(actual))
    return bool(expected == actual)


def shown(value: Any) -> str:
    """Returns a value as a line shows it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text)} characters)"


def _line(path: str, expected: Any, actual: Any) -> str:
    return f"{path or 'it'}: expected {shown(expected)}, got {shown(actual)}"


@dataclass(frozen=True)
class Within:
    """A number, or one written as a string, of at least `least` and at most `most`."""

    least: float
    most: float

    def differences(self, actual: Any, path: str) -> Iterator[str]:
        try:
            number = float(actual)
        except (TypeError, ValueError):
            number = float("nan")
        if isinstance(actual, bool) or not self.least <= number <= self.most:
            yield _line(path, f"a number from {self.least:g} to {self.most:g}", actual)


@dataclass(frozen=True)
class OneOf:
    """Like one of these."""

    choices: tuple[Any, ...]

    def differences(self, actual: Any, path: str) -> Iterator[str]:
        if all(next(differences(choice, actual, path), None) is not None for choice in self.choices):
            yield _line(path, f"one of {list(self.choices)}", actual)


@dataclass(frozen=True)
class Not:
    """Not like this."""

    unlike: Any

    def differences(self, actual: Any, path: str) -> Iterator[str]:
        if next(differences(self.unlike, actual, path), None) is None:
            yield _line(path, f"not {shown(self.unlike)}", actual)


@dataclass(frozen=True)
class Text:
    """A text in which this regular expression is found, upper and lower case alike."""

    pattern: str

    def differences(self, actual: Any, path: str) -> Iterator[str]:
        if not isinstance(actual, str) or not re.search(self.pattern, actual, re.IGNORECASE | re.DOTALL):
            yield _line(path, f"a text with {self.pattern!r}", actual)


@dataclass(frozen=True)
class Count:
    """A list or text of such a length."""

    length: Any

    def differences(self, actual: Any, path: str) -> Iterator[str]:
        found = 0 if actual is None else len(actual) if isinstance(actual, Sequence | Mapping) else None
        yield from differences(self.length, found, f"the length of {path or 'it'}")


@dataclass(frozen=True)
class Includes:
    """A list in which there is at least one like each of these, in any order."""

    wanted: tuple[Any, ...]

    def differences(self, actual: Any, path: str) -> Iterator[str]:
        found = actual if isinstance(actual, Sequence) and not isinstance(actual, str) else ()
        for one in self.wanted:
            if not any(next(differences(one, item, path), None) is None for item in found):
                yield _line(path, f"a list with {shown(one)}", actual)


@dataclass(frozen=True)
class Each:
    """A list, not an empty one, in which everything is like this."""

    like: Any

    def differences(self, actual: Any, path: str) -> Iterator[str]:
        if not isinstance(actual, Sequence) or isinstance(actual, str) or not actual:
            yield _line(path, "a list that is not empty", actual)
            return
        for place, item in enumerate(actual):
            yield from differences(self.like, item, f"{path}[{place}]")
