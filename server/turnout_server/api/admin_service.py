"""AdminService: looking back, at decisions one by one and at sums over them; events; budgets; drains and health; the
rules in force. The server refuses the rest.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from turnout.v1 import admin_pb2 as pb
from turnout_server.api import (
    administration,
    budgets,
    checks,
    looking_back,
    registering,
    routing_rules,
    shadows,
    spend_series,
)
from turnout_server.api.answers import Answers
from turnout_server.api.decision_records import decision_filter, decision_record, page_size, shown, wanted_decision
from turnout_server.api.principals import who
from turnout_server.api.writing import CallerGoneError, written
from turnout_server.core.errors import NotYetError

if TYPE_CHECKING:
    from turnout_server.api.event_feed import EventFeed
    from turnout_server.api.failing import Failing
    from turnout_server.core.history import DecisionFilter
    from turnout_server.execution.checking import Checking
    from turnout_server.ports import Changing
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
            "CreateBudget",
            "DeleteBudget",
            "GetSpend",
            "RegisterProvider",
            "UpdateProvider",
            "RemoveProvider",
            "ResetHealth",
            "ExportState",
            "ImportState",
            "CheckHealth",
            "GetRouting",
            "UpdateRouting",
            "ListShadowDifferences",
        }
    )

    def __init__(
        self,
        router: Router,
        *,
        events: EventFeed,
        failing: Failing,
        checking: Checking,
        changing: Changing | None = None,
        max_message_bytes: int,
    ) -> None:
        self._router = router
        self._checking = checking
        self._changing = changing
        self._events = events
        self._failing = failing
        self._max_message_bytes = max_message_bytes
        self._importing = asyncio.Lock()
        self._answers = Answers()

    async def ListDecisions(  # noqa: N802  # gRPC's name
        self, request: pb.ListDecisionsRequest, context: Any
    ) -> pb.ListDecisionsResponse:
        """Lists past decisions, newest first."""
        try:
            wanted = decision_filter(request, self._router.configured.fleet)
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
            specs, wanted = looking_back.comparison_query(request, self._router.configured.fleet)
            targets = [spec.target for spec in specs]
            return looking_back.comparison(specs, self._router.looking_back.compare(targets, wanted))
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def GetTrend(  # noqa: N802  # gRPC's name
        self, request: pb.GetTrendRequest, context: Any
    ) -> pb.GetTrendResponse:
        """Returns one measure of a target or a provider over time."""
        try:
            places, wanted = looking_back.trend_query(request, self._router.configured.fleet)
            return looking_back.trend(self._router.looking_back.trend(places, wanted))
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def ClearHistory(  # noqa: N802  # gRPC's name
        self, request: pb.ClearHistoryRequest, context: Any
    ) -> pb.ClearHistoryResponse:
        """Forgets past decisions and the sums over them."""
        try:
            before = looking_back.clear_before(request)
            removed = self._router.looking_back.clear_history(before)
            if self._router.shadows.shadowing is not None:
                self._router.shadows.shadowing.clear(before)
            self._router.administration.history_cleared(removed, by=who(context))
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
            return await budgets.list_budgets(request, self._router)
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def UpdateBudget(  # noqa: N802  # gRPC's name
        self, request: pb.UpdateBudgetRequest, context: Any
    ) -> pb.UpdateBudgetResponse:
        """Changes a budget until the next start."""
        try:
            return budgets.update_budget(request, self._router, by=who(context))
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def CreateBudget(  # noqa: N802  # gRPC's name
        self, request: pb.CreateBudgetRequest, context: Any
    ) -> pb.CreateBudgetResponse:
        """Adds a budget until the next start."""
        try:
            return budgets.create_budget(request, self._router, by=who(context))
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def DeleteBudget(  # noqa: N802  # gRPC's name
        self, request: pb.DeleteBudgetRequest, context: Any
    ) -> pb.DeleteBudgetResponse:
        """Takes a budget out until the next start."""
        try:
            return budgets.delete_budget(request, self._router, by=who(context))
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def GetSpend(  # noqa: N802  # gRPC's name
        self, request: pb.GetSpendRequest, context: Any
    ) -> pb.GetSpendResponse:
        """Returns what was spent, as series."""
        try:
            back = self._router.looking_back
            return await spend_series.spend(back.spend(spend_series.spend_query(request, back.now_wall())))
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def UpdateProvider(  # noqa: N802  # gRPC's name
        self, request: pb.UpdateProviderRequest, context: Any
    ) -> pb.UpdateProviderResponse:
        """Drains and undrains a provider and its targets until the next start."""
        try:
            router, changing = self._router, self._changing
            name = administration.provider_name(request)
            known = None if changing is None else changing.registered(name)
            if changing is None or known is None:
                return administration.update_provider(
                    request, router.administration, router.configured.fleet, by=who(context)
                )
            return await registering.update_registered(request, router, changing, known, by=who(context))
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def RegisterProvider(  # noqa: N802  # gRPC's name
        self, request: pb.RegisterProviderRequest, context: Any
    ) -> pb.RegisterProviderResponse:
        """Adds a provider until the next start."""
        try:
            return await registering.register_provider(request, self._router, self._can_change(), by=who(context))
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def RemoveProvider(  # noqa: N802  # gRPC's name
        self, request: pb.RemoveProviderRequest, context: Any
    ) -> pb.RemoveProviderResponse:
        """Takes a registered provider out."""
        try:
            return await registering.remove_provider(request, self._router, self._can_change(), by=who(context))
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def ExportState(  # noqa: N802  # gRPC's name
        self, request: pb.ExportStateRequest, context: Any
    ) -> pb.ExportStateResponse:
        """Returns what is known as one document."""
        try:
            from turnout_server.api import state_transfer  # noqa: PLC0415 - seldom asked for

            return await state_transfer.export_state(request, self._router, self._max_message_bytes)
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def ImportState(  # noqa: N802  # gRPC's name
        self, request: pb.ImportStateRequest, context: Any
    ) -> pb.ImportStateResponse:
        """Takes over such a document."""
        try:
            from turnout_server.api import state_transfer  # noqa: PLC0415 - seldom asked for

            return await state_transfer.import_state(request, self._router, self._importing, by=who(context))
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def ResetHealth(  # noqa: N802  # gRPC's name
        self, request: pb.ResetHealthRequest, context: Any
    ) -> pb.ResetHealthResponse:
        """Forgets what is held against targets."""
        try:
            router = self._router
            return administration.reset_health(request, router.administration, router.configured.fleet, by=who(context))
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def CheckHealth(  # noqa: N802  # gRPC's name
        self, request: pb.CheckHealthRequest, context: Any
    ) -> pb.CheckHealthResponse:
        """Makes active checks now."""
        try:
            return await checks.check_health(request, self._checking, self._router.configured.fleet, by=who(context))
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def GetRouting(  # noqa: N802  # gRPC's name
        self, request: pb.GetRoutingRequest, context: Any
    ) -> pb.GetRoutingResponse:
        """Returns the routing rules in force."""
        try:
            return routing_rules.get_routing(request, self._router.configured.settings, self._router.configured.fleet)
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def UpdateRouting(  # noqa: N802  # gRPC's name
        self, request: pb.UpdateRoutingRequest, context: Any
    ) -> pb.UpdateRoutingResponse:
        """Changes routing rules until the next start."""
        try:
            return await routing_rules.update_routing(request, self._router, self._can_change(), by=who(context))
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def ListShadowDifferences(  # noqa: N802  # gRPC's name
        self, request: pb.ListShadowDifferencesRequest, context: Any
    ) -> pb.ListShadowDifferencesResponse:
        """Lists what shadow policies would have done otherwise."""
        try:
            return await shadows.list_differences(request, self._router)
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    def _can_change(self) -> Changing:
        """Returns what changes the configuration. Raises NotYetError where the sidecar was built without one."""
        if self._changing is None:
            raise NotYetError("this sidecar has no configuration that could be changed")
        return self._changing
