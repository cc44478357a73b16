"""The complete answer to a call, the same type whether it came at once or as a stream."""

from __future__ import annotations

from dataclasses import dataclass, field

from turnout.v1 import router_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A complete answer, the target that gave it, and what it took.

    `usage` and `cost_usd` are of the answering attempt, None where unknown; `attempts` has every call that was made.
    The content is left out of `repr`, so that an answer may be logged.
    """

    parts: tuple[pb.Part, ...] = field(repr=False)
    finish_reason: pb.FinishReason.ValueType
    target: pb.Target
    decision: pb.Decision = field(repr=False)
    attempts: tuple[pb.Attempt, ...] = field(repr=False)
    usage: pb.Usage | None = None
    cost_usd: float | None = None
    cached: bool = False
    """Whether it came from the sidecar's response cache."""
    joined: bool = False
    """Whether it is the answer of an earlier call with the same `request_id`, told and charged there already."""
    model: str = ""
    response_id: str = ""
    notices: pb.Notices | None = field(default=None, repr=False)

    @property
    def text(self) -> str:
        """All text of the answer, without thinking and tool calls."""
        return "".join(part.text for part in self.parts if part.WhichOneof("content") == "text")

    @property
    def reasoning(self) -> str:
        """The model's thinking, as far as the provider shows it."""
        return "".join(part.reasoning.text for part in self.parts if part.WhichOneof("content") == "reasoning")

    @property
    def tool_calls(self) -> tuple[pb.ToolCall, ...]:
        """The tools that the model wants called, in order."""
        return tuple(part.tool_call for part in self.parts if part.WhichOneof("content") == "tool_call")

    @property
    def message(self) -> pb.Message:
        """The answer as a turn for the next request, with the opaque state that providers want back unchanged."""
        return pb.Message(role=pb.ROLE_ASSISTANT, parts=self.parts)


def answer_from_response(response: pb.ExecuteResponse) -> Answer:
    """Returns the answer of a unary call."""
    return Answer(
        parts=tuple(response.output.parts),
        finish_reason=response.output.finish_reason,
        target=response.target,
        decision=response.decision,
        attempts=tuple(response.attempts),
        usage=response.usage if response.HasField("usage") else None,
        cost_usd=response.cost_usd if response.HasField("cost_usd") else None,
        cached=response.cached,
        joined=response.joined,
        model=response.output.model,
        response_id=response.output.response_id,
        notices=response.notices if response.HasField("notices") else None,
    )


def target_name(target: pb.Target) -> str:
    """Returns a target as it is written everywhere: "provider/model" or "provider/model@endpoint"."""
    name = f"{target.provider}/{target.model}"
    return f"{name}@{target.endpoint}" if target.endpoint else name
