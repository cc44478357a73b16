"""Gathers the events of a stream into one answer: pure, and the only place that knows what `Restart` undoes."""

from __future__ import annotations

from turnout.answer import Answer
from turnout.errors import ContractError
from turnout.v1 import router_pb2 as pb


class PartGatherer:
    """One part of the answer as it grows; its kind is that of its first piece of content."""

    def __init__(self) -> None:
        self._kind = ""
        self._fragments: list[str] = []
        self._redacted: list[bytes] = []
        self._signature: list[str] = []
        self._call_id = ""
        self._call_name = ""

    def add(self, delta: pb.Delta) -> None:
        """Adds a piece. Raises ContractError where it is of another kind than the pieces before it."""
        kind = delta.WhichOneof("content")
        if kind is None:
            # A kind of a newer contract: receivers skip what they do not know.
            return
        if kind == "signature":
            self._signature.append(delta.signature)
            return
        if self._kind not in ("", kind):
            msg = f"part {delta.part_index} of the answer began as {self._kind} and went on as {kind}"
            raise ContractError(msg)
        self._kind = kind
        if kind == "text":
            self._fragments.append(delta.text)
        elif kind == "reasoning":
            self._fragments.append(delta.reasoning.text)
            self._redacted.append(delta.reasoning.redacted_data)
        else:
            self._call_id = self._call_id or delta.tool_call.id
            self._call_name = self._call_name or delta.tool_call.name
            self._fragments.append(delta.tool_call.arguments_fragment)

    @property
    def text(self) -> str:
        """The text so far, "" for a part that is not text."""
        return "".join(self._fragments) if self._kind == "text" else ""

    def part(self, provider: str) -> pb.Part:
        """Returns the part; opaque state is marked with the provider it must go back to."""
        body = "".join(self._fragments)
        part = pb.Part(signature="".join(self._signature))
        redacted = b"".join(self._redacted)
        if self._kind == "tool_call":
            part.tool_call.CopyFrom(pb.ToolCall(id=self._call_id, name=self._call_name, arguments_json=body))
        elif self._kind == "reasoning" or not self._kind:
            # A signature alone is thinking that the provider does not show.
            part.reasoning.CopyFrom(pb.Reasoning(text=body, redacted_data=redacted))
        else:
            part.text = body
        if part.signature or redacted:
            part.origin_provider = provider
        return part


class Gatherer:
    """The state of one stream: what was decided, what has come, whether it is complete.

    Feed it every event in order with `add`; ask `answer` when the stream has ended with OK.
    """

    def __init__(self) -> None:
        self.decision: pb.Decision | None = None
        self.target: pb.Target | None = None
        self.failure: pb.CallFailure | None = None
        self._attempt_id = ""
        self._targets: dict[str, pb.Target] = {}
        """By attempt id; a call has only a few attempts."""
        self._discarded: set[str] = set()
        self._parts: dict[int, PartGatherer] = {}
        self._completion: pb.Completion | None = None
        self._has_content = False

    @property
    def has_content(self) -> bool:
        """Whether any content was delivered, even if it was discarded since: then a stream is never made again."""
        return self._has_content

    @property
    def complete(self) -> bool:
        """Whether the stream has said that its answer is complete."""
        return self._completion is not None

    @property
    def text(self) -> str:
        """The text so far of the attempt that counts."""
        return "".join(self._parts[index].text for index in sorted(self._parts))

    @property
    def parts(self) -> tuple[pb.Part, ...]:
        """The parts so far of the attempt that counts."""
        provider = "" if self.target is None else self.target.provider
        return tuple(self._parts[index].part(provider) for index in sorted(self._parts))

    def add(self, event: pb.ExecuteStreamResponse) -> bool:
        """Takes one event; returns false for one that the caller should not see, a late piece of a discarded attempt.

        Raises ContractError for content that mixes attempts or kinds, or comes after the end.
        """
        kind = event.WhichOneof("event")
        if self._completion is not None:
            raise ContractError("the stream went on after its completion")
        if kind == "decision":
            self.decision = event.decision
        elif kind == "attempt":
            self._targets[event.attempt.attempt_id] = event.attempt.target
            # Beside another one: which of the two answers is told by the first piece.
            if not event.attempt.hedge:
                self.target = event.attempt.target
        elif kind == "delta":
            return self._add_delta(event.delta)
        elif kind == "restart":
            self._restart(event.restart.discarded_attempt_id)
        elif kind == "completion":
            self._completion = event.completion
        elif kind == "failure":
            self.failure = event.failure
        return True

    def answer(self) -> Answer:
        """Returns the answer. Raises ContractError where the stream ended without its completion: it is not whole."""
        completion = self._completion
        if completion is None:
            raise ContractError("the stream ended without its completion: what came is not a whole answer")
        return Answer(
            parts=tuple(self._parts[index].part(completion.target.provider) for index in sorted(self._parts)),
            finish_reason=completion.finish_reason,
            target=completion.target,
            decision=pb.Decision() if self.decision is None else self.decision,
            attempts=tuple(completion.attempts),
            usage=completion.usage if completion.HasField("usage") else None,
            cost_usd=completion.cost_usd if completion.HasField("cost_usd") else None,
            cached=completion.cached,
            joined=completion.joined,
            model=completion.model,
            response_id=completion.response_id,
            notices=completion.notices if completion.HasField("notices") else None,
        )

    def _add_delta(self, delta: pb.Delta) -> bool:
        if delta.attempt_id in self._discarded:
            return False
        if self._parts and delta.attempt_id != self._attempt_id:
            raise ContractError("pieces of two attempts came without a restart between them")
        if delta.attempt_id != self._attempt_id:
            self._attempt_id = delta.attempt_id
            self.target = self._targets.get(delta.attempt_id, self.target)
        self._has_content = True
        self._parts.setdefault(delta.part_index, PartGatherer()).add(delta)
        return True

    def _restart(self, discarded_attempt_id: str) -> None:
        self._discarded.add(discarded_attempt_id)
        if discarded_attempt_id == self._attempt_id:
            self._parts.clear()
            self._attempt_id = ""
