"""Tells what is wrong with a value by a JSON schema, for the keywords that the tests here use; others are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_KNOWN = frozenset(
    {"$defs", "$ref", "additionalProperties", "anyOf", "const", "enum", "items", "properties", "required", "type"}
)


def faults_of(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any] | None = None, at: str = "$") -> list[str]:
    """Returns what is wrong, each with its place; nothing where the value fits. ValueError for unknown keywords."""
    root = schema if root is None else root
    if unknown := schema.keys() - _KNOWN:
        raise ValueError(f"this cannot check {', '.join(sorted(unknown))}")
    if "$ref" in schema:
        return faults_of(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, at)
    faults = []
    if "anyOf" in schema and all(faults_of(value, choice, root, at) for choice in schema["anyOf"]):
        faults.append(f"{at} fits none of the choices")
    if "const" in schema and (type(value), value) != (type(schema["const"]), schema["const"]):
        faults.append(f"{at} is not the constant")
    if "enum" in schema and value not in schema["enum"]:
        faults.append(f"{at} is none of the values")
    kind = schema.get("type")
    if kind is not None and (not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return [*faults, f"{at} is no {kind}"]
    if isinstance(value, dict):
        return faults + _faults_of_properties(value, schema, root, at)
    if isinstance(value, list) and "items" in schema:
        for i, inner in enumerate(value):
            faults += faults_of(inner, schema["items"], root, f"{at}[{i}]")
    return faults


def _faults_of_properties(
    value: Mapping[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], at: str
) -> list[str]:
    properties = schema.get("properties", {})
    faults = [f"{at}.{name} is missing" for name in schema.get("required", ()) if name not in value]
    for name, inner in value.items():
        if name in properties:
            faults += faults_of(inner, properties[name], root, f"{at}.{name}")
        elif schema.get("additionalProperties", True) is False:
            faults.append(f"{at}.{name} is too much")
    return faults
