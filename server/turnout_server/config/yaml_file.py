"""Reads YAML so that faults can be told by line and column, and so that a key given twice is a fault, not a riddle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from turnout_server.config.faults import ConfigurationError, Fault, Path, Place

MAX_NODES = 100_000
"""More values than this are no configuration but an accident, or aliases multiplied."""

MAX_DEPTH = 100

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "tag:yaml.org,2002:merge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Values as plain dicts, lists and scalars, and where each of them stands."""

    values: dict[str, Any]
    places: Mapping[Path, Place]
    faults: tuple[Fault, ...] = ()
    is_empty: bool = False
    """Whether the file says nothing at all."""


@dataclass(slots=True)
class _Walk:
    loader: Any
    origin: str
    places: dict[Path, Place] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    open_nodes: set[int] = field(default_factory=set)
    node_count: int = 0

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.node_count += 1
        if self.node_count > MAX_NODES:
            raise _hopeless(self.origin, f"the file stands for more than {MAX_NODES} values")
        if len(self.open_nodes) > MAX_DEPTH:
            raise _hopeless(self.origin, "aliases make the file nested too deeply")
        self.places.setdefault(path, _place(node.start_mark))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if id(node) in self.open_nodes:
            self._fault(node, path, "the block contains itself through an alias")
            return None
        self.open_nodes.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
            assert isinstance(node, yaml.MappingNode)
            return self._mapping(node, path)
        finally:
            self.open_nodes.discard(id(node))

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        try:
            return self.loader.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            reason = getattr(error, "problem", None) or "the value cannot be read"
            self._fault(node, path, str(reason))
            return None

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: list[dict[str, Any]] = []
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                several = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                merged += [value for one in several if isinstance(value := self.value(one, path), dict)]
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._fault(key_node, path, "a key must be a plain word")
                continue
            key = str(key_node.value)
            below = (*path, key)
            if key in found:
                first = self.places[below]
                self._fault(key_node, below, f"the key is given twice, first in line {first.line}")
                continue
            self.places[below] = _place(key_node.start_mark)
            found[key] = self.value(value_node, below)
        for other in merged:
            found = {**other, **found}
        return found

    def _fault(self, node: yaml.Node, path: Path, message: str) -> None:
        self.faults.append(Fault(origin=self.origin, path=path, place=_place(node.start_mark), message=message))


def read_yaml(text: str, origin: str) -> Document:
    """Reads one document. `origin` names it in faults. Raises ConfigurationError where it is not YAML at all."""
    loader = None
    try:
        _check_depth(text, origin)
        loader = _Loader(text)
        node = loader.get_single_node()
        walk = _Walk(loader, origin)
        values = None if node is None else walk.value(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = None if mark is None else _place(mark)
        message = " ".join(part for part in (error.context, error.problem) if part) or "it is not YAML"
        raise ConfigurationError([Fault(origin=origin, place=place, message=f"not valid YAML: {message}")]) from None
    except yaml.YAMLError as error:
        reason = getattr(error, "reason", None) or "it cannot be read"
        raise ConfigurationError([Fault(origin=origin, message=f"not valid YAML: {reason}")]) from None
    finally:
        if loader is not None:
            loader.dispose()
    is_empty = values is None
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigurationError(
            [Fault(origin=origin, place=Place(line=1, column=1), message="the file must hold keys with values")]
        )
    return Document(values=values, places=walk.places, faults=tuple(walk.faults), is_empty=is_empty)


def _check_depth(text: str, origin: str) -> None:
    """Looks at the text without building anything, since building recurses: too deep a file would end the process."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise _hopeless(origin, "the file is nested too deeply")


def _hopeless(origin: str, message: str) -> ConfigurationError:
    return ConfigurationError([Fault(origin=origin, message=message)])


def _place(mark: Any) -> Place:
    return Place(line=mark.line + 1, column=mark.column + 1)
