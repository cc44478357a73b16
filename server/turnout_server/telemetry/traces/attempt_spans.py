"""What is recorded of one call to a provider for its trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from opentelemetry.trace import SpanContext

from turnout_server.telemetry.traces.tracing import headers_of

if TYPE_CHECKING:
    from turnout_server.core.call import AttemptRecord
    from turnout_server.core.chat import Delta
    from turnout_server.core.fleet import TargetSpec
    from turnout_server.core.model import FinishReason
    from turnout_server.ports import Answer, UpstreamCall
    from turnout_server.telemetry.traces.call_spans import CallSpan
    from turnout_server.telemetry.traces.message_content import Content


class AttemptSpan:
    """One call to a provider. Its id is made when it begins, since the provider may be told."""

    __slots__ = (
        "answer",
        "began_ns",
        "call",
        "content",
        "ended_ns",
        "max_output_tokens",
        "number",
        "record",
        "span_id",
        "spec",
        "streaming",
        "temperature",
    )

    def __init__(self, call: CallSpan, span_id: int, number: int) -> None:
        self.call = call
        self.span_id = span_id
        self.number = number
        self.began_ns = call.now_ns()
        self.ended_ns = 0
        self.spec: TargetSpec | None = None
        self.record: AttemptRecord | None = None
        self.answer: tuple[str, str, FinishReason | None] = ("", "", None)
        self.max_output_tokens: int | None = None
        self.temperature: float | None = None
        self.streaming = False
        self.content: Content | None = None

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Returns the trace headers that make it the parent of what its provider records."""
        call = self.call
        return headers_of(
            SpanContext(call.trace_id, self.span_id, False, call.trace_flags, call.trace_state)  # noqa: FBT003 - not remote
        )

    def asked(self, call: UpstreamCall, *, streaming: bool) -> None:
        """Tells what is sent. Nothing of the content is kept, unless the operator asks for it."""
        self.spec = call.spec
        self.max_output_tokens = call.max_output_tokens
        self.temperature = call.chat.temperature
        self.streaming = streaming
        if self.call.capture is not None:
            self.content = self.call.capture(call.chat)

    def listener(self) -> Callable[[Sequence[Delta]], None] | None:
        """Returns what is told the pieces of the answer, None where nothing of it is kept."""
        return None if self.content is None else self.content.came

    def ended(self, record: AttemptRecord, answer: Answer | None) -> None:
        """Tells how it ended; to be called once."""
        self.record = record
        self.ended_ns = self.call.now_ns()
        if answer is not None:
            self.answer = (answer.model, answer.response_id, answer.finish_reason)
        self.call.attempt_ended(self)
