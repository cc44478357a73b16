"""What operators ask of the past: decisions one by one, sums over many, measures over time; and how it is forgotten.

Times are datetimes with a zone, or timedeltas for so long ago. The base of `Admin` and `AsyncAdmin`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from turnout import admin_requests as requests
from turnout import rpcs
from turnout.v1 import admin_pb2 as pb

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from google.protobuf.message import Message

    Call = Callable[[str, Message, rpcs.Rpc, float | None], Any]
    """Calls a method of AdminService by its name, with its retries."""
    AsyncCall = Callable[[str, Message, rpcs.Rpc, float | None], Awaitable[Any]]


class History:
    """The methods that look back."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def decisions(
        self,
        *,
        target: str = "",
        task: str = "",
        tenant: str = "",
        result: pb.DecisionResult.ValueType = pb.DECISION_RESULT_UNSPECIFIED,
        start: datetime | timedelta | None = None,
        end: datetime | timedelta | None = None,
        limit: int = 50,
        timeout_seconds: float | None = None,
    ) -> Sequence[pb.DecisionRecord]:
        """Returns the newest decisions that fit, newest first, at most `limit`, with what came of each.

        `target` is that which was chosen or called, as in `drain`. `timeout_seconds` is of each page. ValueError for a
        `limit` below 1 and a time without a zone.
        """
        wanted = requests.decisions_request(target, task, tenant, result, start=start, end=end)
        pages = requests.DecisionPages(wanted, limit)
        while (request := pages.request()) is not None:
            pages.take(self._call("ListDecisions", request, rpcs.ADMIN_READ, timeout_seconds))
        return pages.records

    def decision(self, decision_id: str, *, timeout_seconds: float | None = None) -> pb.DecisionRecord:
        """Returns one decision in full. NotFoundError where it is not, or no longer, in the history."""
        request = pb.GetDecisionRequest(decision_id=decision_id)
        answer: pb.GetDecisionResponse = self._call("GetDecision", request, rpcs.ADMIN_READ, timeout_seconds)
        return answer.decision

    def statistics(
        self,
        *,
        group_by: pb.Dimension.ValueType = pb.DIMENSION_UNSPECIFIED,
        start: datetime | timedelta | None = None,
        end: datetime | timedelta | None = None,
        tenant: str = "",
        task: str = "",
        timeout_seconds: float | None = None,
    ) -> pb.GetStatisticsResponse:
        """Returns sums over what was decided and called, by `group_by`; the answer says which time it covers."""
        request = requests.statistics_request(group_by, start, end, tenant, task)
        answer: pb.GetStatisticsResponse = self._call("GetStatistics", request, rpcs.ADMIN_READ, timeout_seconds)
        return answer

    def compare(
        self,
        *targets: str,
        task: str = "",
        start: datetime | timedelta | None = None,
        end: datetime | timedelta | None = None,
        timeout_seconds: float | None = None,
    ) -> pb.CompareTargetsResponse:
        """Returns what was measured of 2 to 100 targets, in their order."""
        request = requests.comparison_request(targets, task, start, end)
        answer: pb.CompareTargetsResponse = self._call("CompareTargets", request, rpcs.ADMIN_READ, timeout_seconds)
        return answer

    def trend(
        self,
        target: str,
        measure: pb.TrendMeasure.ValueType,
        *,
        window: timedelta | None = None,
        step: timedelta | None = None,
        timeout_seconds: float | None = None,
    ) -> pb.GetTrendResponse:
        """Returns one measure of a target or provider over a `window` (an hour, at most a day), in points of `step`."""
        request = requests.trend_request(target, measure, window, step)
        answer: pb.GetTrendResponse = self._call("GetTrend", request, rpcs.ADMIN_READ, timeout_seconds)
        return answer

    def past_events(self, *names: str, limit: int = 100, timeout_seconds: float | None = None) -> Sequence[pb.Event]:
        """Returns the newest events of this run, newest first, at most `limit`, 1 to 1,000; of these names, or all."""
        request = pb.ListEventsRequest(names=names, page_size=limit)
        answer: pb.ListEventsResponse = self._call("ListEvents", request, rpcs.ADMIN_READ, timeout_seconds)
        return tuple(answer.events)

    def clear_history(self, before: datetime | timedelta | None = None, *, timeout_seconds: float | None = None) -> int:
        """Forgets decisions made before a time, and sums that ended before it, all without one; returns how many.

        Health, budgets and what was learned stay.
        """
        request = requests.clear_request(before)
        answer: pb.ClearHistoryResponse = self._call("ClearHistory", request, rpcs.ADMIN_CHANGE, timeout_seconds)
        return answer.removed_count


class AsyncHistory:
    """The same for asyncio."""

    def __init__(self, call: AsyncCall) -> None:
        self._call = call

    async def decisions(
        self,
        *,
        target: str = "",
        task: str = "",
        tenant: str = "",
        result: pb.DecisionResult.ValueType = pb.DECISION_RESULT_UNSPECIFIED,
        start: datetime | timedelta | None = None,
        end: datetime | timedelta | None = None,
        limit: int = 50,
        timeout_seconds: float | None = None,
    ) -> Sequence[pb.DecisionRecord]:
        """Returns the newest decisions that fit, newest first, at most `limit`, with what came of each.

        `target` is that which was chosen or called, as in `drain`. `timeout_seconds` is of each page. ValueError for a
        `limit` below 1 and a time without a zone.
        """
        wanted = requests.decisions_request(target, task, tenant, result, start=start, end=end)
        pages = requests.DecisionPages(wanted, limit)
        while (request := pages.request()) is not None:
            pages.take(await self._call("ListDecisions", request, rpcs.ADMIN_READ, timeout_seconds))
        return pages.records

    async def decision(self, decision_id: str, *, timeout_seconds: float | None = None) -> pb.DecisionRecord:
        """Returns one decision in full. NotFoundError where it is not, or no longer, in the history."""
        request = pb.GetDecisionRequest(decision_id=decision_id)
        answer: pb.GetDecisionResponse = await self._call("GetDecision", request, rpcs.ADMIN_READ, timeout_seconds)
        return answer.decision

    async def statistics(
        self,
        *,
        group_by: pb.Dimension.ValueType = pb.DIMENSION_UNSPECIFIED,
        start: datetime | timedelta | None = None,
        end: datetime | timedelta | None = None,
        tenant: str = "",
        task: str = "",
        timeout_seconds: float | None = None,
    ) -> pb.GetStatisticsResponse:
        """Returns sums over what was decided and called, by `group_by`; the answer says which time it covers."""
        request = requests.statistics_request(group_by, start, end, tenant, task)
        answer: pb.GetStatisticsResponse = await self._call("GetStatistics", request, rpcs.ADMIN_READ, timeout_seconds)
        return answer

    async def compare(
        self,
        *targets: str,
        task: str = "",
        start: datetime | timedelta | None = None,
        end: datetime | timedelta | None = None,
        timeout_seconds: float | None = None,
    ) -> pb.CompareTargetsResponse:
        """Returns what was measured of 2 to 100 targets, in their order."""
        request = requests.comparison_request(targets, task, start, end)
        answer: pb.CompareTargetsResponse = await self._call(
            "CompareTargets", request, rpcs.ADMIN_READ, timeout_seconds
        )
        return answer

    async def trend(
        self,
        target: str,
        measure: pb.TrendMeasure.ValueType,
        *,
        window: timedelta | None = None,
        step: timedelta | None = None,
        timeout_seconds: float | None = None,
    ) -> pb.GetTrendResponse:
        """Returns one measure of a target or provider over a `window` (an hour, at most a day), in points of `step`."""
        request = requests.trend_request(target, measure, window, step)
        answer: pb.GetTrendResponse = await self._call("GetTrend", request, rpcs.ADMIN_READ, timeout_seconds)
        return answer

    async def past_events(
        self, *names: str, limit: int = 100, timeout_seconds: float | None = None
    ) -> Sequence[pb.Event]:
        """Returns the newest events of this run, newest first, at most `limit`, 1 to 1,000; of these names, or all."""
        request = pb.ListEventsRequest(names=names, page_size=limit)
        answer: pb.ListEventsResponse = await self._call("ListEvents", request, rpcs.ADMIN_READ, timeout_seconds)
        return tuple(answer.events)

    async def clear_history(
        self, before: datetime | timedelta | None = None, *, timeout_seconds: float | None = None
    ) -> int:
        """Forgets decisions made before a time, and sums that ended before it, all without one; returns how many.

        Health, budgets and what was learned stay.
        """
        request = requests.clear_request(before)
        answer: pb.ClearHistoryResponse = await self._call("ClearHistory", request, rpcs.ADMIN_CHANGE, timeout_seconds)
        return answer.removed_count
