"""What the log is told of a call: gathered while it runs, handed over when it has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout_server.api.call_lines import NO_LINE, NoLine
from turnout_server.api.status import BUG, BUG_MESSAGE, row
from turnout_server.core.call import Completed
from turnout_server.core.decision import Decision
from turnout_server.core.errors import CallError, TurnoutError
from turnout_server.core.model import FailureKind
from turnout_server.telemetry.logs.access_log import CANCELLED, OK, AccessRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from turnout_server.core.call import AttemptRecord, CallEvent, CallResult
    from turnout_server.core.chat import ChatInput
    from turnout_server.core.model import RouteQuery, Target
    from turnout_server.telemetry.logs.access_log import AccessLog


class AccessLine(NoLine):
    """Gathers one executed call's line; tells `beside`, the line of the request log, the same."""

    __slots__ = (
        "_attempts",
        "_began_at",
        "_beside",
        "_clock",
        "_decision",
        "_error",
        "_is_over",
        "_log",
        "_method",
        "_query",
        "_target",
    )

    def __init__(self, log: AccessLog, method: str, clock: Callable[[], float], beside: NoLine = NO_LINE) -> None:
        self._log = log
        self._method = method
        self._clock = clock
        self._beside = beside
        self._began_at = clock()
        self._query: RouteQuery | None = None
        self._decision: Decision | None = None
        self._target: Target | None = None
        self._attempts: Sequence[AttemptRecord] = ()
        self._error: Exception | None = None
        self._is_over = False

    def asked(self, query: RouteQuery, chat: ChatInput | None = None) -> None:
        """Tells what was asked."""
        self._query = query
        self._beside.asked(query, chat)

    def decided(self, decision: Decision) -> None:
        """Tells the decision."""
        self._decision = decision
        self._beside.decided(decision)

    def answered(self, result: CallResult) -> None:
        """Tells a complete answer."""
        self._decision, self._target, self._attempts = result.decision, result.target, result.attempts
        self._is_over = True
        self._beside.answered(result)

    def happened(self, event: CallEvent) -> None:
        """Tells an event of a stream."""
        if isinstance(event, Decision):
            self._decision = event
        elif isinstance(event, Completed):
            self._target, self._attempts, self._is_over = event.target, event.attempts, True
        self._beside.happened(event)

    def failed(self, error: Exception) -> None:
        """Tells why the call failed."""
        self._error = error
        self._beside.failed(error)

    def end(self) -> None:
        """Hands the line over."""
        self._beside.end()
        if self._error is None and self._log.problems_only and not any(map(_failed, self._attempts)):
            # Nearly all calls: what follows takes longer than all that came before.
            return
        result, error = (OK, "") if self._is_over else (CANCELLED, "")
        decision_id = ""
        if self._error is not None:
            result = row(self._error).reason
            error = str(self._error) if isinstance(self._error, TurnoutError) else BUG_MESSAGE
            decision_id = getattr(self._error, "decision_id", "")
            if isinstance(self._error, CallError):
                self._attempts = self._error.report.attempts
        query, decision = self._query, self._decision
        self._log.ended(
            AccessRecord(
                method=self._method,
                result=result,
                latency_seconds=self._clock() - self._began_at,
                error=error,
                decision_id=decision_id if decision is None else decision.decision_id,
                target="" if self._target is None else str(self._target),
                policy="" if decision is None else decision.policy,
                task="" if query is None else query.profile.task,
                tenant="" if query is None else query.caller.tenant,
                attempt_count=len(self._attempts),
                failures=" ".join(each.failure.value for each in self._attempts if each.failure and _failed(each)),
                is_bug=self._error is not None and row(self._error) is BUG,
            )
        )


class RouteLine(AccessLine):
    """Gathers the line of a call for a decision, which is over with it."""

    __slots__ = ()

    def decided(self, decision: Decision) -> None:
        """Tells the decision."""
        self._decision, self._is_over = decision, True
        if decision.candidates:
            self._target = decision.candidates[0].target


def _failed(attempt: AttemptRecord) -> bool:
    """Whether an attempt went wrong; one that was let go because another was quicker did not."""
    return attempt.failure is not None and attempt.failure is not FailureKind.CANCELLED
