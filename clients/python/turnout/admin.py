"""What operators read and change of a running sidecar beside drains and resets: `client.admin`.

Every change needs a token of role admin where the sidecar has tokens, is checked whole before anything happens, and
holds until the sidecar starts anew. With `etag`, that of what was read, a change that somebody else was faster with is
refused (ConflictError, reason STALE_ETAG).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from turnout import admin_requests as requests
from turnout import rpcs
from turnout.admin_history import AsyncHistory, History
from turnout.v1 import admin_pb2 as pb

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from turnout.v1 import router_pb2


class Admin(History):
    """The methods of AdminService that `Client` offers as they are; made by the client."""

    def routing(self, policy: str = "", *, timeout_seconds: float | None = None) -> pb.GetRoutingResponse:
        """Returns the rules in force of a policy, of the default one without a name, and the names of all."""
        request = pb.GetRoutingRequest(policy=policy)
        answer: pb.GetRoutingResponse = self._call("GetRouting", request, rpcs.ADMIN_READ, timeout_seconds)
        return answer

    def update_routing(
        self,
        policy: str = "",
        *,
        strategy: router_pb2.Strategy.ValueType | None = None,
        weights: Mapping[str, float] | None = None,
        failover_preset: pb.FailoverPreset.ValueType | None = None,
        default_policy: str | None = None,
        provider_order: Sequence[str] | None = None,
        preferences: Sequence[str] | None = None,
        undo: Sequence[str] = (),
        etag: str = "",
        timeout_seconds: float | None = None,
    ) -> pb.Routing:
        """Changes what is given of the rules; weights that are not given stay. Returns those in force then.

        `undo` names what is to be again what the configuration says: "strategy", "weights", "failover_preset",
        "default_policy", "provider_order", "preferences". ValueError where nothing is to be changed.
        """
        values = {
            "strategy": strategy,
            "weights": weights,
            "failover_preset": failover_preset,
            "default_policy": default_policy,
            "provider_order": provider_order,
            "preferences": preferences,
        }
        request = requests.routing_request(policy, values, undo, etag)
        answer: pb.UpdateRoutingResponse = self._call("UpdateRouting", request, rpcs.ADMIN_CHANGE, timeout_seconds)
        return answer.routing

    def budgets(self, *, timeout_seconds: float | None = None) -> Sequence[pb.Budget]:
        """Returns all budgets with what is spent of them, by name."""
        found: list[pb.Budget] = []
        token = ""
        while True:
            request = requests.budgets_request(token)
            page: pb.ListBudgetsResponse = self._call("ListBudgets", request, rpcs.ADMIN_READ, timeout_seconds)
            found += page.budgets
            token = page.next_page_token
            if not token:
                return tuple(found)

    def create_budget(self, budget: pb.Budget, *, timeout_seconds: float | None = None) -> pb.Budget:
        """Adds a budget; returns it as it is now."""
        request = pb.CreateBudgetRequest(budget=budget)
        answer: pb.CreateBudgetResponse = self._call("CreateBudget", request, rpcs.ADMIN_CHANGE, timeout_seconds)
        return answer.budget

    def update_budget(
        self, budget: pb.Budget, *fields: str, etag: str = "", timeout_seconds: float | None = None
    ) -> pb.Budget:
        """Gives the budget of that name other values: those of `fields`, without any those that are set."""
        request = requests.budget_update_request(budget, fields, etag)
        answer: pb.UpdateBudgetResponse = self._call("UpdateBudget", request, rpcs.ADMIN_CHANGE, timeout_seconds)
        return answer.budget

    def register_provider(
        self, provider: pb.RegisteredProvider, *, timeout_seconds: float | None = None
    ) -> pb.RegisteredProvider:
        """Adds a provider, where the sidecar's configuration allows that; returns it as it is now."""
        request = pb.RegisterProviderRequest(provider=provider)
        answer: pb.RegisterProviderResponse = self._call(
            "RegisterProvider", request, rpcs.ADMIN_CHANGE, timeout_seconds
        )
        return answer.provider

    def update_provider(
        self, provider: pb.RegisteredProvider, *fields: str, etag: str = "", timeout_seconds: float | None = None
    ) -> pb.RegisteredProvider:
        """Gives the registered provider of that name other values: those of `fields`, without any those that are set.

        Without anything to change it reads any provider.
        """
        request = requests.provider_update_request(provider, fields, etag)
        answer: pb.UpdateProviderResponse = self._call("UpdateProvider", request, rpcs.ADMIN_CHANGE, timeout_seconds)
        return answer.provider

    def remove_provider(
        self, name: str, *, etag: str = "", timeout_seconds: float | None = None
    ) -> Sequence[router_pb2.Target]:
        """Takes a registered provider out; returns its targets. Calls that run go on."""
        request = pb.RemoveProviderRequest(provider=name, etag=etag)
        answer: pb.RemoveProviderResponse = self._call("RemoveProvider", request, rpcs.ADMIN_CHANGE, timeout_seconds)
        return tuple(answer.removed)

    def export_state(self, *, include_history: bool = False, timeout_seconds: float | None = None) -> bytes:
        """Returns what the sidecar has learned and spent as one document; `include_history` adds sums over the past."""
        request = pb.ExportStateRequest(include_history=include_history)
        answer: pb.ExportStateResponse = self._call("ExportState", request, rpcs.ADMIN_STATE, timeout_seconds)
        return answer.state

    def import_state(self, state: bytes, *, timeout_seconds: float | None = None) -> pb.ImportStateResponse:
        """Takes over such a document: targets that were not called here yet, and what budgets have spent."""
        request = pb.ImportStateRequest(state=state)
        answer: pb.ImportStateResponse = self._call("ImportState", request, rpcs.ADMIN_STATE, timeout_seconds)
        return answer

    def spend(
        self,
        *,
        group_by: pb.Dimension.ValueType = pb.DIMENSION_UNSPECIFIED,
        start: datetime | timedelta | None = None,
        end: datetime | timedelta | None = None,
        step: timedelta | None = None,
        tenant: str = "",
        timeout_seconds: float | None = None,
    ) -> pb.GetSpendResponse:
        """Returns what was spent, as series by `group_by`, in points of `step` (an hour, more than a day back a day).

        From `start` on, a time with its zone or so long ago (a day); ValueError for one without a zone.
        """
        request = requests.spend_request(group_by, start, end, step, tenant)
        answer: pb.GetSpendResponse = self._call("GetSpend", request, rpcs.ADMIN_READ, timeout_seconds)
        return answer

    def delete_budget(self, name: str, *, etag: str = "", timeout_seconds: float | None = None) -> None:
        """Takes a budget out. NotFoundError for a name of nothing."""
        request = pb.DeleteBudgetRequest(name=name, etag=etag)
        self._call("DeleteBudget", request, rpcs.ADMIN_CHANGE, timeout_seconds)

    def shadow_differences(
        self, policy: str = "", *, limit: int = 50, timeout_seconds: float | None = None
    ) -> pb.ListShadowDifferencesResponse:
        """Returns how often shadow policies agreed, and the newest decisions that they would have made otherwise.

        Of one policy in force, of all without a name; at most `limit` differences, 1 to 1,000.
        """
        request = pb.ListShadowDifferencesRequest(policy=policy, page_size=limit)
        answer: pb.ListShadowDifferencesResponse = self._call(
            "ListShadowDifferences", request, rpcs.ADMIN_READ, timeout_seconds
        )
        return answer


class AsyncAdmin(AsyncHistory):
    """The methods of AdminService that `AsyncClient` offers as they are; made by the client."""

    async def routing(self, policy: str = "", *, timeout_seconds: float | None = None) -> pb.GetRoutingResponse:
        """Returns the rules in force of a policy, of the default one without a name, and the names of all."""
        request = pb.GetRoutingRequest(policy=policy)
        answer: pb.GetRoutingResponse = await self._call("GetRouting", request, rpcs.ADMIN_READ, timeout_seconds)
        return answer

    async def update_routing(
        self,
        policy: str = "",
        *,
        strategy: router_pb2.Strategy.ValueType | None = None,
        weights: Mapping[str, float] | None = None,
        failover_preset: pb.FailoverPreset.ValueType | None = None,
        default_policy: str | None = None,
        provider_order: Sequence[str] | None = None,
        preferences: Sequence[str] | None = None,
        undo: Sequence[str] = (),
        etag: str = "",
        timeout_seconds: float | None = None,
    ) -> pb.Routing:
        """Changes what is given of the rules; weights that are not given stay. Returns those in force then.

        `undo` names what is to be again what the configuration says: "strategy", "weights", "failover_preset",
        "default_policy", "provider_order", "preferences". ValueError where nothing is to be changed.
        """
        values = {
            "strategy": strategy,
            "weights": weights,
            "failover_preset": failover_preset,
            "default_policy": default_policy,
            "provider_order": provider_order,
            "preferences": preferences,
        }
        request = requests.routing_request(policy, values, undo, etag)
        answer: pb.UpdateRoutingResponse = await self._call(
            "UpdateRouting", request, rpcs.ADMIN_CHANGE, timeout_seconds
        )
        return answer.routing

    async def budgets(self, *, timeout_seconds: float | None = None) -> Sequence[pb.Budget]:
        """Returns all budgets with what is spent of them, by name."""
        found: list[pb.Budget] = []
        token = ""
        while True:
            request = requests.budgets_request(token)
            page: pb.ListBudgetsResponse = await self._call("ListBudgets", request, rpcs.ADMIN_READ, timeout_seconds)
            found += page.budgets
            token = page.next_page_token
            if not token:
                return tuple(found)

    async def create_budget(self, budget: pb.Budget, *, timeout_seconds: float | None = None) -> pb.Budget:
        """Adds a budget; returns it as it is now."""
        request = pb.CreateBudgetRequest(budget=budget)
        answer: pb.CreateBudgetResponse = await self._call("CreateBudget", request, rpcs.ADMIN_CHANGE, timeout_seconds)
        return answer.budget

    async def update_budget(
        self, budget: pb.Budget, *fields: str, etag: str = "", timeout_seconds: float | None = None
    ) -> pb.Budget:
        """Gives the budget of that name other values: those of `fields`, without any those that are set."""
        request = requests.budget_update_request(budget, fields, etag)
        answer: pb.UpdateBudgetResponse = await self._call("UpdateBudget", request, rpcs.ADMIN_CHANGE, timeout_seconds)
        return answer.budget

    async def register_provider(
        self, provider: pb.RegisteredProvider, *, timeout_seconds: float | None = None
    ) -> pb.RegisteredProvider:
        """Adds a provider, where the sidecar's configuration allows that; returns it as it is now."""
        request = pb.RegisterProviderRequest(provider=provider)
        answer: pb.RegisterProviderResponse = await self._call(
            "RegisterProvider", request, rpcs.ADMIN_CHANGE, timeout_seconds
        )
        return answer.provider

    async def update_provider(
        self, provider: pb.RegisteredProvider, *fields: str, etag: str = "", timeout_seconds: float | None = None
    ) -> pb.RegisteredProvider:
        """Gives the registered provider of that name other values: those of `fields`, without any those that are set.

        Without anything to change it reads any provider.
        """
        request = requests.provider_update_request(provider, fields, etag)
        answer: pb.UpdateProviderResponse = await self._call(
            "UpdateProvider", request, rpcs.ADMIN_CHANGE, timeout_seconds
        )
        return answer.provider

    async def remove_provider(
        self, name: str, *, etag: str = "", timeout_seconds: float | None = None
    ) -> Sequence[router_pb2.Target]:
        """Takes a registered provider out; returns its targets. Calls that run go on."""
        request = pb.RemoveProviderRequest(provider=name, etag=etag)
        answer: pb.RemoveProviderResponse = await self._call(
            "RemoveProvider", request, rpcs.ADMIN_CHANGE, timeout_seconds
        )
        return tuple(answer.removed)

    async def export_state(self, *, include_history: bool = False, timeout_seconds: float | None = None) -> bytes:
        """Returns what the sidecar has learned and spent as one document; `include_history` adds sums over the past."""
        request = pb.ExportStateRequest(include_history=include_history)
        answer: pb.ExportStateResponse = await self._call("ExportState", request, rpcs.ADMIN_STATE, timeout_seconds)
        return answer.state

    async def import_state(self, state: bytes, *, timeout_seconds: float | None = None) -> pb.ImportStateResponse:
        """Takes over such a document: targets that were not called here yet, and what budgets have spent."""
        request = pb.ImportStateRequest(state=state)
        answer: pb.ImportStateResponse = await self._call("ImportState", request, rpcs.ADMIN_STATE, timeout_seconds)
        return answer

    async def spend(
        self,
        *,
        group_by: pb.Dimension.ValueType = pb.DIMENSION_UNSPECIFIED,
        start: datetime | timedelta | None = None,
        end: datetime | timedelta | None = None,
        step: timedelta | None = None,
        tenant: str = "",
        timeout_seconds: float | None = None,
    ) -> pb.GetSpendResponse:
        """Returns what was spent, as series by `group_by`, in points of `step` (an hour, more than a day back a day).

        From `start` on, a time with its zone or so long ago (a day); ValueError for one without a zone.
        """
        request = requests.spend_request(group_by, start, end, step, tenant)
        answer: pb.GetSpendResponse = await self._call("GetSpend", request, rpcs.ADMIN_READ, timeout_seconds)
        return answer

    async def delete_budget(self, name: str, *, etag: str = "", timeout_seconds: float | None = None) -> None:
        """Takes a budget out. NotFoundError for a name of nothing."""
        request = pb.DeleteBudgetRequest(name=name, etag=etag)
        await self._call("DeleteBudget", request, rpcs.ADMIN_CHANGE, timeout_seconds)

    async def shadow_differences(
        self, policy: str = "", *, limit: int = 50, timeout_seconds: float | None = None
    ) -> pb.ListShadowDifferencesResponse:
        """Returns how often shadow policies agreed, and the newest decisions that they would have made otherwise.

        Of one policy in force, of all without a name; at most `limit` differences, 1 to 1,000.
        """
        request = pb.ListShadowDifferencesRequest(policy=policy, page_size=limit)
        answer: pb.ListShadowDifferencesResponse = await self._call(
            "ListShadowDifferences", request, rpcs.ADMIN_READ, timeout_seconds
        )
        return answer
