"""What one executed call brings forth: its attempts, its events on the way, its end. Every call has exactly one end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from turnout_server.core.budget import Notices
from turnout_server.core.chat import ChatOutput, Delta
from turnout_server.core.decision import Decision, Rejection
from turnout_server.core.model import FailureKind, FinishReason, Target, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One call to one target, as the caller is told of it. `failure` is None for success.

    `possibly_billed` is false only where the provider cannot have charged: a 429, a refused connection, a 503
    before any output. `detail` never holds a prompt, a completion or a credential. `hedge`: the second of a pair.
    """

    target: Target
    attempt_id: str
    started_at_wall: float
    credential: str = ""
    failure: FailureKind | None = None
    http_status: int | None = None
    detail: str = ""
    latency_seconds: float | None = None
    time_to_first_token_seconds: float | None = None
    usage: Usage | None = None
    cost_nano_usd: int | None = None
    hedge: bool = False
    possibly_billed: bool = True
    retry_reason: str = ""
    streamed: bool = False
    """Whether its answer was asked for piece by piece; only then is its first token earlier than its end."""
    region: str = ""
    """Where it was sent; empty where that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallReport:
    """What a failed call did: the `CallFailure` of the contract. `cost_nano_usd` is None where any part is unknown."""

    attempts: tuple[AttemptRecord, ...] = ()
    usage: Usage | None = None
    cost_nano_usd: int | None = None
    delivered_bytes: int = 0
    rejections: Sequence[Rejection] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CallResult:
    """A complete unary answer. `cost_nano_usd` and `usage` are of the answering attempt; `attempts` has them all."""

    output: ChatOutput
    target: Target
    decision: Decision
    attempts: tuple[AttemptRecord, ...]
    usage: Usage | None = None
    cost_nano_usd: int | None = None
    cached: bool = False
    joined: bool = False
    """Whether it is the answer of an earlier call with the same request id."""
    notices: Notices | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted:
    """A target is being called. `hedge`: beside another one, which is late; whose deltas come first is the answer's."""

    attempt_id: str
    target: Target
    hedge: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptDeltas:
    """Pieces of the answer that arrived together, of the attempt named."""

    attempt_id: str
    deltas: tuple[Delta, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarted:
    """Forget the deltas of that attempt: the answer begins again on another target."""

    discarded_attempt_id: str
    failure: FailureKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """The answer is complete; nothing follows."""

    target: Target
    finish_reason: FinishReason
    attempts: tuple[AttemptRecord, ...]
    usage: Usage | None = None
    cost_nano_usd: int | None = None
    cached: bool = False
    joined: bool = False
    model: str = ""
    response_id: str = ""
    notices: Notices | None = None


CallEvent = Decision | AttemptStarted | AttemptDeltas | Restarted | Completed
"""What an executed stream yields, in order; it ends with Completed or by raising an error that carries a CallReport."""
