"""Prompts and answers in spans: only where the operator asks for them, by OpenTelemetry's variable, and bounded.

The shapes are the JSON of the GenAI conventions (opentelemetry.io/docs/specs/semconv/gen-ai, gen-ai-input-messages and
its siblings). They are made at once and cut while they are made: a prompt may be megabytes, and is not to be held until
its span is sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from turnout_server.core.chat import (
    ChatInput,
    Delta,
    ReasoningDelta,
    Role,
    TextDelta,
    ToolCallDelta,
)
from turnout_server.core.model import FinishReason
from turnout_server.execution.gather import Gatherer
from turnout_server.telemetry.traces.message_json import Room, messages_json, parts_json, tools_json

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""The same as `tracer.CAPTURE_CONTENT`, which looks whether this is needed at all."""
CHARACTERS = 16 * 1024
"""What is kept of each attribute, counted in characters of the content. Beyond it, and for any media, it is cut."""
CUT = "turnout.content.cut"
"""Names the attributes that do not have everything."""
EVENT = "gen_ai.client.inference.operation.details"

INPUT, OUTPUT = "gen_ai.input.messages", "gen_ai.output.messages"
SYSTEM, TOOLS = "gen_ai.system_instructions", "gen_ai.tool.definitions"

_FINISHED_BY_TOOL_CALL = "tool_call"


class Where(StrEnum):
    """The values of the variable: where content goes."""

    NO_CONTENT = "NO_CONTENT"
    SPAN_ONLY = "SPAN_ONLY"
    EVENT_ONLY = "EVENT_ONLY"
    SPAN_AND_EVENT = "SPAN_AND_EVENT"

    @property
    def in_span(self) -> bool:
        """Whether it is in attributes of the span."""
        return self in {Where.SPAN_ONLY, Where.SPAN_AND_EVENT}

    @property
    def in_event(self) -> bool:
        """Whether it is in an event of the span."""
        return self in {Where.EVENT_ONLY, Where.SPAN_AND_EVENT}


def capturing(environ: Mapping[str, str], log: FilteringBoundLogger) -> Callable[[ChatInput], Content] | None:
    """Returns what keeps the content of an attempt, None where none is to be kept. Tells of both ways to get it wrong:
    of a value that does not exist, which captures nothing, and of one that has prompts leave the process.
    """
    given = environ.get(VARIABLE, "").strip()
    if not given or given.upper() == Where.NO_CONTENT:
        return None
    try:
        where = Where(given.upper())
    except ValueError:
        log.warning(
            "telemetry.content", variable=VARIABLE, given=given, used=Where.NO_CONTENT.value, can_be=list(Where)
        )
        return None
    log.warning("telemetry.content", variable=VARIABLE, used=where.value, meaning="prompts and answers are in spans")
    return lambda chat: Content(chat, where)


class Content:
    """The content of one attempt: of its request at once, of its answer as it comes."""

    __slots__ = ("_cut", "_gathered", "_left", "_request", "where")
    event_name = EVENT

    def __init__(self, chat: ChatInput, where: Where) -> None:
        self.where = where
        self._cut: set[str] = set()
        self._request: dict[str, str] = {}
        self._gathered = Gatherer()
        self._left = CHARACTERS
        system = (part for message in chat.messages if message.role is Role.SYSTEM for part in message.parts)
        self._keep(self._request, SYSTEM, lambda room: parts_json(system, room))
        self._keep(self._request, INPUT, lambda room: messages_json(chat, room))
        self._keep(self._request, TOOLS, lambda room: list(tools_json(chat.tools, room)))

    def came(self, deltas: Iterable[Delta]) -> None:
        """Takes pieces of the answer."""
        for delta in deltas:
            size = _delta_characters(delta)
            if size > self._left:
                self._cut.add(OUTPUT)
            if size and self._left:
                self._gathered.add((_shortened(delta, self._left),))
                self._left = max(0, self._left - size)

    def attributes(self, finish_reason: FinishReason | None) -> dict[str, Any]:
        """Returns the content, once the attempt has ended. An answer that did not end has no finish reason."""
        found: dict[str, Any] = dict(self._request)
        parts = self._gathered.parts("")
        if parts:
            reason = {} if finish_reason is None else {"finish_reason": _reason(finish_reason)}
            # What has come is within its bound already.
            self._keep(found, OUTPUT, lambda room: [{"role": "assistant", "parts": parts_json(parts, room), **reason}])
        if self._cut:
            found[CUT] = sorted(self._cut)
        return found

    def _keep(self, into: dict[str, str], name: str, make: Callable[[Room], list[Any]]) -> None:
        room = Room(CHARACTERS)
        try:
            made = make(room)
            text = json.dumps(made, ensure_ascii=False, separators=(",", ":")) if made else ""
        except RecursionError:
            # Arguments of a tool that are nested a thousand times.
            room.cut, text = True, ""
        if text:
            into[name] = text
        if room.cut:
            self._cut.add(name)


def _shortened(delta: Delta, left: int) -> Delta:
    match delta:
        case TextDelta():
            return delta if len(delta.text) <= left else replace(delta, text=delta.text[:left])
        case ReasoningDelta():
            # What is hidden has no size that is looked at, and nobody can read it.
            return replace(delta, text=delta.text[:left], redacted_data=None)
        case ToolCallDelta():
            return replace(
                delta,
                id=delta.id[:left],
                name=delta.name[:left],
                arguments_fragment=delta.arguments_fragment[:left],
            )
        case _:
            return delta


def _delta_characters(delta: Delta) -> int:
    match delta:
        case TextDelta() | ReasoningDelta():
            return len(delta.text)
        case ToolCallDelta():
            return len(delta.id) + len(delta.name) + len(delta.arguments_fragment)
        case _:
            return 0


def _reason(reason: FinishReason) -> str:
    return _FINISHED_BY_TOOL_CALL if reason is FinishReason.TOOL_CALLS else reason.value.lower()
