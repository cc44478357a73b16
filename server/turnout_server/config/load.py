"""From a file and the environment to one checked configuration; everything wrong with it is told at once."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from turnout_server.config.check import check, warnings_of
from turnout_server.config.describe import NO_KEY_TEXT, belongs, kind_at, known_keys, later_values, may_be_key
from turnout_server.config.environment import FILE_VARIABLE, Overlay, lay_over, read_environment
from turnout_server.config.faults import ConfigurationError, Fault, Path, Place, did_you_mean
from turnout_server.config.schema import Configuration
from turnout_server.config.wording import wording
from turnout_server.config.yaml_file import Document, read_yaml

MAX_FILE_BYTES = 4 * 1024 * 1024
NOT_YET_TEXT = "not in this version yet"

_INLINE_SECRETS = frozenset({"apikey", "apikeys", "key", "token", "password", "secret"})
_REFERENCES = re.compile(r"(^|_)(key|token|secret)_(file|env)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A configuration without faults. `origin` is its file, "" where there is none."""

    configuration: Configuration
    origin: str
    warnings: tuple[str, ...]
    opened: Opened = field(default_factory=dict, repr=False)
    """The files that it was read from."""
    is_empty: bool = False
    """Whether the file says nothing at all, not even that nothing is wanted (`{}`)."""


Opened = Mapping[str, str]
"""Files by their path, with a digest of what was read of each, UNREADABLE where nothing could be."""
UNREADABLE = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sources:
    """Where each value came from, for faults."""

    origin: str
    document: Document
    overlay: Overlay

    def fault(self, path: Path, message: str) -> Fault:
        """Returns a fault that names the variable, or the place in the file, that the path's value came from."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.overlay.variables:
                return Fault(origin=self.overlay.variables[path[:end]], path=path, message=message)
        return Fault(origin=self.origin, path=path, place=self._place(path), message=message)

    def _place(self, path: Path) -> Place | None:
        if not self.origin:
            return None
        return next(
            (self.document.places[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self.document.places),
            None,
        )


def look(paths: Iterable[str]) -> Opened:
    """Returns the digests of files as they are now. Blocks while it reads, but not for the other end of a pipe."""
    found: dict[str, str] = {}
    for path in paths:
        found[path] = UNREADABLE
        try:
            if stat.S_ISREG(FilePath(path).stat().st_mode):
                with FilePath(path).open("rb") as stream:
                    found[path] = _digest(stream.read(MAX_FILE_BYTES + 1))
        except OSError:
            pass
    return found


def load(
    file: str | None,
    environ: Mapping[str, str] = os.environ,
    *,
    files: bool = True,
    opened: dict[str, str] | None = None,
) -> Loaded:
    """Loads `file`, else the one that TURNOUT_CONFIG names, else none, and lays the environment over it.

    With `files` it is a fault when a file that the configuration names is missing. What is read is told to `opened`,
    faults or not. Raises ConfigurationError.
    """
    origin = file or environ.get(FILE_VARIABLE, "")
    opened = {} if opened is None else opened
    document = _read(origin, opened) if origin else Document(values={}, places={})
    overlay = read_environment(environ, document.values)
    sources = _Sources(origin=origin, document=document, overlay=overlay)
    values = lay_over(document.values, overlay)
    values, faults = _with_overlay_files(values, sources, opened, files=files)
    configuration, wrong, places = _validate(values, sources)
    faults += [*document.faults, *wrong]
    warnings = list(overlay.warnings)
    faults += [sources.fault(path, f"{NOT_YET_TEXT}; remove it") for path in later_values(configuration)]
    gaps = _gaps(places)
    for found, message in check(configuration, environ, files=files):
        path = _as_written(found, gaps)
        if not any(_within(path, place) or _is_passed_by(path, place) for place in places):
            faults.append(sources.fault(path, message))
    if faults:
        raise ConfigurationError(sorted(faults, key=_order))
    warnings += warnings_of(configuration, environ)
    return Loaded(
        configuration=configuration,
        origin=origin,
        warnings=tuple(warnings),
        opened=opened,
        is_empty=document.is_empty,
    )


def _with_overlay_files(
    values: dict[str, Any], sources: _Sources, opened: dict[str, str], *, files: bool
) -> tuple[dict[str, Any], list[Fault]]:
    """Lays the rows of the catalog's overlay files below those of `catalog.models`; tells what is wrong with them."""
    catalog = values.get("catalog")
    names = catalog.get("overlay_files") if isinstance(catalog, Mapping) else None
    if not isinstance(catalog, Mapping) or not isinstance(names, list | tuple):
        return values, []
    faults: list[Fault] = []
    rows: dict[str, list[Any]] = {}
    for place, name in enumerate(names):
        if not isinstance(name, str) or not name:
            continue
        try:
            found = _overlay_rows(name, opened)
        except ConfigurationError as error:
            missing = not FilePath(name).exists()
            if files and missing:
                faults.append(sources.fault(("catalog", "overlay_files", place), f"file {name} cannot be read"))
            elif not missing:
                faults += error.faults
            continue
        for provider, models in found.items():
            rows.setdefault(provider, []).extend(models)
    own = catalog.get("models")
    for provider, models in (own if isinstance(own, Mapping) else {}).items():
        if isinstance(models, list | tuple):
            rows.setdefault(str(provider), []).extend(models)
        else:
            rows[str(provider)] = models
    return {**values, "catalog": {**catalog, "models": rows}} if rows else values, faults


def _overlay_rows(name: str, opened: dict[str, str]) -> Mapping[str, list[Any]]:
    """Reads one overlay file, checked as if its rows stood in `catalog.models`. Raises ConfigurationError."""
    document = _read(name, opened)
    places = {("catalog", *path): place for path, place in document.places.items()}
    sources = _Sources(origin=name, document=replace(document, places=places), overlay=Overlay())
    _, wrong, _ = _validate({"catalog": document.values}, sources)
    faults = [*document.faults, *(replace(fault, path=fault.path[1:]) for fault in wrong)]
    faults += [
        Fault(origin=name, path=(str(key),), message="an overlay file has the one key models")
        for key in document.values
        if key != "models" and not any(fault.path[:1] == (key,) for fault in faults)
    ]
    if faults:
        raise ConfigurationError(faults)
    return {str(provider): list(models) for provider, models in (document.values.get("models") or {}).items()}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(origin: str, opened: dict[str, str]) -> Document:
    opened[origin] = UNREADABLE
    try:
        with FilePath(origin).open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            [Fault(origin=origin, message=f"the file cannot be read: {error.strerror or error}")]
        ) from None
    opened[origin] = _digest(content)
    if len(content) > MAX_FILE_BYTES:
        raise ConfigurationError([Fault(origin=origin, message="the file is larger than 4 MiB")])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        place = Place(line=line, column=column)
        raise ConfigurationError([Fault(origin=origin, place=place, message="the file is not UTF-8 text")]) from None
    return read_yaml(text, origin)


def _validate(values: dict[str, Any], sources: _Sources) -> tuple[Configuration, list[Fault], set[Path]]:
    """Validates, taking out what is wrong until the rest stands, so that the rest can be checked as well.

    Returns the rest, the faults and what was taken out, by its places in `values`.
    """
    faults: dict[Path, Fault] = {}
    places: set[Path] = set()
    rest = values
    while True:
        try:
            return Configuration.model_validate(rest), list(faults.values()), places
        except ValidationError as error:
            removed: set[Path] = set()
            gaps = _gaps(places)
            for details in error.errors(include_url=False, include_context=True, include_input=False):
                found, message = _explain(details, rest)
                path = _as_written(found, gaps)
                fault = sources.fault(path, message)
                if details["type"] == "extra_forbidden" and not may_be_key(str(path[-1])):
                    fault = replace(fault, path=path[:-1])
                faults.setdefault(path, fault)
                removed.add(path[:-1] if details["type"] == "missing" else path)
            before, rest = rest, _without(values, places | removed)
            if rest == before:
                # Whatever could not be taken out by itself goes with the whole block it stands in.
                removed |= {path[:1] for path in removed}
                rest = _without(values, places | removed)
            places |= removed


def _explain(details: ErrorDetails, values: Mapping[str, Any]) -> tuple[Path, str]:
    path = _real_path(tuple(details["loc"]), values)
    return path, _unknown(path) if details["type"] == "extra_forbidden" else wording(details)


def _unknown(path: Path) -> str:
    name = str(path[-1])
    known = known_keys(kind_at(Configuration, path[:-1]))
    if name.lower().replace("-", "").replace("_", "") in _INLINE_SECRETS:
        usual = ("token_file", "token_env") if path[0] == "listen" else ("api_key_file", "api_key_env")
        keys = [key for key in known if _REFERENCES.search(key)] or usual
        return f"keys and secrets are given by reference only: {' or '.join(keys)}"
    if not may_be_key(name):
        return NO_KEY_TEXT
    return f"unknown key{belongs(name, known)}{did_you_mean(name, known)}"


def _real_path(loc: Path, values: Any) -> Path:
    """Returns the part of pydantic's location that is keys and places; what follows names choices of a union."""
    path: Path = ()
    level = values
    for i, key in enumerate(loc):
        last = i == len(loc) - 1
        if isinstance(level, Mapping) and (key in level or last or kind_at(Configuration, (*path, key)) is not None):
            path = (*path, key)
            level = level.get(key)
        elif isinstance(level, list | tuple) and isinstance(key, int):
            path = (*path, key)
            level = level[key] if key < len(level) else None
        else:
            break
    return path


def _without(values: Any, removed: set[Path], path: Path = ()) -> Any:
    if isinstance(values, Mapping):
        return {
            key: _without(value, removed, (*path, key)) for key, value in values.items() if (*path, key) not in removed
        }
    if isinstance(values, list | tuple):
        return [_without(value, removed, (*path, i)) for i, value in enumerate(values) if (*path, i) not in removed]
    return values


def _gaps(removed: set[Path]) -> Mapping[Path, list[int]]:
    """Returns for each list, by its place, how many of its rows are left before each that was taken out."""
    rows: dict[Path, list[int]] = {}
    for path in removed:
        if path and isinstance(path[-1], int):
            rows.setdefault(path[:-1], []).append(path[-1])
    return {path: [row - before for before, row in enumerate(sorted(numbers))] for path, numbers in rows.items()}


def _as_written(path: Path, gaps: Mapping[Path, list[int]]) -> Path:
    """Returns a path in what is left as one in the whole: rows that were taken out count again."""
    whole: Path = ()
    for key in path:
        rows = gaps.get(whole, ()) if isinstance(key, int) else ()
        whole = (*whole, key + bisect_right(rows, key) if isinstance(key, int) else key)
    return whole


def _is_passed_by(path: Path, place: Path) -> bool:
    """Whether a row of `routing.select` is found fault with for its neighbours, of which one is not whole."""
    return path[:2] == place[:2] == ("routing", "select") and len(path) == 3  # noqa: PLR2004 - block, list, row


def _within(path: Path, place: Path) -> bool:
    return path[: len(place)] == place or place[: len(path)] == path


def _order(fault: Fault) -> tuple[int, int, str]:
    if fault.place is None:
        return (1_000_000_000, 0, str(fault))
    return (fault.place.line, fault.place.column, str(fault))
