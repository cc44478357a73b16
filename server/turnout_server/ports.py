"""What the use cases need from outside, as narrow protocols; `providers` implements them, tests bring their own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from turnout_server.core.call import AttemptRecord
from turnout_server.core.changing import ProviderFacts, RoutingChange
from turnout_server.core.chat import ChatInput, Delta, StreamEvent
from turnout_server.core.comparison import Comparison
from turnout_server.core.decision import Decision
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.hedging import HedgeResult
from turnout_server.core.model import FailureKind, FinishReason, RateLimitReading, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamCall:
    """One attempt as a provider sees it.

    `max_output_tokens` is set where the wire requires a limit or the caller gave one. `trace_headers` are W3C headers
    to pass on, empty unless the operator configured it for this provider.
    """

    spec: TargetSpec
    credential: str
    chat: ChatInput
    max_output_tokens: int | None = None
    trace_headers: tuple[tuple[str, str], ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseHead:
    """The provider's answer has begun: its status, and what its headers say of the rate limit."""

    http_status: int
    rate_limit: RateLimitReading | None = None


class UpstreamError(Exception):
    """An attempt failed at the provider or on the way to it.

    `kind` decides everything that follows; `detail` is safe to show (no prompt, completion or credential).
    `retry_after_seconds` is what the provider asked for, clamped to 0 to 3,600. `possibly_billed` is false only where
    the provider cannot have charged for it.
    """

    def __init__(
        self,
        kind: FailureKind,
        detail: str,
        *,
        http_status: int | None = None,
        retry_after_seconds: float | None = None,
        rate_limit: RateLimitReading | None = None,
        possibly_billed: bool = True,
    ) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail
        self.http_status = http_status
        self.retry_after_seconds = retry_after_seconds
        self.rate_limit = rate_limit
        self.possibly_billed = possibly_billed


UpstreamEvent = ResponseHead | StreamEvent


class Upstream(Protocol):
    """Calls targets of one or more providers.

    Both methods raise only `UpstreamError` and `asyncio.CancelledError`; both close the provider's connection when
    closed or cancelled. Neither watches deadlines other than connecting: the caller does.
    """

    def stream(self, call: UpstreamCall) -> AsyncGenerator[Sequence[UpstreamEvent]]:
        """Yields what arrived with each read from the socket, in order, and ends after `Finished` and the last usage.

        Ending without `Finished` is impossible: the wire raises TRUNCATED or PROTOCOL.
        """
        ...

    async def complete(self, call: UpstreamCall) -> Sequence[UpstreamEvent]:
        """Makes a call without streaming; returns the same events, each part as one delta."""
        ...

    async def aclose(self) -> None:
        """Closes its connections; nothing is called afterwards."""
        ...


class Answer(Protocol):
    """What is known of a provider's answer, as far as it came."""

    model: str
    response_id: str
    finish_reason: FinishReason | None


class AttemptTrace(Protocol):
    """An attempt's part of the trace of its call. No method raises."""

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Returns the W3C headers that make it the parent of what its provider records."""
        ...

    def asked(self, call: UpstreamCall, *, streaming: bool) -> None:
        """Tells what is sent; nothing of its content is kept, unless the operator asks for that."""
        ...

    def listener(self) -> Callable[[Sequence[Delta]], None] | None:
        """Returns what is told the pieces of the answer, None where nothing of it is kept."""
        ...

    def ended(self, record: AttemptRecord, answer: Answer | None) -> None:
        """Tells how it ended; to be called once. `answer` is not kept."""
        ...


class Changing(Protocol):
    """Changes the configuration in force. A change is checked whole, is one step, and holds until the next start.

    `still` is asked when nobody else can change anything any more; what it raises leaves everything as it is. `by` is
    who asks, in words for people.
    """

    async def change_routing(self, change: RoutingChange, *, still: Callable[[], None], by: str) -> None:
        """Puts other routing rules in force. Raises InvalidRequestError or UnknownPolicyError."""
        ...

    def registered(self, name: str) -> ProviderFacts | None:
        """Returns a provider that was registered; None for any other name."""
        ...

    async def register_provider(self, facts: ProviderFacts, *, drained: bool, by: str) -> None:
        """Adds a provider. Raises InvalidRequestError, RegistrationDisabledError or AlreadyExistsError."""
        ...

    async def update_provider(
        self, name: str, changed: Callable[[ProviderFacts], ProviderFacts], *, still: Callable[[], None], by: str
    ) -> None:
        """Gives a registered provider what `changed` makes of its facts, which somebody else may have changed just now.

        Raises InvalidRequestError or UnknownProviderError.
        """
        ...

    async def remove_provider(self, name: str, *, still: Callable[[], None], by: str) -> Sequence[Target]:
        """Takes a registered provider out; returns its targets. Raises InvalidRequestError or UnknownProviderError."""
        ...


class Instruments(Protocol):
    """Counts what happens. Every method returns at once, keeps nothing it is given, and never raises."""

    def decision(self, decision: Decision) -> None:
        """Counts a decision that a caller asked for, its choice and its rejections; failover hops are not counted."""
        ...

    def attempt(self, record: AttemptRecord) -> None:
        """Counts an attempt that ended and what it cost, made here or reported by a caller."""
        ...

    def failover(self, from_target: Target, to_target: Target, failure: FailureKind) -> None:
        """Counts a call that moved to another target after a failure."""
        ...

    def hedge(self, target: Target, result: HedgeResult) -> None:
        """Counts what became of a hedge beside an attempt at a target that was late, or why there was none."""
        ...

    def shadow(self, comparison: Comparison) -> None:
        """Counts what the shadow of a policy made of a decision."""
        ...

    def outcome(self, result: str) -> None:
        """Counts a caller's report by what became of it: accepted, duplicate or rejected."""
        ...
