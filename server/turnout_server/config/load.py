"""From a file and the environment to one checked configuration; everything wrong with it is told at once."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from turnout_server.config.check import check, warnings_of
from turnout_server.config.describe import belongs, kind_at, known_keys, later_values
from turnout_server.config.environment import FILE_VARIABLE, Overlay, lay_over, read_environment
from turnout_server.config.faults import ConfigurationError, Fault, Path, Place, did_you_mean
from turnout_server.config.schema import Configuration
from turnout_server.config.yaml_file import Document, read_yaml

MAX_FILE_BYTES = 4 * 1024 * 1024
NOT_YET_TEXT = "not in this version yet"

_INLINE_SECRETS = frozenset({"api_key", "key", "token", "password", "secret"})


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
    for path, message in check(configuration, environ, files=files):
        if not any(_within(path, place) for place in places):
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
    """Validates, taking out what is wrong until the rest stands, so that the rest can be checked as well."""
    faults: dict[Path, Fault] = {}
    places: set[Path] = set()
    while True:
        try:
            return Configuration.model_validate(values), list(faults.values()), places
        except ValidationError as error:
            removed: set[Path] = set()
            for details in error.errors(include_url=False, include_context=True, include_input=False):
                path, message = _explain(details, values)
                faults.setdefault(path, sources.fault(path, message))
                removed.add(path[:-1] if details["type"] == "missing" else path)
            places |= removed
            rest = _without(values, removed)
            # Whatever could not be taken out by itself goes with the whole block it stands in.
            values = rest if rest != values else _without(values, {path[:1] for path in removed})


def _explain(details: ErrorDetails, values: Mapping[str, Any]) -> tuple[Path, str]:
    path = _real_path(tuple(details["loc"]), values)
    match details["type"]:
        case "extra_forbidden":
            message = _unknown(path)
        case "missing":
            message = "the key is required"
        case "value_error":
            message = str(details["ctx"]["error"])
        case "model_type" | "dict_type" | "model_attributes_type":
            message = "a block of keys is needed here"
        case "tuple_type" | "list_type":
            message = "a list is needed here"
        case "enum" | "literal_error":
            message = f"must be one of {details['ctx']['expected']}"
        case _:
            message = details["msg"][:1].lower() + details["msg"][1:]
    return path, message


def _unknown(path: Path) -> str:
    name = str(path[-1])
    if name in _INLINE_SECRETS:
        keys = "token_file or token_env" if path[0] == "listen" else "api_key_file or api_key_env"
        return f"keys and secrets are given by reference only: {keys}"
    known = known_keys(kind_at(Configuration, path[:-1]))
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


def _within(path: Path, place: Path) -> bool:
    return path[: len(place)] == place or place[: len(path)] == path


def _order(fault: Fault) -> tuple[int, int, str]:
    if fault.place is None:
        return (1_000_000_000, 0, str(fault))
    return (fault.place.line, fault.place.column, str(fault))
