"""Reads the scripts of a case for the scripted sidecar: what it answers to the calls of each method, in order."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.rpc import error_details_pb2  # type: ignore[import-untyped] # no stubs are published

from tests.clients.scripted_sidecar import Hang, Refusal, Script, ScriptedSidecar, Step
from tests.conformance.values import CaseError
from turnout.v1 import router_pb2 as pb

ANSWERS: Mapping[str, type[Message]] = {
    "Route": pb.RouteResponse,
    "Execute": pb.ExecuteResponse,
    "ExecuteStream": pb.ExecuteStreamResponse,
    "ReportOutcome": pb.ReportOutcomeResponse,
    "ProviderStatus": pb.ProviderStatusResponse,
    "WatchProviderStatus": pb.WatchProviderStatusResponse,
}
STREAMS = frozenset({"ExecuteStream", "WatchProviderStatus"})
_REFUSALS = frozenset(
    {"code", "message", "reason", "domain", "retry_seconds", "pushback", "decision_id", "violations", "failure"}
)
_FIELD_OF_TOMORROW = b"\xf2\xff\x03\x05later"
"""Field 8190 of type bytes, as a newer contract may have it; no message of this one does."""


class LastStays(deque[Script]):
    """Scripts in order; the last one answers every further call."""

    def popleft(self) -> Script:
        """Returns the next one."""
        return super().popleft() if len(self) > 1 else self[0]


@dataclass(frozen=True, kw_only=True)
class Lost:
    """The connection breaks in the middle of the call."""


class BreakingSidecar(ScriptedSidecar):
    """A scripted sidecar whose connections can break; `lose` is what breaks them. Knows when each call came."""

    def __init__(self) -> None:
        super().__init__()
        self.lose: Callable[[], None] = lambda: None
        self._times: list[float] = []
        self._receiving = threading.Lock()

    def received(self, method: str) -> list[dict[str, Any]]:
        """Returns the calls of a method so far, as cases look at them; `after_seconds` is since the one before."""
        with self._receiving:
            calls = [(call, at) for call, at in zip(self.calls, self._times, strict=True) if call.method == method]
        return [
            {
                "metadata": {name: value for name, value in call.metadata.items() if isinstance(value, str)},
                "request": MessageToDict(call.request),
                "remaining_seconds": call.remaining_seconds,
                "after_seconds": at - calls[place - 1][1] if place else None,
            }
            for place, (call, at) in enumerate(calls)
        ]

    def _receive(self, method: str, request: Message, context: grpc.ServicerContext) -> None:
        with self._receiving:
            super()._receive(method, request, context)
            self._times.append(time.monotonic())

    def _play(self, step: Step, context: grpc.ServicerContext) -> Message:
        if isinstance(step, Lost):
            self.lose()
            return super()._play(Hang(), context)
        return super()._play(step, context)


def scripted(scripts: Mapping[str, Sequence[Any]]) -> BreakingSidecar:
    """Returns a sidecar that answers by these scripts. Raises `CaseError` for one that cannot be read."""
    sidecar = BreakingSidecar()
    for method, given in scripts.items():
        if method not in ANSWERS:
            raise CaseError(f"scripted.{method}: there are {', '.join(ANSWERS)}")
        made = [_script(method, one) for one in given]
        sidecar.scripts[method] = LastStays(made)
    return sidecar


def _script(method: str, given: Any) -> Script:
    if isinstance(given, Mapping) and method not in STREAMS:
        return _step(method, given)
    if isinstance(given, Sequence) and not isinstance(given, str) and method in STREAMS:
        return [_step(method, one) for one in given]
    raise CaseError(f"scripted.{method}: a stream's script is a list of steps, another's is one step; got {given!r}")


def _step(method: str, given: Mapping[str, Any]) -> Step:
    if given.keys() <= {"answer", "new_fields"} and "answer" in given:
        message = ParseDict(given["answer"], ANSWERS[method]())
        if given.get("new_fields"):
            message.MergeFromString(_FIELD_OF_TOMORROW)
        return message
    if given.keys() == {"refuse"} and given["refuse"].keys() <= _REFUSALS:
        return _refusal(given["refuse"])
    if given.keys() == {"hang"}:
        return Hang()
    if given.keys() == {"lose"}:
        return Lost()  # type: ignore[return-value]  # the breaking sidecar knows it
    raise CaseError(f"scripted.{method}: a step is answer (new_fields), refuse, hang or lose; got {given!r}")


def _refusal(given: Mapping[str, Any]) -> Refusal:
    extra: list[Message] = []
    if "violations" in given:
        violations = [error_details_pb2.BadRequest.FieldViolation(**row) for row in given["violations"]]
        extra.append(error_details_pb2.BadRequest(field_violations=violations))
    if "failure" in given:
        extra.append(ParseDict(given["failure"], pb.CallFailure()))
    plain = {name: value for name, value in given.items() if name not in ("violations", "failure", "code")}
    return Refusal(code=grpc.StatusCode[given.get("code", "UNAVAILABLE")], extra=extra, **plain)
