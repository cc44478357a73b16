"""Configuration from environment variables: `TURNOUT_` and the path, short forms, and names that are none of ours.

An unknown variable only warns: Kubernetes makes some for every service whose name begins with ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, get_args

from pydantic import SecretStr

from turnout_server.config.describe import below, is_section, is_table, known_keys, plain
from turnout_server.config.faults import ConfigurationError, Path, did_you_mean, dotted
from turnout_server.config.policies import DEFAULT_POLICY
from turnout_server.config.schema import Configuration
from turnout_server.config.yaml_file import read_yaml

PREFIX = "TURNOUT_"
FILE_VARIABLE = "TURNOUT_CONFIG"
SEPARATOR = "__"

_NEVER = frozenset(
    {
        FILE_VARIABLE,
        "TURNOUT_TOOLS",
        # Those of the clients, which may stand in the same environment.
        "TURNOUT_ADDRESS",
        "TURNOUT_TOKEN",
        "TURNOUT_TOKEN_FILE",
        "TURNOUT_CA_FILE",
        "TURNOUT_CERT_FILE",
        "TURNOUT_KEY_FILE",
        "TURNOUT_SERVER_NAME",
    }
)
_NEVER_BEGINNINGS = ("TURNOUT_PORT", "TURNOUT_SERVICE_")

_SHORT_FORMS: Mapping[str, Path] = MappingProxyType(
    {
        "TURNOUT_STRATEGY": ("routing", "policies", "", "strategy"),
        "TURNOUT_COST_WEIGHT": ("routing", "policies", "", "weights", "cost"),
        "TURNOUT_LATENCY_WEIGHT": ("routing", "policies", "", "weights", "latency"),
        "TURNOUT_AVAILABILITY_WEIGHT": ("routing", "policies", "", "weights", "availability"),
        "TURNOUT_HEALTH_CHECK_INTERVAL": ("checks", "interval_seconds"),
        "TURNOUT_METRICS_WINDOW": ("routing", "metrics_window"),
        "TURNOUT_LOG_LEVEL": ("telemetry", "log_level"),
    }
)
"""An empty name of a policy stands for the default policy's."""


@dataclass(slots=True)
class Overlay:
    """What the environment says: values by path, the variable of each, and what is not understood."""

    values: dict[Path, Any] = field(default_factory=dict)
    variables: dict[Path, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def read_environment(environ: Mapping[str, str], file_values: Mapping[str, Any]) -> Overlay:
    """Returns what the environment lays over the values of a file; names of tables are matched with those there."""
    overlay = Overlay()
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable in _NEVER or variable.startswith(_NEVER_BEGINNINGS):
            continue
        if variable in _SHORT_FORMS:
            policy = _default_policy(environ, file_values)
            path: Path | None = tuple(part or policy for part in _SHORT_FORMS[variable])
        else:
            path = _path(variable, file_values, overlay)
        if path is not None:
            _put(overlay, path, variable, environ[variable])
    return overlay


def lay_over(values: Mapping[str, Any], overlay: Overlay) -> dict[str, Any]:
    """Returns the values with the overlay's in place of theirs; neither is changed."""
    merged = dict(values)
    for path in sorted(overlay.values, key=len):
        level = merged
        for key in path[:-1]:
            inner = level.get(str(key))
            level[str(key)] = inner = dict(inner) if isinstance(inner, Mapping) else {}
            level = inner
        level[str(path[-1])] = overlay.values[path]
    return merged


def _default_policy(environ: Mapping[str, str], file_values: Mapping[str, Any]) -> str:
    """Returns the default policy's name; "default" where the one named does not exist, so that this stays a fault."""
    routing = file_values.get("routing")
    if not isinstance(routing, Mapping):
        routing = {}
    policies = routing.get("policies")
    named = environ.get("TURNOUT_ROUTING__DEFAULT_POLICY") or routing.get("default_policy")
    found = isinstance(named, str) and isinstance(policies, Mapping) and named in policies
    return str(named) if found else DEFAULT_POLICY


def _path(variable: str, file_values: Mapping[str, Any], overlay: Overlay) -> Path | None:
    kind: Any = Configuration
    level: Any = file_values
    path: Path = ()
    for raw in variable.removeprefix(PREFIX).split(SEPARATOR):
        word = raw.lower()
        if is_section(kind):
            if word not in known_keys(kind):
                where = dotted((*path, word))
                overlay.warnings.append(
                    f"environment variable {variable} is ignored: there is no key {where}"
                    f"{did_you_mean(word, known_keys(kind))}"
                )
                return None
            key = word
        elif is_table(kind) and word:
            key = _name(word, level, providers=path == ("providers",))
        else:
            overlay.warnings.append(f"environment variable {variable} is ignored: {dotted(path)} has no keys below it")
            return None
        path = (*path, key)
        kind = below(kind, key)
        level = level.get(key) if isinstance(level, Mapping) else None
    return path


def _name(word: str, level: object, *, providers: bool) -> str:
    """Returns the name in the file that a word of a variable stands for, else the word itself."""
    if isinstance(level, Mapping):
        for name in level:
            if str(name).lower().replace("-", "_") == word:
                return str(name)
    return word.replace("_", "-") if providers else word


def _put(overlay: Overlay, path: Path, variable: str, text: str) -> None:
    known = overlay.variables.get(path)
    if known is not None and known not in _SHORT_FORMS:
        # The path in full says more than a short form.
        return
    kind = _kind(path)
    if not text and not _takes_text(kind):
        return
    overlay.values[path] = _value(text, kind, variable)
    overlay.variables[path] = variable


def _kind(path: Path) -> Any:
    kind: Any = Configuration
    for key in path[:-1]:
        kind = below(kind, key)
    info = kind.model_fields.get(str(path[-1])) if is_section(kind) else None
    return info.annotation if info is not None else below(kind, path[-1])


def _takes_text(kind: Any) -> bool:
    inner = plain(kind)
    return inner in {str, SecretStr}


def _value(text: str, kind: Any, variable: str) -> Any:
    if _takes_text(kind):
        return text
    stripped = text.strip()
    if stripped.lower() in {"null", "none"} and type(None) in get_args(kind):
        return None
    if stripped[:1] in {"[", "{"}:
        try:
            return read_yaml(f"value: {stripped}", variable).values["value"]
        except ConfigurationError:
            return text
    return stripped
