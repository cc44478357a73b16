"""What is wrong with a configuration, said so that it can be put right: where, what, and what would be right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from turnout_server.core.near_names import near_name

Path = tuple[str | int, ...]
"""Keys and list places from the top of the configuration."""

Finding = tuple[Path, str]
"""What is wrong, and where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in a file something stands; line and column count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault. `origin` is the file or the environment variable it came from; the message never holds a secret."""

    message: str
    path: Path = ()
    origin: str = ""
    place: Place | None = None

    def __str__(self) -> str:
        where = self.origin
        if self.place is not None:
            where = f"{where}:{self.place.line}:{self.place.column}"
        return ": ".join(part for part in (where, dotted(self.path), self.message) if part)


class ConfigurationError(Exception):
    """The configuration cannot be used; `faults` has everything that is wrong with it."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


def dotted(path: Path) -> str:
    """Returns the path as operators write it: `providers.openai.credentials[0].name`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns the known name that `name` was most likely meant to be, "" where none is near."""
    names = list(known)
    folded = {candidate.lower().replace("-", "_"): candidate for candidate in names}
    wanted = name.lower().replace("-", "_")
    if wanted in folded:
        return folded[wanted]
    return folded.get(near_name(wanted, folded), "")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns the end of a sentence that offers the nearest known name, or the few there are, "" where none helps."""
    names = sorted(set(known))
    near = nearest(name, names)
    if near:
        return f'; did you mean "{near}"?'
    few = 8
    return f"; known are {', '.join(names)}" if 0 < len(names) <= few else ""
