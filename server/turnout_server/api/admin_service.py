"""AdminService: looking back, at decisions one by one and at sums over them; events; budgets; drains and health; the
rules in force. The server refuses the rest.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from turnout.v1 import admin_pb2 as pb
from turnout_server.api import administration, budgets, looking_back, routing_rules
from turnout_server.api.answers import Answers
from turnout_server.api.decision_records import decision_filter, decision_record, page_size, shown, wanted_decision
from turnout_server.api.principals import who
from turnout_server.api.writing import CallerGoneError, written

if TYPE_CHECKING:
    from turnout_server.api.event_feed import EventFeed
    from turnout_server.api.failing import Failing
    from turnout_server.core.history import DecisionFilter
    from turnout_server.router import Router


RECORDS_AT_ONCE = 10
LIST_BYTES = 2 * 1024 * 1024
"""A page ends with the ten records that pass this: gRPC's clients take 4 MiB unless told otherwise."""


class AdminService:
    """Answers the methods named in `answered`."""

    answered = frozenset(
        {
            "ListDecisions",
            "GetDecision",
            "GetStatistics",
            "CompareTargets",
            "GetTrend",
            "ClearHistory",
            "ListEvents",
            "WatchEvents",
            "ListBudgets",
            "UpdateBudget",
            "UpdateProvider",
            "ResetHealth",
            "GetRouting",
        }
    )

    def __init__(self, router: Router, *, events: EventFeed, failing: Failing) -> None:
        self._router = router
        self._events = events
        self._failing = failing
        self._answers = Answers()

    async def ListDecisions(  # noqa: N802  # gRPC's name
        self, request: pb.ListDecisionsRequest, context: Any
    ) -> pb.ListDecisionsResponse:
        """Lists past decisions, newest first."""
        try:
            wanted = decision_filter(request, self._router.fleet)
            return await self._listed(wanted, page_size(request), request.page_token)
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def _listed(self, wanted: DecisionFilter, size: int, token: str) -> pb.ListDecisionsResponse:
        """Returns a page, cut where it would be too large; a record among hundreds of targets takes milliseconds."""
        response = pb.ListDecisionsResponse()
        written_bytes = 0
        while True:
            few = min(RECORDS_AT_ONCE, size - len(response.decisions))
            page = self._router.looking_back.decisions(wanted, page_size=few, page_token=token)
            for record in page.records:
                message = decision_record(record, self._answers)
                written_bytes += message.ByteSize()
                response.decisions.append(message)
                # Calls must not wait for somebody who looks back.
                await asyncio.sleep(0)
            token = page.next_page_token
            if not token or len(response.decisions) >= size or written_bytes >= LIST_BYTES:
                response.next_page_token = token
                return response

    async def GetDecision(  # noqa: N802  # gRPC's name
        self, request: pb.GetDecisionRequest, context: Any
    ) -> pb.GetDecisionResponse:
        """Returns one past decision in full."""
        try:
            record = shown(self._router.looking_back.decision(wanted_decision(request)))
            return pb.GetDecisionResponse(decision=decision_record(record, self._answers))
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def GetStatistics(  # noqa: N802  # gRPC's name
        self, request: pb.GetStatisticsRequest, context: Any
    ) -> pb.GetStatisticsResponse:
        """Returns sums over the past, grouped as asked."""
        try:
            return looking_back.statistics(self._router.looking_back.statistics(looking_back.statistics_query(request)))
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def CompareTargets(  # noqa: N802  # gRPC's name
        self, request: pb.CompareTargetsRequest, context: Any
    ) -> pb.CompareTargetsResponse:
        """Returns what was measured of several targets, side by side."""
        try:
            specs, wanted = looking_back.comparison_query(request, self._router.fleet)
            targets = [spec.target for spec in specs]
            return looking_back.comparison(specs, self._router.looking_back.compare(targets, wanted))
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def GetTrend(  # noqa: N802  # gRPC's name
        self, request: pb.GetTrendRequest, context: Any
    ) -> pb.GetTrendResponse:
        """Returns one measure of a target or a provider over time."""
        try:
            places, wanted = looking_back.trend_query(request, self._router.fleet)
            return looking_back.trend(self._router.looking_back.trend(places, wanted))
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def ClearHistory(  # noqa: N802  # gRPC's name
        self, request: pb.ClearHistoryRequest, context: Any
    ) -> pb.ClearHistoryResponse:
        """Forgets past decisions and the sums over them."""
        try:
            removed = self._router.looking_back.clear_history(looking_back.clear_before(request))
            return pb.ClearHistoryResponse(removed_count=removed)
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def ListEvents(  # noqa: N802  # gRPC's name
        self, request: pb.ListEventsRequest, context: Any
    ) -> pb.ListEventsResponse:
        """Lists events, newest first."""
        try:
            return self._events.page(request)
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def WatchEvents(  # noqa: N802  # gRPC's name
        self, request: pb.WatchEventsRequest, context: Any
    ) -> None:
        """Tells events as they happen. Its head goes out once it watches: nothing that happens then is missed."""
        try:
            async with aclosing(self._events.watch(request)) as events:
                async for message in events:
                    if message is None:
                        await written(context.send_initial_metadata(()))
                    else:
                        await written(context.write(message))
        except CallerGoneError:
            return
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def ListBudgets(  # noqa: N802  # gRPC's name
        self, request: pb.ListBudgetsRequest, context: Any
    ) -> pb.ListBudgetsResponse:
        """Lists budgets with what is spent of them, by name."""
        try:
            return budgets.list_budgets(request, self._router)
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def UpdateBudget(  # noqa: N802  # gRPC's name
        self, request: pb.UpdateBudgetRequest, context: Any
    ) -> pb.UpdateBudgetResponse:
        """Changes a budget until the next start."""
        try:
            return budgets.update_budget(request, self._router)
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def UpdateProvider(  # noqa: N802  # gRPC's name
        self, request: pb.UpdateProviderRequest, context: Any
    ) -> pb.UpdateProviderResponse:
        """Drains and undrains a provider and its targets until the next start."""
        try:
            router = self._router
            return administration.update_provider(request, router.administration, router.fleet, by=who(context))
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def ResetHealth(  # noqa: N802  # gRPC's name
        self, request: pb.ResetHealthRequest, context: Any
    ) -> pb.ResetHealthResponse:
        """Forgets what is held against targets."""
        try:
            router = self._router
            return administration.reset_health(request, router.administration, router.fleet, by=who(context))
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def GetRouting(  # noqa: N802  # gRPC's name
        self, request: pb.GetRoutingRequest, context: Any
    ) -> pb.GetRoutingResponse:
        """Returns the routing rules in force."""
        try:
            return routing_rules.get_routing(request, self._router.settings)
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)
