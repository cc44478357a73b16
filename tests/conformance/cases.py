"""Reads the cases: one file each in `cases/`, named for the feature or fault that it holds clients to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.conformance.values import CaseError, CaseLoader

FOLDER = Path(__file__).with_name("cases")
LISTENS = ("tcp", "unix", "tls", "mtls")

_OF_A_CALL = frozenset({"request", "timeout_seconds", "traceparent", "tracestate"})
_OF_OPEN = frozenset({"address", "token", "token_file", "tls", "max_retry_count", "plan_cache", "fallback"})
_OP_FIELDS: Mapping[str, frozenset[str]] = {
    "hello": frozenset(),
    "open": _OF_OPEN,
    "close": frozenset(),
    "route": _OF_A_CALL,
    "execute": _OF_A_CALL,
    "report": _OF_A_CALL,
    "status": _OF_A_CALL,
    "stream": _OF_A_CALL | {"stop_after_deltas"},
    "watch": frozenset({"request", "count"}),
    "plan": _OF_A_CALL | {"targets"},
    "flush": frozenset(),
    "measure": frozenset({"request", "count"}),
}
"""What the driver is told beside the client. A field that nobody reads, such as a misspelt `expect`, checks nothing."""

DRIVER_OPS = frozenset(_OP_FIELDS)
_AROUND_AN_OP = frozenset({"op", "as", "times", "at_once", "until", "background", "expect", "error"})
PATIENT_OPS = frozenset({"route", "plan", "report", "status"})
"""Their own deadlines are of seconds, which a busy machine may use up for the first connection alone."""
PATIENT_SECONDS = 30.0
OWN_DEADLINE = "own"
STEPS: Mapping[str, frozenset[str]] = {
    "await": frozenset({"expect", "error", "as"}),
    "cancel": frozenset(),
    "provider": frozenset({"becomes"}),
    "provider_saw": frozenset({"expect"}),
    "sidecar": frozenset(),
    "sidecar_got": frozenset(),
    "state": frozenset({"expect"}),
    "drain": frozenset(),
    "undrain": frozenset(),
    "relay": frozenset(),
    "received": frozenset({"expect"}),
    "received_in_order": frozenset(),
    "spans": frozenset({"expect"}),
    "write": frozenset({"text"}),
    "check": frozenset({"expect"}),
    "pause": frozenset(),
}
"""The steps besides operations of the driver, by the key that names them, and what else may stand in them."""

_CASE_KEYS = frozenset({"about", "sidecar", "scripted", "relay", "providers", "client", "environment", "steps"})
_SIDECAR_KEYS = frozenset({"settings", "environment", "listen", "tokens", "alone", "collector"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case, as README.md describes it. `client` None: the case opens its clients itself."""

    name: str
    about: str
    steps: Sequence[Mapping[str, Any]]
    sidecar: Mapping[str, Any] | None = None
    scripted: Mapping[str, Any] | None = None
    relay: bool = False
    providers: Mapping[str, Any] = field(default_factory=dict)
    client: Mapping[str, Any] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


def cases(folder: Path = FOLDER) -> list[Case]:
    """Returns all cases by name. Raises `CaseError` for one that is wrong."""
    return [read(file) for file in sorted(folder.glob("*.yaml"))]


def read(file: Path) -> Case:
    """Reads one case. Raises `CaseError`, naming the file, for anything that the vocabulary does not have."""
    try:
        found = yaml.load(file.read_text(), CaseLoader)  # noqa: S506 - it builds on the safe loader
    except (yaml.YAMLError, CaseError) as error:
        raise CaseError(f"{file.name}: {error}") from None
    if not isinstance(found, dict) or found.keys() - _CASE_KEYS:
        raise CaseError(f"{file.name}: has keys besides {', '.join(sorted(_CASE_KEYS))}")
    if not str(found.get("about", "")).strip() or not found.get("steps"):
        raise CaseError(f"{file.name}: needs about, a sentence, and steps")
    if "sidecar" in found and "scripted" in found:
        raise CaseError(f"{file.name}: has a sidecar and a scripted one: take one of them")
    _check_sidecar(file.name, found.get("sidecar") or {})
    for number, step in enumerate(found["steps"], start=1):
        _check_step(f"{file.name}, step {number}", step)
    awaited = {step.get("await") for step in found["steps"]}
    for step in found["steps"]:
        if step.get("background", step.get("await")) not in awaited:
            raise CaseError(f"{file.name}: {step['background']} runs in the background and is never awaited")
    client = found.get("client", {})
    return Case(
        name=file.stem,
        about=" ".join(found["about"].split()),
        steps=tuple(found["steps"]),
        sidecar=None if "scripted" in found else found.get("sidecar") or {},
        scripted=found.get("scripted"),
        relay=bool(found.get("relay", False)),
        providers=found.get("providers", {}),
        client=None if client == "none" else client,
        environment={name: str(value) for name, value in found.get("environment", {}).items()},
    )


def _check_sidecar(where: str, sidecar: Mapping[str, Any]) -> None:
    if sidecar.keys() - _SIDECAR_KEYS:
        raise CaseError(f"{where}: sidecar may have {', '.join(sorted(_SIDECAR_KEYS))}")
    if sidecar.get("listen", "tcp") not in LISTENS:
        raise CaseError(f"{where}: sidecar.listen is one of {', '.join(LISTENS)}")


def _check_step(where: str, step: Any) -> None:
    if not isinstance(step, dict) or not step:
        raise CaseError(f"{where}: is a mapping whose first key says what it does")
    if "op" in step:
        if "expect" in step and "error" in step:
            raise CaseError(f"{where}: expects an answer and an error: one of them")
        if "background" in step and step.keys() & {"expect", "error", "as", "times", "until"}:
            raise CaseError(f"{where}: what runs in the background is looked at where it is awaited")
        if "at_once" in step and step.keys() & {"times", "until"}:
            raise CaseError(f"{where}: is done at_once, or one after another: one of them")
        unknown = step.keys() - _AROUND_AN_OP - _OP_FIELDS.get(step["op"], step.keys()) - {"client"}
        if unknown:
            raise CaseError(f"{where}: {step['op']} has no {', '.join(sorted(map(str, unknown)))}")
        return
    kinds = [name for name in STEPS if name in step]
    if len(kinds) != 1:
        raise CaseError(f"{where}: has one of op, {', '.join(STEPS)}; got {', '.join(map(str, step))}")
    unknown = step.keys() - STEPS[kinds[0]] - {kinds[0]}
    if unknown:
        raise CaseError(f"{where}: {kinds[0]} has no {', '.join(sorted(map(str, unknown)))}")


def fields_of(step: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what of a step goes to the driver."""
    fields = {name: value for name, value in step.items() if name not in _AROUND_AN_OP}
    if step["op"] in PATIENT_OPS:
        fields.setdefault("timeout_seconds", PATIENT_SECONDS)
        if fields["timeout_seconds"] == OWN_DEADLINE:
            del fields["timeout_seconds"]
    return fields
