"""One call that meets a fault, on one wire, in one way: how it is made, what came of it, what is wrong with that."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # has no types

from tests.faults.provider import FaultyProvider
from tests.faults.sidecar import Place, Sidecar
from tests.faults.table import Fault, Until
from tests.faults.vendors import ANSWER, HALF, WIRES
from turnout.v1 import router_pb2 as pb
from turnout_server.core.model import FailureKind

PROMPT = "Where does the line go?"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACED = (("traceparent", f"00-{TRACE_ID}-b7ad6b7169203331-00"), ("baggage", "user=a-caller-of-the-caller"))
SLACK_SECONDS = 5.0
"""What the call itself may take beside its waits, on a machine that is busy with something else."""
PATIENT_SECONDS = 20.0


class Way(StrEnum):
    """How the call is made."""

    FAIL = "fail"
    """A stream that fails when it breaks."""
    RESTART = "restart"
    """A stream that begins anew when it breaks."""
    UNARY = "unary"
    """A unary call, so long that the provider is asked for a stream."""
    DIRECT = "direct"
    """A unary call so short that the provider is asked for an answer in one piece."""

    @property
    def streams(self) -> bool:
        return self in {Way.FAIL, Way.RESTART}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One call. `alone`: there is no target but the faulty one."""

    fault: Fault
    wire: str
    way: Way
    alone: bool

    def __str__(self) -> str:
        return f"{self.fault.name}-{self.wire}-{self.way}{'-alone' if self.alone else ''}"

    @property
    def provider(self) -> str:
        return str(self).replace("_", "-")

    @property
    def other(self) -> str:
        """The provider that is well, and speaks another wire."""
        wires = list(WIRES)
        return f"good-{wires[(wires.index(self.wire) + 1) % len(wires)]}"

    def place(self, provider: FaultyProvider, *, real: bool) -> Place:
        thinks = self.fault.until is Until.GOOD
        no_limit_is_tried = self.fault.until in {Until.AT_ONCE, Until.GOOD}
        # What stalls has begun; an answer in one piece never does.
        only_the_idle_one = self.fault.until is Until.IDLE and self.way is not Way.DIRECT
        return Place(
            name=self.provider,
            wire=self.wire,
            base_url=url_of(provider, self.fault, self.wire, self.provider, real=real),
            silent_thinking=thinks,
            # Only where a limit is what is tried is it short: a busy machine is nobody's fault.
            first_token_timeout_seconds=PATIENT_SECONDS
            if not real and (no_limit_is_tried or only_the_idle_one)
            else None,
        )


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What the caller saw of one call."""

    case: Case
    seconds: float = 0.0
    events: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    """The text of each attempt that showed any; the last is the answer."""
    restarts: list[pb.Restart] = field(default_factory=list)
    delta_ids: list[str] = field(default_factory=list)
    attempts: list[pb.Attempt] = field(default_factory=list)
    target: str = ""
    code: grpc.StatusCode | None = None
    reason: str = ""
    failure: pb.CallFailure | None = None

    @property
    def complete(self) -> bool:
        return self.code is None


def url_of(provider: FaultyProvider, fault: Fault, wire: str, case: str, *, real: bool) -> str:
    return provider.url_of(fault.place(real=real), wire, case)


def good_places(provider: FaultyProvider) -> Iterator[Place]:
    """The providers that are well, one on each wire."""
    for wire in WIRES:
        yield Place(
            name=f"good-{wire}",
            wire=wire,
            base_url=provider.url_of("good", wire, f"good-{wire}"),
            rank=1,
            first_token_timeout_seconds=PATIENT_SECONDS,
        )


def cases(wire: str, faults: Iterable[Fault]) -> Iterator[Case]:
    """The calls that meet these faults on one wire: each way of calling, with another target and without."""
    for fault in faults:
        for way in Way:
            # Where no content comes first, there is nothing to begin anew.
            if way is not Way.RESTART or fault.after_content:
                yield Case(fault=fault, wire=wire, way=way, alone=False)
            if way in {Way.FAIL, Way.UNARY}:
                yield Case(fault=fault, wire=wire, way=way, alone=True)


async def call(sidecar: Sidecar, case: Case, *, timeout_seconds: float | None) -> Outcome:
    """Makes the call and tells what came of it; None gives it no deadline of the caller's own."""
    outcome = Outcome(case=case)
    request: dict[str, Any] = {
        "input": pb.ChatInput(
            messages=[pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text=PROMPT)])],
            max_output_tokens=100 if case.way is Way.DIRECT else 2000,
        ),
        "options": pb.RoutingOptions(
            strategy=pb.STRATEGY_PRIORITY,
            include=[case.provider] if case.alone else [case.provider, case.other],
            mid_stream=pb.MID_STREAM_POLICY_RESTART if case.way is Way.RESTART else pb.MID_STREAM_POLICY_FAIL,
        ),
    }
    began_at = time.monotonic()
    try:
        if case.way.streams:
            stream = sidecar.stub.ExecuteStream(
                pb.ExecuteStreamRequest(**request), timeout=timeout_seconds, metadata=TRACED
            )
            async for message in stream:
                _take(outcome, message)
        else:
            answer = await sidecar.stub.Execute(pb.ExecuteRequest(**request), timeout=timeout_seconds, metadata=TRACED)
            outcome.texts = ["".join(part.text for part in answer.output.parts)]
            outcome.attempts = list(answer.attempts)
            outcome.target = answer.target.provider
    except grpc.aio.AioRpcError as error:
        outcome.code = error.code()
        _take_error(outcome, error)
    outcome.seconds = time.monotonic() - began_at
    return outcome


def complaints(outcome: Outcome, bounds: Mapping[Until, float], *, lag_seconds: float) -> list[str]:
    """Returns what is wrong with what came of a call.

    `bounds` are the seconds that each kind of end may take, `lag_seconds` those that the machine did something else.
    """
    case = outcome.case
    found = list(_about_truth(outcome))
    bound = bounds[case.fault.until]
    if outcome.seconds > bound + SLACK_SECONDS + lag_seconds:
        found.append(f"took {outcome.seconds:.1f} s, and should {bound:.1f} s")
    if case.fault.until is Until.GOOD:
        found += _about_good(outcome)
    else:
        found += _about_attempts(outcome)
        found += _about_end(outcome)
    return [f"{case}: {complaint} [{' '.join(outcome.events)}]" for complaint in found]


def _about_truth(outcome: Outcome) -> Iterator[str]:
    """What no call may do, whatever the provider does."""
    if outcome.complete and outcome.texts[-1:] != [ANSWER]:
        yield f"shows {outcome.texts} as a complete answer"
    if not outcome.complete and outcome.failure is None:
        yield f"{outcome.code} {outcome.reason} does not tell what was tried"
    if any(not ANSWER.startswith(text) and outcome.case.fault.until is not Until.DEADLINE for text in outcome.texts):
        yield f"shows what nobody said: {outcome.texts}"
    events = outcome.events
    if outcome.case.way.streams:
        if events[:2] != ["decision", "attempt"]:
            yield "does not tell at once who is asked"
        last = "completion" if outcome.complete else "failure"
        if events[-1:] != [last] or events.count("completion") + events.count("failure") != 1:
            yield f"does not end with one {last}"


def _about_good(outcome: Outcome) -> Iterator[str]:
    if not outcome.complete or outcome.target != outcome.case.provider or len(outcome.attempts) != 1:
        yield f"was not waited for: {outcome.code} {outcome.reason} {told(outcome)}"


def _about_attempts(outcome: Outcome) -> Iterator[str]:
    case = outcome.case
    honest = case.fault.expected(whole=case.way is Way.DIRECT)
    if case.fault.until is Until.DEADLINE and case.way is not Way.DIRECT:
        honest = frozenset({FailureKind.CANCELLED})
    faulty = [attempt for attempt in outcome.attempts if attempt.target.provider == case.provider]
    if not faulty or (outcome.attempts[0] is not faulty[0] and outcome.attempts[0] != faulty[0]):
        yield f"does not tell of the attempt that failed: {told(outcome)}"
    kinds = {kind_of(attempt.failure) for attempt in faulty}
    if not kinds <= honest:
        yield f"calls it {sorted(kinds)}, and it is {sorted(honest)}"
    if not case.alone and len(faulty) > 2:
        yield f"asked a target that fails {len(faulty)} times, with another at hand"
    if len(outcome.attempts) > 4:
        yield f"made {len(outcome.attempts)} attempts"
    if any(not attempt.attempt_id or not attempt.detail for attempt in faulty):
        yield "does not say what went wrong"


def _about_end(outcome: Outcome) -> Iterator[str]:
    case, fault = outcome.case, outcome.case.fault
    shown = case.way.streams and fault.after_content
    if fault.until is Until.DEADLINE and case.way is not Way.DIRECT:
        # The caller's own clock may run out between the event that tells of the failure and the status after it.
        last = outcome.events[-1:] == ["failure"]
        yield from _about_error(outcome, grpc.StatusCode.DEADLINE_EXCEEDED, outcome.reason if last else "DEADLINE")
    elif case.alone or (shown and case.way is Way.FAIL):
        if shown:
            if outcome.texts[:1] not in ([HALF], [ANSWER]):
                yield f"did not pass on what came: {outcome.texts}"
            yield from _about_error(outcome, grpc.StatusCode.DATA_LOSS, "STREAM_INTERRUPTED")
        elif fault.unbilled:
            yield from _about_error(outcome, grpc.StatusCode.UNAVAILABLE, "ALL_ATTEMPTS_REFUSED")
        else:
            yield from _about_error(outcome, grpc.StatusCode.INTERNAL, "ATTEMPTS_EXHAUSTED")
    else:
        if not outcome.complete or outcome.target != case.other:
            yield f"was not saved by {case.other}: {outcome.code} {outcome.reason} {told(outcome)}"
        if shown:
            yield from _about_restart(outcome)
        elif outcome.restarts or len(outcome.texts) != 1:
            yield "showed something of an attempt that failed before any content"


def _about_error(outcome: Outcome, code: grpc.StatusCode, reason: str) -> Iterator[str]:
    if (outcome.code, outcome.reason) != (code, reason):
        yield f"ends with {outcome.code} {outcome.reason}, and should with {code} {reason}: {told(outcome)}"
    delivered = sum(len(text.encode()) for text in outcome.texts)
    if outcome.failure is not None and outcome.failure.delivered_bytes != delivered:
        yield f"delivered {delivered} bytes, and tells of {outcome.failure.delivered_bytes}"


def _about_restart(outcome: Outcome) -> Iterator[str]:
    if len(outcome.restarts) != 1 or outcome.texts[:1] not in ([HALF], [ANSWER]):
        yield f"did not begin anew: {outcome.restarts} {outcome.texts}"
        return
    restart = outcome.restarts[0]
    if restart.discarded_attempt_id != outcome.delta_ids[0] or len(set(outcome.delta_ids)) != 2:
        yield "does not say which pieces are to be forgotten"
    if restart.failure != outcome.attempts[0].failure:
        yield "does not say why it began anew"


def kind_of(failure: pb.FailureKind.ValueType) -> FailureKind:
    return FailureKind(pb.FailureKind.Name(failure).removeprefix("FAILURE_KIND_"))


def told(outcome: Outcome) -> list[str]:
    """The attempts in short, for a message."""
    return [
        f"{attempt.target.provider}: {pb.FailureKind.Name(attempt.failure)} {attempt.detail}"
        for attempt in outcome.attempts
    ]


def _take(outcome: Outcome, message: pb.ExecuteStreamResponse) -> None:
    event = message.WhichOneof("event") or ""
    if not outcome.events or (event, outcome.events[-1]) != ("delta", "delta"):
        outcome.events.append(event)
    if event == "delta":
        if not outcome.delta_ids or outcome.delta_ids[-1] != message.delta.attempt_id:
            outcome.delta_ids.append(message.delta.attempt_id)
            outcome.texts.append("")
        outcome.texts[-1] += message.delta.text
    elif event == "restart":
        outcome.restarts.append(message.restart)
    elif event == "completion":
        outcome.attempts = list(message.completion.attempts)
        outcome.target = message.completion.target.provider
    elif event == "failure":
        outcome.failure = message.failure
        outcome.attempts = list(message.failure.attempts)


def _take_error(outcome: Outcome, error: grpc.aio.AioRpcError) -> None:
    packed = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    for item in status_pb2.Status.FromString(packed).details:
        name = item.type_url.rpartition(".")[2]
        if name == "ErrorInfo":
            outcome.reason = str(error_details_pb2.ErrorInfo.FromString(item.value).reason)
        elif name == "CallFailure" and outcome.failure is None:
            outcome.failure = pb.CallFailure.FromString(item.value)
            outcome.attempts = list(outcome.failure.attempts)
