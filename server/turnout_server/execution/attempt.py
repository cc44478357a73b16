"""One call to one target, watched: reads what the provider sends until it is complete, breaks, or takes too long.

Only time spent waiting for the provider counts against it. While the caller is slow to take what it is given, nothing
is read, so that the provider's socket fills and its sender waits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from enum import Enum, auto

from turnout_server.core.chat import (
    Delta,
    Finished,
    Lifecycle,
    ReasoningDelta,
    ResponseStarted,
    SignatureDelta,
    TextDelta,
    ToolCallDelta,
    UsageReported,
)
from turnout_server.core.deadlines import AttemptLimits
from turnout_server.core.model import FailureKind, FinishReason, RateLimitReading, Usage
from turnout_server.core.settings import FailoverSettings
from turnout_server.execution.accounting import delta_bytes
from turnout_server.execution.commit import CommitBuffer, is_content
from turnout_server.execution.waits import Suspended
from turnout_server.execution.watch import Watch
from turnout_server.ports import ResponseHead, Upstream, UpstreamCall, UpstreamError, UpstreamEvent

CLOSE_SECONDS = 1.0
"""How long a provider's connection may take to close before it is left to the garbage collector."""


class _Limit(Enum):
    """What an attempt may run into while nothing comes."""

    CALL = auto()
    SHARE = auto()
    FIRST_CONTENT = auto()
    IDLE = auto()
    GRACE = auto()


class OutOfTimeError(Exception):
    """The call's own time ran out while the attempt was under way."""


class Attempt:
    """To be read until `read` returns None, closed in any case, and then asked what was noted.

    `finish_reason` is set once the answer is complete. `cut_by_share` says that the attempt was given up to leave time
    for another candidate, before its target was late by its own measure.
    """

    def __init__(
        self,
        upstream: Upstream,
        call: UpstreamCall,
        limits: AttemptLimits,
        settings: FailoverSettings,
        *,
        clock: Callable[[], float],
        streaming: bool,
        on_first_content: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._limits = limits
        self._grace_seconds = settings.finish_grace_seconds
        self._stream = upstream.stream(call) if streaming else _whole(upstream, call)
        self._buffer = CommitBuffer(settings)
        self._watch = Watch()
        self._on_first_content = on_first_content
        self._started_at = clock()
        self._began = False
        self._answered = False
        self._finished_at = 0.0
        self.streaming = streaming
        self.http_status: int | None = None
        self.rate_limit: RateLimitReading | None = None
        self.model = ""
        self.response_id = ""
        self.finish_reason: FinishReason | None = None
        self.first_content_at: float | None = None
        self.reported: Usage | None = None
        self.reported_cost_usd: float | None = None
        self.received_bytes = 0
        self.byte_came = False
        self.listener: Callable[[Sequence[Delta]], None] | None = None
        """Is told what `read` returns."""
        self.cut_by_share = False
        self.waited_seconds = 0.0
        """For how long it was suspended for its provider: what it did with what came is not in it."""

    @property
    def has_content(self) -> bool:
        """Whether anything of the answer has come."""
        return self.first_content_at is not None

    async def read(self) -> tuple[Delta, ...] | None:
        """Returns the next deltas that may be shown; None when the answer is complete and nothing more will come.

        Raises UpstreamError for any failure of the target, TIMEOUT and STALLED included, and OutOfTimeError when the
        call's time is over.
        """
        while True:
            try:
                batch = await self._next()
            except UpstreamError as error:
                if error.kind is FailureKind.CONTENT_FILTERED and self.has_content:
                    # A refusal after output began is how the answer ends, not an error.
                    self.finish_reason = FinishReason.CONTENT_FILTER
                if self.finish_reason is None:
                    raise
                # The answer was complete; what broke was only the way to its last usage figure.
                return self._complete()
            if batch is None:
                return self._complete()
            shown = self._buffer.add(self._take(batch))
            if shown:
                if self.listener is not None:
                    self.listener(shown)
                return shown

    async def close(self) -> None:
        """Closes the provider's connection, however far the answer has come. May be called twice."""
        self._watch.close()
        with contextlib.suppress(TimeoutError, UpstreamError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._stream.aclose()

    def _complete(self) -> tuple[Delta, ...] | None:
        if self.finish_reason is None:
            raise self._failed(FailureKind.TRUNCATED, "the stream ended without its proper end")
        if self.finish_reason is FinishReason.CONTENT_FILTER and not self.has_content:
            raise self._failed(FailureKind.CONTENT_FILTERED, "the provider refused the content")
        return self._buffer.release() or None

    async def _next(self) -> Sequence[UpstreamEvent] | None:
        """Returns what came with the next read, None at the end."""
        began_at = self._clock()
        limit_at, limit = self._limit(began_at)
        watch = self._watch
        watch.begin(max(0.0, limit_at - began_at))
        in_time = True
        waiting = Suspended(self._stream.__anext__(), self._clock)
        try:
            return await waiting
        except StopAsyncIteration:
            return None
        except asyncio.CancelledError:
            in_time = not watch.end()
            if in_time:
                raise
        finally:
            if in_time:
                watch.end()
            self.waited_seconds += waiting.seconds
        match limit:
            case _Limit.GRACE:
                return None
            case _Limit.CALL:
                raise OutOfTimeError
            case _Limit.SHARE:
                self.cut_by_share = True
                raise self._failed(FailureKind.TIMEOUT, "no content while others could still be asked in time")
            case _Limit.FIRST_CONTENT:
                raise self._failed(FailureKind.TIMEOUT, f"no content within {limit_at - self._started_at:.3g} s")
            case _Limit.IDLE:
                raise self._failed(FailureKind.STALLED, f"nothing came for {limit_at - began_at:.3g} s")

    def _limit(self, now: float) -> tuple[float, _Limit]:
        """Returns until when to wait for the next event, and what it means when nothing came by then."""
        limits = self._limits
        if self.finish_reason is not None:
            return min(self._finished_at + self._grace_seconds, limits.ends_at), _Limit.GRACE
        limit_at, limit = limits.ends_at, _Limit.CALL
        if not self.has_content and limits.first_content_at < limit_at:
            limit_at = limits.first_content_at
            limit = _Limit.SHARE if limits.limited_by_share else _Limit.FIRST_CONTENT
        if self._began:
            idle_at = now + (limits.idle_seconds if self._answered else limits.thinking_idle_seconds)
            if idle_at < limit_at:
                return idle_at, _Limit.IDLE
        return limit_at, limit

    def _failed(self, kind: FailureKind, detail: str) -> UpstreamError:
        return UpstreamError(kind, detail, http_status=self.http_status, rate_limit=self.rate_limit)

    def _take(self, batch: Sequence[UpstreamEvent]) -> list[Delta]:
        """Notes what came and returns the deltas among it."""
        deltas: list[Delta] = []
        for event in batch:
            # A head alone is a server that took the request, not a model that began to answer.
            self.byte_came = self.byte_came or not isinstance(event, ResponseHead)
            match event:
                case TextDelta() | ToolCallDelta() | ReasoningDelta() | SignatureDelta():
                    self._began = True
                    self._take_delta(event)
                    deltas.append(event)
                case Lifecycle():
                    self._began = True
                case ResponseHead():
                    self.http_status = event.http_status
                    self.rate_limit = event.rate_limit
                case ResponseStarted():
                    self._began = True
                    self.model = event.model or self.model
                    self.response_id = event.response_id or self.response_id
                case UsageReported():
                    self.reported = event.usage
                    if event.cost_usd is not None:
                        self.reported_cost_usd = event.cost_usd
                case Finished():
                    self.finish_reason = event.reason
                    self._finished_at = self._clock()
        return deltas

    def _take_delta(self, delta: Delta) -> None:
        self.received_bytes += delta_bytes(delta)
        if not self._answered and isinstance(delta, TextDelta | ToolCallDelta):
            self._answered = is_content(delta)
        if self.first_content_at is None and is_content(delta):
            self.first_content_at = self._clock()
            self._on_first_content()


async def _whole(upstream: Upstream, call: UpstreamCall) -> AsyncGenerator[Sequence[UpstreamEvent]]:
    """A call without streaming, as a stream of one read."""
    yield await upstream.complete(call)
