"""Makes values.schema.json: the part written by hand, what values.yaml says of each value, and the product's own schema
of `turnout.yaml` as that of `config`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from helm.documents.values_file import Path, Value

SECRETS = (
    r"^(sk|pk|rk|csk|gsk|xai|hf|r8)[-_][\w-]{8,}"
    r"|^AIza[\w-]{20,}"
    r"|^eyJ[\w-]{8,}\.[\w-]+\."
    r"|^Bearer\s"
    r"|^-----BEGIN "
    r"|://[^/@\s]*:[^/@\s]+@"
)
"""What keys, tokens and passwords in URLs look like. No look-ahead: Helm's expressions have none."""

_DECIDED: Mapping[Path, str] = {
    ("listen", "address"): "left out: listener.host and listener.port say it",
    ("listen", "insecure_listen"): "left out: listener.insecure says it",
    ("listen", "tls"): "left out: listener.tls says it",
    ("listen", "auth"): "left out: listener.tokens says it",
    ("health",): "left out: health.port says it",
    ("metrics",): "left out: metrics.port says it",
}
"""Keys of turnout.yaml that the chart writes itself, and the values that stand for them. As the only value allowed
the words are part of Helm's message."""

DECIDED_BY_SIDECAR: Mapping[Path, str] = {
    ("listen", "address"): "left out: listener.port says it",
    ("listen", "socket"): "left out: listener.socket.enabled says it",
    ("health",): "left out: health.port and host say it",
    ("metrics",): "left out: metrics.port and host say it",
}
"""The same for the library chart."""

_EMPTY_MEANS_DEFAULTS = frozenset({"ProviderSection"})
"""Blocks that are often written without anything in them, as in `ollama:`; the product takes them so."""


def values_schema(
    written: Mapping[str, Any],
    product: Mapping[str, Any],
    values: Sequence[Value],
    alerts: Sequence[str],
    *,
    chart: str = "turnout",
    decided: Mapping[Path, str] = _DECIDED,
) -> str:
    """Returns the file. `alerts` are the names that alerts have, `decided` what the chart writes into turnout.yaml."""
    config, definitions = _product(product, decided)
    maker = _Maker(values={value.path: value for value in values}, config=config, alerts=tuple(alerts))
    schema = maker.made(written, ())
    clash = schema["$defs"].keys() & definitions.keys()
    if clash:
        raise ValueError(f"{chart}.schema.yaml: the product's schema has {', '.join(sorted(clash))} too; rename them")
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": f"Made from helm/documents/{chart}.schema.yaml and values.yaml: `make generate` writes it anew.",
        "title": f"Values of the chart {chart}",
        **schema,
        "$defs": {**schema["$defs"], **definitions},
    }
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


class _Maker:
    def __init__(self, *, values: Mapping[Path, Value], config: Mapping[str, Any], alerts: tuple[str, ...]) -> None:
        self._values = values
        self._config = config
        self._alerts = alerts

    def made(self, node: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """Returns a node with its short forms written out and what values.yaml says of it."""
        found: dict[str, Any] = {}
        for key, value in node.items():
            match key:
                case "$section":
                    found |= {"type": "object", "additionalProperties": False}
                    found["properties"] = {name: self.made(one, (*path, name)) for name, one in value.items()}
                    found["required"] = self._needed(value, path)
                case "$config":
                    found |= self._config
                case "$alerts":
                    found["enum"] = list(self._alerts)
                case "properties":
                    found["properties"] = {name: self.made(one, (*path, name)) for name, one in value.items()}
                    if not path:
                        found["required"] = self._needed(value, path)
                case "$defs":
                    found["$defs"] = {name: self.made(one, ("$defs", name)) for name, one in value.items()}
                case _:
                    found[key] = self._plain(value, path)
        known = self._values.get(path)
        if known is not None:
            found |= {"description": known.comment, "default": known.default}
        return found

    def _needed(self, nodes: Mapping[str, Any], path: Path) -> list[str]:
        """Returns what templates count on: Helm takes a value that is set to null away, and the default with it."""
        return [
            name
            for name, node in nodes.items()
            if "$section" in node
            or node.get("$config") == "needed"
            or node.get("$ref") == "#/$defs/Probe"
            or ((value := self._values.get((*path, name))) is not None and _is_said(value.default, node))
        ]

    def _plain(self, value: Any, path: Path) -> Any:
        if isinstance(value, Mapping):
            return self.made(value, (*path, "[]"))
        return SECRETS if value == "$secrets" else value


def _is_said(default: Any, node: Mapping[str, Any]) -> bool:
    """Whether a default is a number, a switch or a text that is not empty, and null no value of its own."""
    if "null" in node.get("type", ()):
        return False
    return isinstance(default, bool | int | float) or (isinstance(default, str) and default != "")


def _product(product: Mapping[str, Any], decided: Mapping[Path, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the schema of `config`, and the definitions that it refers to."""
    definitions: dict[str, Any] = {name: _guarded(one) for name, one in product["$defs"].items()}
    for name in _EMPTY_MEANS_DEFAULTS:
        definitions[name]["type"] = ["object", "null"]
    config = _guarded({key: value for key, value in product.items() if key not in {"$defs", "$schema"}})
    for path, words in decided.items():
        section = config if len(path) == 1 else definitions[_referred(config["properties"][path[0]])]
        section["properties"][path[-1]] = {"const": words}
    used: set[str] = set()
    wanted = set(_references(config))
    while wanted - used:
        name = (wanted - used).pop()
        used.add(name)
        wanted |= set(_references(definitions[name]))
    return config, {name: one for name, one in definitions.items() if name in used}


def _guarded(node: Any) -> Any:
    """Returns a node whose texts must not look like keys, without what says nothing to the reader of values."""
    if isinstance(node, list):
        return [_guarded(one) for one in node]
    if not isinstance(node, Mapping):
        return node
    if "properties" in node:
        inner = {name: _guarded(one) for name, one in node["properties"].items()}
        return {**_guarded({key: one for key, one in node.items() if key != "properties"}), "properties": inner}
    found = {
        key: _guarded(one) for key, one in node.items() if key not in {"title", "x-not-yet", "format", "writeOnly"}
    }
    if found.get("type") == "string" and "enum" not in found:
        found = {"$ref": "#/$defs/Text", **{key: one for key, one in found.items() if key != "type"}}
    return found


def _referred(node: Mapping[str, Any]) -> str:
    return str(node["$ref"]).rpartition("/")[2]


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        if "$ref" in node and node["$ref"] != "#/$defs/Text":
            yield _referred(node)
        for one in node.values():
            yield from _references(one)
    elif isinstance(node, list):
        for one in node:
            yield from _references(one)
