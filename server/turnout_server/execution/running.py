"""One permitted attempt from its beginning to its record: whatever happens, it is settled once and closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from turnout_server.core.call import AttemptRecord
from turnout_server.core.cost_cap import CostCap
from turnout_server.core.deadlines import AttemptLimits
from turnout_server.core.decision import Decision
from turnout_server.core.model import FailureKind, RouteQuery
from turnout_server.core.permits import Permit
from turnout_server.core.settings import FailoverSettings
from turnout_server.execution.attempt import Attempt, OutOfTimeError
from turnout_server.execution.settling import Sent, settle
from turnout_server.execution.upstreams import Connected, Upstreams
from turnout_server.execution.waits import Suspended
from turnout_server.ports import AttemptTrace, UpstreamCall, UpstreamError
from turnout_server.router import Router


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """What calls need from around them."""

    router: Router
    upstreams: Upstreams
    clock: Callable[[], float]
    wall: Callable[[], float]
    trace_headers: Callable[[], tuple[tuple[str, str], ...]]
    trace_attempt: Callable[[], AttemptTrace | None]
    """Begins an attempt's part of the present call's trace, None where that is not recorded."""
    trace_hop: Callable[[str], Callable[[Decision], None] | None]
    """Begins a further decision's part of it, for a cause; what it returns is told the decision."""
    max_answer_bytes: int
    """The largest answer that is gathered whole; a stream passes on what comes."""


class Running:
    """An asynchronous context manager around an attempt. It keeps failures of the target, and lets all else through.

    Afterwards `error` is None for success, `out_of_time` says that the call's own time ran out, and `record` is there
    unless an exception came through.
    """

    def __init__(
        self,
        shell: Shell,
        permit: Permit,
        connected: Connected,
        *,
        query: RouteQuery,
        sent: Sent,
        reason: str,
        cap: CostCap | None = None,
        hedge: bool = False,
    ) -> None:
        self._shell = shell
        self._permit = permit
        self._connected = connected
        self._query = query
        self._sent = sent
        self._reason = reason
        self._cap = cap
        self._hedge = hedge
        self._began_at = shell.clock()
        self.attempt: Attempt | None = None
        self.trace: AttemptTrace | None = None
        self.error: UpstreamError | None = None
        self.out_of_time = False
        self.record: AttemptRecord | None = None
        self.closing_seconds = 0.0
        """For how long its end was held up by the provider's connection."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        kept = self.settle(error)
        closing = Suspended(self.close(), self._shell.clock)
        await closing
        self.closing_seconds = closing.seconds
        return kept

    @property
    def attempt_id(self) -> str:
        """Its id, as deltas carry it."""
        return self._permit.attempt_id

    @property
    def settled(self) -> bool:
        """Whether its end is recorded."""
        return self.record is not None

    def settle(self, error: BaseException | None) -> bool:
        """Records how the attempt ended, None for success; tells whether the error is kept. To be called once."""
        kept = True
        match error:
            case None:
                pass
            case UpstreamError():
                self.error = _without_frames(error)
            case OutOfTimeError():
                self.out_of_time = True
                self.error = UpstreamError(FailureKind.CANCELLED, "the call's time ran out")
            case asyncio.CancelledError() | GeneratorExit():
                self.error = UpstreamError(FailureKind.CANCELLED, "the caller went away")
                kept = False
            case _:
                fault = f"a fault of the sidecar's own: {type(error).__name__}"
                self.error = UpstreamError(FailureKind.UNKNOWN, fault)
                kept = False
        self._settle()
        return kept

    async def close(self) -> None:
        """Closes the provider's connection."""
        if self.attempt is not None:
            await self.attempt.close()

    def begin(
        self, call: UpstreamCall, limits: AttemptLimits, settings: FailoverSettings, *, streaming: bool
    ) -> Attempt:
        """Returns the attempt to read from; its time begins now."""
        self._began_at = self._shell.clock()
        self.attempt = Attempt(
            self._connected.by_provider[call.spec.target.provider],
            call,
            limits,
            settings,
            clock=self._shell.clock,
            streaming=streaming,
            # Not by way of `self`: objects that hold each other stay until the collector comes by.
            on_first_content=partial(self._shell.router.attempts.first_token, self._permit),
        )
        return self.attempt

    def _settle(self) -> None:
        outcome, self.record = settle(
            self._permit,
            self.attempt,
            self.error,
            query=self._query,
            sent=self._sent,
            now=self._shell.clock(),
            now_wall=self._shell.wall(),
            began_at=self._began_at,
            reason=self._reason,
            hedge=self._hedge,
        )
        self._shell.router.attempts.finish(self._permit, outcome, self.record)
        if self._cap is not None:
            self._cap.settle(self.record)
        if self.trace is not None:
            self.trace.ended(self.record, self.attempt)
            # It may be kept for long, with what it knows of its call.
            self.trace = None


def _without_frames(error: UpstreamError) -> UpstreamError:
    """Forgets where an error came through: its frames hold the attempt that keeps it, and with it the whole request,
    until the collector comes by. Its detail says what happened.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
