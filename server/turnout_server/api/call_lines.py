"""What the request log is told of an executed call: gathered while it runs, handed over when it has ended.

Without a request log there is one object for all calls that does nothing.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from turnout_server.api.status import BUG_MESSAGE, row
from turnout_server.core.call import AttemptDeltas, CallEvent, CallReport, Completed, Restarted
from turnout_server.core.chat import Media
from turnout_server.core.decision import Decision
from turnout_server.core.demands import all_parts, text_bytes
from turnout_server.core.errors import CallError, TurnoutError
from turnout_server.execution.accounting import delta_bytes
from turnout_server.execution.gather import Gatherer, result_of
from turnout_server.execution.sizes import output_bytes
from turnout_server.telemetry.logs.request_lines import RequestRecord
from turnout_server.telemetry.traces.tracing import trace_ids

if TYPE_CHECKING:
    from turnout_server.api.instants import Instants
    from turnout_server.core.call import CallResult
    from turnout_server.core.chat import ChatInput, Part
    from turnout_server.core.model import RouteQuery
    from turnout_server.telemetry.logs.request_log import RequestLog

OK = "OK"
CANCELLED = "CANCELLED"
NOTHING_TRIED = CallReport()
GATHERED_BYTES = 256 * 1024
"""Of a stream's answer so much is gathered to be logged; more is not written anyway."""


class NoLine:
    """Nothing is logged."""

    __slots__ = ()

    def asked(self, query: RouteQuery, chat: ChatInput | None = None) -> None:
        """Tells what was asked; without a chat, of a request for a decision."""

    def decided(self, decision: Decision) -> None:
        """Tells the decision."""

    def answered(self, result: CallResult) -> None:
        """Tells a complete answer."""

    def happened(self, event: CallEvent) -> None:
        """Tells an event of a stream."""

    def failed(self, error: Exception) -> None:
        """Tells why the call failed."""

    def end(self) -> None:
        """Tells that the call has ended, in whatever way."""


NO_LINE = NoLine()


class CallLine(NoLine):
    """Gathers one call's line."""

    __slots__ = (
        "_began_at",
        "_began_at_wall",
        "_chat",
        "_decision",
        "_error",
        "_gathered",
        "_instants",
        "_left",
        "_log",
        "_method",
        "_query",
        "_result",
    )

    def __init__(self, log: RequestLog, method: str, instants: Instants) -> None:
        self._log = log
        self._method = method
        self._instants = instants
        self._began_at = instants.clock()
        self._began_at_wall = instants.wall()
        self._query: RouteQuery | None = None
        self._chat: ChatInput | None = None
        self._decision: Decision | None = None
        self._result: CallResult | None = None
        self._gathered = Gatherer()
        self._left = GATHERED_BYTES if log.content else 0
        self._error: Exception | None = None

    def asked(self, query: RouteQuery, chat: ChatInput | None = None) -> None:
        """Tells what was asked."""
        self._query = query
        if self._log.content:
            self._chat = chat

    def decided(self, decision: Decision) -> None:
        """Tells the decision."""
        self._decision = decision

    def answered(self, result: CallResult) -> None:
        """Tells a complete answer."""
        self._result, self._decision = result, result.decision

    def happened(self, event: CallEvent) -> None:
        """Tells an event of a stream."""
        match event:
            case AttemptDeltas() if self._left > 0:
                self._left -= sum(map(delta_bytes, event.deltas))
                self._gathered.add(event.deltas)
            case Restarted():
                self._gathered.clear()
                self._left = GATHERED_BYTES if self._log.content else 0
            case Decision():
                self._decision = event
            case Completed() if self._decision is not None:
                self._result = result_of(event, self._decision, self._gathered)
            case _:
                pass

    def failed(self, error: Exception) -> None:
        """Tells why the call failed."""
        self._error = error

    def end(self) -> None:
        """Hands the line over."""
        if self._error is not None:
            known = isinstance(self._error, TurnoutError)
            self._add(row(self._error).reason, str(self._error) if known else BUG_MESSAGE)
        elif self._result is not None:
            self._add(OK, "")
        else:
            self._add(CANCELLED, "the caller went away")

    def _add(self, result: str, error: str) -> None:
        ended = self._result if self._error is None else None
        report = self._error.report if isinstance(self._error, CallError) else NOTHING_TRIED
        decision, ids = self._decision, trace_ids()
        record = RequestRecord(
            method=self._method,
            began_at_wall=self._began_at_wall,
            latency_seconds=self._instants.clock() - self._began_at,
            result=result,
            error=error,
            query=self._query,
            decision_id=getattr(self._error, "decision_id", "") if decision is None else decision.decision_id,
            policy="" if decision is None else decision.policy,
            strategy="" if decision is None else decision.strategy,
            attempts=report.attempts if ended is None else ended.attempts,
            usage=report.usage if ended is None else ended.usage,
            cost_nano_usd=report.cost_nano_usd if ended is None else ended.cost_nano_usd,
            ended=ended if ended is None or self._log.content else _without_content(ended),
            trace_id="" if ids is None else ids[0],
            chat=self._chat,
        )
        self._log.add(record, self._content_bytes(ended))

    def _content_bytes(self, ended: CallResult | None) -> int:
        if self._chat is None:
            return 0
        held = sum(text_bytes(part) + _data_bytes(part) for part in all_parts(self._chat))
        return held if ended is None else held + output_bytes(ended.output)


def _without_content(result: CallResult) -> CallResult:
    return dataclasses.replace(result, output=dataclasses.replace(result.output, parts=()))


def _data_bytes(part: Part) -> int:
    return len(part.content.data) if isinstance(part.content, Media) and part.content.data is not None else 0
