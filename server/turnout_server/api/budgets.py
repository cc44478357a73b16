"""Budgets to protobuf and back: lists in pages by name, changes with a mask and an etag, notices beside an answer."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from turnout.v1 import admin_pb2 as pb
from turnout.v1 import router_pb2
from turnout_server.api import enums
from turnout_server.api.answers import target, usd
from turnout_server.api.faults import MAX_ID_LENGTH, MAX_NAME_LENGTH, Faults
from turnout_server.api.instants import timestamp
from turnout_server.calendars import UnknownTimezoneError, calendar
from turnout_server.core.budget import (
    LIMIT_MAXIMUM_NANO_USD,
    NAME_MAXIMUM,
    BudgetPeriod,
    BudgetScope,
    BudgetSpec,
    OnExceed,
    budget_faults,
)
from turnout_server.core.errors import UnknownBudgetError
from turnout_server.core.model import NANO_USD

if TYPE_CHECKING:
    from turnout_server.core.budget import Notices, Remaining
    from turnout_server.core.budget_book import BudgetReport
    from turnout_server.core.trimming import TrimReport
    from turnout_server.router import Router

MAX_PAGE_SIZE = 1000
DEFAULT_PAGE_SIZE = 100
MAX_SHARES = 100
TOKEN_PREFIX = b"budget:"
CHANGEABLE = frozenset({"limit_usd", "on_exceed", "alert_at", "timezone", "per_pod", "replicas"})

SCOPE_TO_WIRE: dict[BudgetScope, Any] = {
    scope: pb.BudgetScope.Value(f"BUDGET_SCOPE_{scope.name}") for scope in BudgetScope
}
SCOPE_TO_CORE: dict[int, BudgetScope] = {wire: scope for scope, wire in SCOPE_TO_WIRE.items()}
PERIOD = enums.EnumMap(pb.BudgetPeriod.DESCRIPTOR, BudgetPeriod, "BUDGET_PERIOD_")
EXCEED = enums.EnumMap(pb.BudgetExceed.DESCRIPTOR, OnExceed, "BUDGET_EXCEED_")


async def list_budgets(request: pb.ListBudgetsRequest, router: Router) -> pb.ListBudgetsResponse:
    """Lists budgets by name, other calls in between. Raises InvalidRequestError."""
    size, after, scope = wanted_page(request)
    found = [
        spec.name
        for spec in router.budgets.specs()
        if spec.name > after and scope in {pb.BUDGET_SCOPE_UNSPECIFIED, SCOPE_TO_WIRE[spec.scope]}
    ]
    response = pb.ListBudgetsResponse(next_page_token=_token(found[size - 1]) if len(found) > size else "")
    for name in found[:size]:
        # One may be deleted meanwhile.
        with suppress(UnknownBudgetError):
            response.budgets.append(budget(router.budgets.report(name)))
        await asyncio.sleep(0)
    return response


def update_budget(request: pb.UpdateBudgetRequest, router: Router, *, by: str) -> pb.UpdateBudgetResponse:
    """Changes a budget. Raises InvalidRequestError, UnknownBudgetError or StaleEtagError."""
    known = router.budgets.report(wanted_budget(request))
    changed = changed_budget(request, known.spec)
    return pb.UpdateBudgetResponse(budget=budget(router.budgets.change(changed, request.etag, by=by)))


def create_budget(request: pb.CreateBudgetRequest, router: Router, *, by: str) -> pb.CreateBudgetResponse:
    """Adds a budget. Raises InvalidRequestError or AlreadyExistsError."""
    return pb.CreateBudgetResponse(budget=budget(router.budgets.create(new_budget(request), by=by)))


def delete_budget(request: pb.DeleteBudgetRequest, router: Router, *, by: str) -> pb.DeleteBudgetResponse:
    """Takes a budget out. Raises InvalidRequestError, UnknownBudgetError or StaleEtagError."""
    router.budgets.delete(unwanted_budget(request), request.etag, by=by)
    return pb.DeleteBudgetResponse()


def wanted_page(request: pb.ListBudgetsRequest) -> tuple[int, str, int]:
    """Reads how many are wanted, after which name, and of which scope. Raises InvalidRequestError."""
    faults = Faults()
    size = faults.whole(request.page_size, "page_size", 0, MAX_PAGE_SIZE)
    if request.scope not in pb.BudgetScope.values():
        faults.add("scope", f"has the value {request.scope}, which this version does not know")
    after = ""
    if faults.text(request.page_token, "page_token", MAX_ID_LENGTH) and request.page_token:
        try:
            decoded = base64.urlsafe_b64decode(request.page_token.encode())
            after = decoded.removeprefix(TOKEN_PREFIX).decode()
        except (binascii.Error, UnicodeError):
            decoded = b""
        if not decoded.startswith(TOKEN_PREFIX):
            faults.add("page_token", "is not one that came with a page; begin without one")
    faults.raise_any()
    return size or DEFAULT_PAGE_SIZE, after, request.scope


def wanted_budget(request: pb.UpdateBudgetRequest) -> str:
    """Reads which budget is to be changed. Raises InvalidRequestError where none is named."""
    faults = Faults()
    faults.text(request.etag, "etag", MAX_NAME_LENGTH)
    if not request.HasField("budget"):
        faults.add("budget", "is missing; give the budget's name with the new values")
    elif not faults.text(request.budget.name, "budget.name", NAME_MAXIMUM):
        faults.add("budget.name", "is missing; ListBudgets lists the names")
    faults.raise_any()
    return request.budget.name


def changed_budget(request: pb.UpdateBudgetRequest, spec: BudgetSpec) -> BudgetSpec:
    """Returns the budget with the values of the request laid over it. Raises InvalidRequestError."""
    faults = Faults()
    given = request.budget
    return _with_values(spec, given, _masked(request, spec, faults), faults)


def new_budget(request: pb.CreateBudgetRequest) -> BudgetSpec:
    """Reads a budget that is to be added. Raises InvalidRequestError."""
    faults = Faults()
    given = request.budget
    if not request.HasField("budget"):
        faults.add("budget", "is missing; give its name, scope, period and limit_usd")
        faults.raise_any()
    if not faults.text(given.name, "budget.name", NAME_MAXIMUM):
        faults.add("budget.name", f"is missing; give one of 1 to {NAME_MAXIMUM} characters")
    scope, period = SCOPE_TO_CORE.get(given.scope), PERIOD.to_core.get(given.period)
    if given.scope == pb.BUDGET_SCOPE_SESSION:
        faults.add("budget.scope", "SESSION is not in this version yet")
    elif scope is None:
        faults.add("budget.scope", f"has the value {given.scope}; give one of {', '.join(e.name for e in BudgetScope)}")
    if period is None:
        known = ", ".join(each.name for each in BudgetPeriod)
        faults.add("budget.period", f"has the value {given.period}; give one of {known}")
    # Where one of these is not known, the rest is read for its faults all the same.
    spec = BudgetSpec(
        name=given.name,
        scope=scope or BudgetScope.TASK,
        limit_nano_usd=0,
        calendar=calendar(period or BudgetPeriod.DAY, "UTC"),
    )
    return _with_values(spec, given, CHANGEABLE, faults)


def unwanted_budget(request: pb.DeleteBudgetRequest) -> str:
    """Reads which budget is to be taken out. Raises InvalidRequestError where none is named."""
    faults = Faults()
    faults.text(request.etag, "etag", MAX_NAME_LENGTH)
    if not faults.text(request.name, "name", NAME_MAXIMUM):
        faults.add("name", "is missing; ListBudgets lists the names")
    faults.raise_any()
    return request.name


def _with_values(spec: BudgetSpec, given: pb.Budget, fields: AbstractSet[str], faults: Faults) -> BudgetSpec:
    """Returns a budget with these values of a message. Raises InvalidRequestError."""
    if "limit_usd" in fields:
        highest = LIMIT_MAXIMUM_NANO_USD / NANO_USD
        limit = faults.number(given.limit_usd, "budget.limit_usd", 0, highest)
        spec = replace(spec, limit_nano_usd=round(limit * NANO_USD) if 0 <= limit <= highest else 0)
    if "on_exceed" in fields:
        exceed = faults.choice(EXCEED.to_core, given.on_exceed, "budget.on_exceed")
        spec = replace(spec, on_exceed=exceed or OnExceed.REJECT)
    if "alert_at" in fields and faults.count(given.alert_at, "budget.alert_at", MAX_SHARES):
        spec = replace(spec, alert_at=_shares(given.alert_at))
    if "timezone" in fields:
        try:
            zone = faults.text(given.timezone, "budget.timezone", MAX_NAME_LENGTH) or "UTC"
            spec = replace(spec, calendar=calendar(spec.calendar.period, zone))
        except UnknownTimezoneError as error:
            faults.add("budget.timezone", str(error))
    if "per_pod" in fields:
        spec = replace(spec, per_pod=given.per_pod)
    if "replicas" in fields:
        spec = replace(spec, replicas=given.replicas if given.HasField("replicas") else None)
    # What was read is told first, and once.
    if not faults.violations:
        for fault in budget_faults(spec):
            faults.add(f"budget.{fault.field}", fault.description)
    faults.raise_any()
    return spec


def _masked(request: pb.UpdateBudgetRequest, spec: BudgetSpec, faults: Faults) -> frozenset[str]:
    """Returns the fields to change: those of the mask, without one those that are set."""
    given = request.budget
    same = (
        ("scope", given.scope, SCOPE_TO_WIRE[spec.scope]),
        ("period", given.period, PERIOD.to_wire[spec.calendar.period]),
    )
    for name, value, own in same:
        if value not in {0, own}:
            faults.add(f"budget.{name}", "cannot be changed; leave it out, or add another budget")
    if not request.HasField("update_mask"):
        return frozenset(field.name for field, _ in given.ListFields()) & CHANGEABLE
    paths = request.update_mask.paths
    if not paths:
        faults.add("update_mask", "names no field; leave it out to change those that are set")
    for path in paths:
        if path not in CHANGEABLE:
            faults.add("update_mask", f'"{path[:MAX_NAME_LENGTH]}" is none of {", ".join(sorted(CHANGEABLE))}')
    return frozenset(paths)


def _shares(values: Sequence[float]) -> tuple[float, ...]:
    """Returns them rising, each once; none stands for the default."""
    return tuple(sorted(set(values))) or (0.5, 0.8, 0.95)


def budget(report: BudgetReport) -> pb.Budget:
    """Writes a budget as it stands."""
    spec = report.spec
    ends_at = report.span.ends_at
    reset_time = None if ends_at is None else timestamp(ends_at)
    return pb.Budget(
        name=spec.name,
        scope=SCOPE_TO_WIRE[spec.scope],
        period=PERIOD.to_wire[spec.calendar.period],
        limit_usd=usd(spec.limit_nano_usd),
        on_exceed=EXCEED.to_wire[spec.on_exceed],
        alert_at=spec.alert_at,
        timezone=spec.calendar.timezone,
        per_pod=spec.per_pod,
        replicas=spec.replicas,
        created=report.created,
        etag=report.etag,
        spend=[
            pb.BudgetSpend(
                key=account.key,
                spent_usd=usd(account.spent),
                reserved_usd=usd(account.reserved),
                remaining_usd=usd(account.left),
                forecast_usd=None if account.forecast is None else usd(account.forecast),
                reset_time=reset_time,
            )
            for account in report.accounts
        ],
        spend_count=report.account_count,
    )


Noted = TypeVar("Noted", router_pb2.RouteResponse, router_pb2.ExecuteResponse, router_pb2.Completion)


def with_notices(answer: Noted, notices: Notices | None) -> Noted:
    """Returns an answer with notices: what remains of budgets, a cheaper target, what was left out of the prompt."""
    if notices is not None:
        _write(answer.notices, notices)
    return answer


def _write(message: router_pb2.Notices, notices: Notices) -> None:
    message.budgets.extend(_remaining(each) for each in notices.budgets)
    if notices.trimming is not None:
        message.trimming.CopyFrom(_trimming(notices.trimming))
    found = notices.suggestion
    if found is not None:
        cost = found.expected_cost_nano_usd
        message.downgrade.target.CopyFrom(target(found.target))
        message.downgrade.reason = found.reason
        if cost is not None:
            message.downgrade.expected_cost_usd = usd(cost)


def _trimming(report: TrimReport) -> router_pb2.TrimReport:
    before, after = report.tokens_before, report.tokens_after
    return router_pb2.TrimReport(
        removed_messages=report.removed_messages,
        repeated_messages=report.repeated_messages,
        removed_tokens=None if before is None or after is None else max(0, before - after),
        tokens_before=before,
        tokens_after=after,
        reason=report.reason,
    )


def _remaining(each: Remaining) -> router_pb2.BudgetRemaining:
    return router_pb2.BudgetRemaining(
        name=each.name,
        limit_usd=usd(each.limit_nano_usd),
        remaining_usd=usd(each.left_nano_usd),
        reset_time=None if each.ends_at is None else timestamp(each.ends_at),
    )


def _token(name: str) -> str:
    return base64.urlsafe_b64encode(TOKEN_PREFIX + name.encode()).decode()
