"""What operators ask of a running sidecar, as requests: which fields an update names, and how values are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from turnout.v1 import admin_pb2 as pb
from turnout.v1 import router_pb2

PAGE_SIZE = 1000
Spanning = pb.GetSpendRequest | pb.ListDecisionsRequest | pb.GetStatisticsRequest | pb.CompareTargetsRequest
"""Requests about a time from and to."""


def routing_request(policy: str, values: Mapping[str, Any], undo: Iterable[str], etag: str) -> pb.UpdateRoutingRequest:
    """Returns the request that changes the fields whose value is not None, and gives back what `undo` names.

    Raises ValueError where nothing is to be changed, a name is both, or a string stands where a list belongs.
    """
    for name in ("provider_order", "preferences"):
        _check_list(name, values.get(name))
    _check_list("undo", undo)
    given = {name: value for name, value in values.items() if value is not None}
    back = list(undo)
    both = [name for name in back if name in given]
    if both:
        msg = f"{both[0]} is both given and to be undone: leave one out"
        raise ValueError(msg)
    if not given and not back:
        msg = "nothing to change: give a value, or name in undo what the configuration is to say again"
        raise ValueError(msg)
    weights = given.pop("weights", {})
    request = pb.UpdateRoutingRequest(
        routing=pb.Routing(policy=policy, weights=_weights(weights) if weights else None, **given), etag=etag
    )
    request.update_mask.paths.extend([*given, *(f"weights.{name}" for name in weights), *back])
    return request


def _check_list(name: str, value: Any) -> None:
    """A string is a sequence of strings, too: its letters."""
    if isinstance(value, str):
        msg = f"{name} is {value!r}: give a list of names"
        raise ValueError(msg)  # noqa: TRY004 - every mistake in an argument of a client is a ValueError


def _weights(weights: Mapping[str, float]) -> router_pb2.Weights:
    for name in weights:
        if name not in router_pb2.Weights.DESCRIPTOR.fields_by_name:
            known = ", ".join(router_pb2.Weights.DESCRIPTOR.fields_by_name)
            msg = f'there is no weight "{name}"; they are {known}'
            raise ValueError(msg)
    return router_pb2.Weights(**weights)


def budget_update_request(budget: pb.Budget, fields: Sequence[str], etag: str) -> pb.UpdateBudgetRequest:
    """Returns the request that changes these fields of a budget, without any those that are set."""
    request = pb.UpdateBudgetRequest(budget=budget, etag=etag)
    if fields:
        request.update_mask.paths.extend(fields)
    return request


def budgets_request(page_token: str) -> pb.ListBudgetsRequest:
    """Returns the request for a page of budgets."""
    return pb.ListBudgetsRequest(page_size=PAGE_SIZE, page_token=page_token)


def spend_request(
    group_by: pb.Dimension.ValueType,
    start: datetime | timedelta | None,
    end: datetime | timedelta | None,
    step: timedelta | None,
    tenant: str,
) -> pb.GetSpendRequest:
    """Returns the request for what was spent."""
    request = pb.GetSpendRequest(group_by=group_by, tenant=tenant)
    _between(request, start, end)
    if step is not None:
        request.step.CopyFrom(_duration(step))
    return request


def decisions_request(
    target: str,
    task: str,
    tenant: str,
    result: pb.DecisionResult.ValueType,
    *,
    start: datetime | timedelta | None,
    end: datetime | timedelta | None,
) -> pb.ListDecisionsRequest:
    """Returns the request for the first page of decisions."""
    request = pb.ListDecisionsRequest(target=target, task=task, tenant=tenant, result=result)
    _between(request, start, end)
    return request


class DecisionPages:
    """Decisions page by page, until there are as many as are wanted or no more. ValueError for none wanted."""

    def __init__(self, first: pb.ListDecisionsRequest, limit: int) -> None:
        if limit < 1:
            msg = f"limit is {limit}: give 1 or more"
            raise ValueError(msg)
        self.records: list[pb.DecisionRecord] = []
        self._request: pb.ListDecisionsRequest | None = first
        self._limit = limit

    def request(self) -> pb.ListDecisionsRequest | None:
        """Returns what to ask for next, None once all is there."""
        left = self._limit - len(self.records)
        if self._request is None or left <= 0:
            return None
        self._request.page_size = min(left, PAGE_SIZE)
        return self._request

    def take(self, page: pb.ListDecisionsResponse) -> None:
        """Takes the answer to it."""
        self.records += page.decisions
        if self._request is not None and page.next_page_token:
            self._request.page_token = page.next_page_token
        else:
            self._request = None


def statistics_request(
    group_by: pb.Dimension.ValueType,
    start: datetime | timedelta | None,
    end: datetime | timedelta | None,
    tenant: str,
    task: str,
) -> pb.GetStatisticsRequest:
    """Returns the request for sums."""
    request = pb.GetStatisticsRequest(group_by=group_by, tenant=tenant, task=task)
    _between(request, start, end)
    return request


def comparison_request(
    targets: Sequence[str], task: str, start: datetime | timedelta | None, end: datetime | timedelta | None
) -> pb.CompareTargetsRequest:
    """Returns the request for a comparison."""
    request = pb.CompareTargetsRequest(targets=targets, task=task)
    _between(request, start, end)
    return request


def trend_request(
    target: str, measure: pb.TrendMeasure.ValueType, window: timedelta | None, step: timedelta | None
) -> pb.GetTrendRequest:
    """Returns the request for one measure over time."""
    request = pb.GetTrendRequest(target=target, measure=measure)
    if window is not None:
        request.window.CopyFrom(_duration(window))
    if step is not None:
        request.step.CopyFrom(_duration(step))
    return request


def clear_request(before: datetime | timedelta | None) -> pb.ClearHistoryRequest:
    """Returns the request that forgets what was before a time, everything without one."""
    request = pb.ClearHistoryRequest()
    if before is not None:
        request.before.CopyFrom(_timestamp(before))
    return request


def provider_update_request(
    provider: pb.RegisteredProvider, fields: Sequence[str], etag: str
) -> pb.UpdateProviderRequest:
    """Returns the request that changes these fields of a provider, without any those that are set."""
    request = pb.UpdateProviderRequest(provider=provider, etag=etag)
    if fields:
        request.update_mask.paths.extend(fields)
    return request


def _between(request: Spanning, start: datetime | timedelta | None, end: datetime | timedelta | None) -> None:
    if start is not None:
        request.start_time.CopyFrom(_timestamp(start))
    if end is not None:
        request.end_time.CopyFrom(_timestamp(end))


def _timestamp(at: datetime | timedelta) -> Timestamp:
    """Raises ValueError for a time without a zone: it would be somebody else's clock. A timedelta is so long ago."""
    _check_kind(at, "time: give a datetime with a time zone, or a timedelta for so long ago", datetime, timedelta)
    if isinstance(at, timedelta):
        at = datetime.now(UTC) - at
    if at.tzinfo is None:
        msg = f"{at} has no time zone: give one, as in datetime.now(UTC)"
        raise ValueError(msg)
    timestamp = Timestamp()
    timestamp.FromDatetime(at.astimezone(UTC))
    return timestamp


def _duration(length: timedelta) -> Duration:
    _check_kind(length, "length of time: give a timedelta", timedelta)
    duration = Duration()
    duration.FromTimedelta(length)
    return duration


def _check_kind(value: object, wanted: str, *kinds: type) -> None:
    if not isinstance(value, kinds):
        msg = f"{value!r} is no {wanted}"
        raise ValueError(msg)  # noqa: TRY004 - every mistake in an argument of a client is a ValueError
