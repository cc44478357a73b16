"""What is recorded of a call for its trace while it runs: references and times, nothing formatted.

Spans are made of it later, off the call's path (`span_building`). A call that is not traced has `NO_SPAN`, one object
for all of them that does nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from turnout_server.core.call import AttemptDeltas, CallEvent, Completed, Restarted
from turnout_server.core.candidates import remember
from turnout_server.telemetry.traces.attempt_spans import AttemptSpan

if TYPE_CHECKING:
    from opentelemetry.util.types import Attributes

    from turnout_server.core.chat import ChatInput
    from turnout_server.core.decision import Decision, Rejection
    from turnout_server.core.model import Feedback, Outcome
    from turnout_server.telemetry.traces.message_content import Content

SAMPLED = TraceFlags(TraceFlags.SAMPLED)
HAPPENINGS_MAXIMUM = 32
"""Events kept of one call; more are counted."""
HOPS_MAXIMUM = 16
"""Decisions kept of one call beside its first."""
NANOSECONDS = 1_000_000_000


class Decided(NamedTuple):
    """A decision, or one that found no target: then `decision` is None and the rest says why.

    `hop` counts the decisions of a call from its second on, and `cause` says why it was made; 0 and "" for the first.
    """

    span_id: int
    began_ns: int
    ended_ns: int
    decision: Decision | None
    decision_id: str = ""
    reason: str = ""
    rejections: Sequence[Rejection] = ()
    hop: int = 0
    cause: str = ""


class Happening(NamedTuple):
    """An event on the way. `at_ns` is nanoseconds since the epoch."""

    name: str
    at_ns: int
    attributes: Attributes


class Reported(NamedTuple):
    """What a caller told, and what became of it: a result of the contract in lower case."""

    report: Outcome | Feedback
    result: str


class NoSpan:
    """Nothing is recorded."""

    __slots__ = ()

    def decided(self, decision: Decision) -> None:
        """Tells the decision, once it is made."""

    def reported(self, reports: Sequence[Reported]) -> None:
        """Tells what a caller reported."""

    def answered(self, *, cached: bool = False, joined: bool = False) -> None:
        """Tells that the call has its answer: one that was kept, or that of an earlier request of the same id."""

    def happened(self, event: CallEvent) -> None:
        """Tells what happens in a stream after its decision."""

    def failed(self, code: str, reason: str) -> None:
        """Tells the status that the call ends with, by its gRPC name, and the reason of the contract's error."""

    def undecided(self, decision_id: str, reason: str, rejections: Sequence[Rejection]) -> None:
        """Tells that no target was found, and why not."""

    def finish(self) -> None:
        """Tells that the call has ended, in whatever way. What was told neither way was cancelled."""


NO_SPAN = NoSpan()


class CallTracing(Protocol):
    """Decides which calls are traced."""

    def begin(self, method: str, metadata: Sequence[tuple[str, str | bytes]] | None) -> NoSpan:
        """Begins the span of an RPC by its method's name, and makes it the current one of the present task.

        `metadata` may hold the trace context of the caller. Returns `NO_SPAN` for a call that is not recorded.
        """
        ...


class CallSpan(NonRecordingSpan, NoSpan):
    """The span of one RPC and what belongs below it. For OpenTelemetry's API it is the current span of the call.

    `began_ns` is nanoseconds since the epoch; its end is measured by the monotonic clock. Ids are as in the W3C trace
    context; `parent` is the caller's, None for the first span of a trace.
    """

    is_remote = False
    """As of a parent: it is in this process."""

    def __init__(
        self,
        method: str,
        *,
        trace_id: int,
        new_span_id: Callable[[], int],
        parent: SpanContext | None,
        trace_state: TraceState | None,
        trace_flags: TraceFlags = SAMPLED,
        attributes: Mapping[str, object] | None,
        capture: Callable[[ChatInput], Content] | None = None,
        on_decided: Callable[[str, int, int], None],
        on_finish: Callable[[CallSpan], None],
        on_late_attempt: Callable[[AttemptSpan], None],
    ) -> None:
        # The base class wants the context at once; it is made when somebody asks for it.
        self.method = method
        self.trace_id = trace_id
        self.new_span_id = new_span_id
        self.span_id = new_span_id()
        self.parent = parent
        self.trace_state = trace_state
        self.trace_flags = trace_flags
        self.attributes = attributes
        self.capture = capture
        self.began_ns = time.time_ns()
        self.began_monotonic_ns = time.monotonic_ns()
        self.ended_ns = 0
        self.decision: Decided | None = None
        self.hops: list[Decided] = []
        self.cached = self.joined = False
        self.attempts: list[AttemptSpan] = []
        self.reports: Sequence[Reported] = ()
        self.happenings: list[Happening] = []
        self.happenings_dropped = 0
        self.code = "CANCELLED"
        self.reason = "CANCELLED"
        self._attempt_count = 0
        self._own_context: SpanContext | None = None
        self._on_decided = on_decided
        self._on_finish = on_finish
        self._on_late_attempt = on_late_attempt

    # What OpenTelemetry's API asks of a span.

    def get_span_context(self) -> SpanContext:
        """Returns its own identity."""
        if self._own_context is None:
            self._own_context = SpanContext(
                self.trace_id,
                self.span_id,
                is_remote=False,
                trace_flags=self.trace_flags,
                trace_state=self.trace_state,
            )
        return self._own_context

    def is_recording(self) -> bool:
        """Whether what is told of it is kept: until it has ended."""
        return not self.ended_ns

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        """Keeps something that happened in the call, up to a bound."""
        if self.ended_ns:
            return
        if len(self.happenings) < HAPPENINGS_MAXIMUM:
            self.happenings.append(Happening(name, timestamp or self.now_ns(), attributes))
        else:
            self.happenings_dropped += 1

    # What the sidecar tells of the call.

    def decided(self, decision: Decision) -> None:
        """Tells the decision, once it is made. One of an earlier call, which this one joins, has this one's time."""
        now_ns = self.now_ns()
        began_ns = min(max(self.began_ns, int(decision.decided_at_wall * NANOSECONDS)), now_ns)
        self.decision = decided = Decided(self.new_span_id(), began_ns, now_ns, decision)
        # What the answer says of the first candidates need not be worked out again for the span.
        remember(decision.candidates, read=True)
        self._on_decided(decision.decision_id, self.trace_id, decided.span_id)

    def deciding_again(self, cause: str) -> Callable[[Decision], None]:
        """Begins a further decision of the call, for the reason given; to be told the decision when it is made."""
        began_ns = self.now_ns()

        def decided(decision: Decision) -> None:
            if len(self.hops) < HOPS_MAXIMUM and not self.ended_ns:
                hop = len(self.hops) + 1
                self.hops.append(Decided(self.new_span_id(), began_ns, self.now_ns(), decision, hop=hop, cause=cause))

        return decided

    def undecided(self, decision_id: str, reason: str, rejections: Sequence[Rejection]) -> None:
        """Tells that no target was found, and why not. Where the decision itself was told, that says it already."""
        if self.decision is not None:
            return
        self.decision = Decided(self.new_span_id(), self.began_ns, self.now_ns(), None, decision_id, reason, rejections)

    def reported(self, reports: Sequence[Reported]) -> None:
        """Tells what a caller reported."""
        self.reports = reports

    def answered(self, *, cached: bool = False, joined: bool = False) -> None:
        """Tells that the call has its answer."""
        self.code, self.reason = "OK", ""
        self.cached, self.joined = self.cached or cached, self.joined or joined

    def happened(self, event: CallEvent) -> None:
        """Keeps what a reader wants to know of a stream: that it began anew, and whose answer it was."""
        kind = type(event)
        if kind is AttemptDeltas:
            return
        if isinstance(event, Restarted):
            what = {"turnout.attempt.id": event.discarded_attempt_id, "error.type": event.failure.value.lower()}
            self.add_event("turnout.restarted", what)
        elif isinstance(event, Completed):
            self.cached, self.joined = event.cached, event.joined

    def failed(self, code: str, reason: str) -> None:
        """Tells the status that the call ends with."""
        self.code, self.reason = code, reason

    def attempt(self) -> AttemptSpan:
        """Begins a call to a provider."""
        self._attempt_count += 1
        return AttemptSpan(self, self.new_span_id(), self._attempt_count)

    def attempt_ended(self, attempt: AttemptSpan) -> None:
        """Takes an attempt that has ended; a call that others wait for too may go on after this one's end."""
        if self.ended_ns:
            self._on_late_attempt(attempt)
        else:
            self.attempts.append(attempt)

    def finish(self) -> None:
        """Hands everything over; what is told afterwards is not kept."""
        if not self.ended_ns:
            self.ended_ns = self.now_ns()
            self._on_finish(self)

    def let_go(self) -> None:
        """Forgets what spans were made of.

        It stays itself, as the context of whatever the call began that lives on: a connection to a provider, say. And
        its attempts hold it, and it them, until the collector comes by.
        """
        if self.decision is not None and self.decision.decision is not None:
            remember(self.decision.decision.candidates, read=False)
        self.decision = None
        self.hops.clear()
        self.attempts.clear()
        self.happenings.clear()
        self.reports = ()

    def now_ns(self) -> int:
        """Returns the present moment as nanoseconds since the epoch, by the clock that never goes back."""
        return self.began_ns + time.monotonic_ns() - self.began_monotonic_ns


def attempt_of_current() -> AttemptSpan | None:
    """Begins an attempt of the call under way, None where that is not traced."""
    span = trace.get_current_span()
    return span.attempt() if isinstance(span, CallSpan) else None


def deciding_again_in_current(cause: str) -> Callable[[Decision], None] | None:
    """Begins a further decision of the call under way, None where that is not traced."""
    span = trace.get_current_span()
    return span.deciding_again(cause) if isinstance(span, CallSpan) else None
