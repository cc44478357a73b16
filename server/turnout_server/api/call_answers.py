"""What an executed call brings forth to protobuf: complete answers, events of a stream, the report of a failure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from turnout.v1 import router_pb2 as pb
from turnout_server.api import enums
from turnout_server.api.answers import Answers, attempts, rejection, target, usage, usd
from turnout_server.api.budgets import with_notices
from turnout_server.api.joining import joined
from turnout_server.core.call import AttemptDeltas, AttemptStarted, CallEvent, Completed, Restarted
from turnout_server.core.chat import (
    ChatOutput,
    Delta,
    Media,
    MediaKind,
    Part,
    Reasoning,
    ReasoningDelta,
    SignatureDelta,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolResult,
)
from turnout_server.core.decision import Decision

if TYPE_CHECKING:
    from turnout_server.core.call import CallReport, CallResult
    from turnout_server.core.model import DecisionDetail


def execute_response(result: CallResult, answers: Answers, detail: DecisionDetail) -> pb.ExecuteResponse:
    """Writes a complete answer."""
    response = pb.ExecuteResponse(
        target=target(result.target),
        usage=usage(result.usage),
        cost_usd=None if result.cost_nano_usd is None else usd(result.cost_nano_usd),
        attempts=attempts(result.attempts),
        cached=result.cached,
        joined=result.joined,
    )
    _write_output(response.output, result.output)
    answers.write(response.decision, result.decision, detail)
    return with_notices(response, result.notices)


def stream_responses(event: CallEvent, answers: Answers, detail: DecisionDetail) -> Iterator[pb.ExecuteStreamResponse]:
    """Writes one event of a stream; deltas that arrived together are joined where they belong together."""
    match event:
        case AttemptDeltas():
            for piece in joined(event.deltas):
                yield _delta_response(piece, event.attempt_id)
        case AttemptStarted():
            yield pb.ExecuteStreamResponse(
                attempt=pb.AttemptStarted(attempt_id=event.attempt_id, target=target(event.target), hedge=event.hedge)
            )
        case Restarted():
            yield pb.ExecuteStreamResponse(
                restart=pb.Restart(
                    discarded_attempt_id=event.discarded_attempt_id,
                    failure=enums.FAILURE_KIND.to_wire[event.failure],
                )
            )
        case Completed():
            yield pb.ExecuteStreamResponse(completion=_completion(event))
        case Decision():
            response = pb.ExecuteStreamResponse()
            answers.write(response.decision, event, detail)
            yield response


def call_failure(report: CallReport, offset: float) -> pb.CallFailure:
    """Writes what a failed call tried, delivered and spent, with nothing left out."""
    return pb.CallFailure(
        attempts=attempts(report.attempts),
        usage=usage(report.usage),
        cost_usd=None if report.cost_nano_usd is None else usd(report.cost_nano_usd),
        delivered_bytes=report.delivered_bytes,
        rejections=[rejection(r, offset) for r in report.rejections],
    )


def chat_output(output: ChatOutput) -> pb.ChatOutput:
    """Writes an answer's parts and end."""
    message = pb.ChatOutput()
    _write_output(message, output)
    return message


def _write_output(message: pb.ChatOutput, output: ChatOutput) -> None:
    # In place: a message that is put into another is copied, and an answer may have 30 MiB.
    for part in output.parts:
        _write_part(message.parts.add(), part)
    message.finish_reason = enums.FINISH_REASON.to_wire[output.finish_reason]
    message.model = output.model
    message.response_id = output.response_id


def _completion(event: Completed) -> pb.Completion:
    message = pb.Completion(
        target=target(event.target),
        finish_reason=enums.FINISH_REASON.to_wire[event.finish_reason],
        usage=usage(event.usage),
        cost_usd=None if event.cost_nano_usd is None else usd(event.cost_nano_usd),
        attempts=attempts(event.attempts),
        cached=event.cached,
        joined=event.joined,
        model=event.model,
        response_id=event.response_id,
    )
    return with_notices(message, event.notices)


def _delta_response(piece: Delta, attempt_id: str) -> pb.ExecuteStreamResponse:
    # In place: for each token of an answer, a message that is put into another would be copied.
    response = pb.ExecuteStreamResponse()
    delta = response.delta
    delta.part_index = piece.part_index
    delta.attempt_id = attempt_id
    match piece:
        case TextDelta(text=text):
            delta.text = text
        case ToolCallDelta():
            call = pb.ToolCallDelta(id=piece.id, name=piece.name, arguments_fragment=piece.arguments_fragment)
            delta.tool_call.CopyFrom(call)
        case ReasoningDelta():
            delta.reasoning.CopyFrom(pb.Reasoning(text=piece.text, redacted_data=piece.redacted_data or b""))
        case SignatureDelta(signature=signature):
            delta.signature = signature
    return response


def _part(part: Part) -> pb.Part:
    message = pb.Part()
    _write_part(message, part)
    return message


def _write_part(message: pb.Part, part: Part) -> None:
    message.signature = part.signature
    message.origin_provider = part.origin_provider
    message.cache_breakpoint = part.cache_breakpoint
    match part.content:
        case Text(text=text):
            message.text = text
        case ToolCall() as call:
            message.tool_call.CopyFrom(pb.ToolCall(id=call.id, name=call.name, arguments_json=call.arguments_json))
        case Reasoning() as reasoning:
            message.reasoning.CopyFrom(pb.Reasoning(text=reasoning.text, redacted_data=reasoning.redacted_data or b""))
        case Media() as media:
            _write_media(message, media)
        case ToolResult() as result:
            message.tool_result.CopyFrom(
                pb.ToolResult(
                    tool_call_id=result.tool_call_id,
                    name=result.name,
                    content=[_part(inner) for inner in result.content],
                    is_error=result.is_error,
                )
            )


def _write_media(message: pb.Part, media: Media) -> None:
    written: pb.Image | pb.Audio | pb.Document
    match media.kind:
        case MediaKind.IMAGE:
            written = message.image
        case MediaKind.AUDIO:
            written = message.audio
        case MediaKind.DOCUMENT:
            written = message.document
    written.media_type = media.media_type
    if media.data is not None:
        written.data = media.data
    elif media.url is not None:
        written.url = media.url
