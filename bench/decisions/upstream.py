"""The providers of a trace as one sidecar's upstream: prompts carry the number of their call, so it is known again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from bench.decisions.calls import BYTES_PER_TOKEN, Planned
from bench.decisions.fates import FailedError, Piece
from bench.decisions.providers import Providers
from turnout_server.core.chat import (
    ChatInput,
    Finished,
    Lifecycle,
    Message,
    Part,
    ResponseStarted,
    Role,
    Text,
    TextDelta,
    UsageReported,
)
from turnout_server.core.model import FailureKind, FinishReason, Usage
from turnout_server.execution.sending import PROBE_INPUT
from turnout_server.ports import ResponseHead, UpstreamCall, UpstreamError, UpstreamEvent

CONNECT_SECONDS = 2.0
"""As the transport's default."""
NUMBER_DIGITS = 9
NEVER_BILLED = frozenset({FailureKind.CONNECTION, FailureKind.RATE_LIMITED, FailureKind.OVERLOADED})
PROBE_USAGE = Usage(input_tokens=8, output_tokens=1)


def prompt(planned: Planned) -> ChatInput:
    """Returns a prompt of the planned length that begins with the call's number."""
    text = f"{planned.number:0{NUMBER_DIGITS}d}".ljust(BYTES_PER_TOKEN * planned.input_tokens, "x")
    message = Message(role=Role.USER, parts=(Part(content=Text(text=text)),))
    return ChatInput(messages=(message,), max_output_tokens=1024)


class ProvidersOf:
    """Calls the providers for one sidecar. `planned` is its table of the calls that run, by number."""

    def __init__(self, providers: Providers, sidecar: int, planned: dict[int, Planned]) -> None:
        self._providers = providers
        self._sidecar = sidecar
        self._planned = planned

    async def stream(self, call: UpstreamCall) -> AsyncGenerator[Sequence[UpstreamEvent]]:
        """Answers as `ports.Upstream` promises."""
        name = str(call.spec.target)
        if call.chat is PROBE_INPUT:
            answer = self._providers.trial(name, connect_timeout_seconds=CONNECT_SECONDS, sidecar=self._sidecar)
            usage = PROBE_USAGE
        else:
            planned = self._planned[_number(call.chat)]
            answer = self._providers.answer(
                planned, name, connect_timeout_seconds=CONNECT_SECONDS, sidecar=self._sidecar
            )
            usage = Usage(input_tokens=planned.input_tokens, output_tokens=planned.output_tokens)
        try:
            async with aclosing(answer) as pieces:
                async for piece in pieces:
                    yield _events(piece, call.spec.target.model, usage)
        except FailedError as failed:
            raise UpstreamError(
                failed.kind,
                failed.kind.value,
                http_status=failed.status,
                retry_after_seconds=failed.retry_after_seconds,
                possibly_billed=failed.kind not in NEVER_BILLED,
            ) from failed

    async def complete(self, call: UpstreamCall) -> Sequence[UpstreamEvent]:
        """The same in one piece."""
        return [event async for events in self.stream(call) for event in events]

    async def aclose(self) -> None:
        """Holds no connection."""


def _number(chat: ChatInput) -> int:
    content = chat.messages[0].parts[0].content
    assert isinstance(content, Text)
    return int(content.text[:NUMBER_DIGITS])


def _events(piece: Piece, model: str, usage: Usage) -> Sequence[UpstreamEvent]:
    text = TextDelta(part_index=0, text="word ")
    match piece:
        case Piece.FIRST:
            return (ResponseHead(http_status=200), ResponseStarted(model=model), Lifecycle(), text)
        case Piece.MORE:
            return (text,)
        case Piece.LAST:
            return (text, UsageReported(usage=usage), Finished(reason=FinishReason.STOP))
