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


def routing_request(policy: str, values: Mapping[str, Any], undo: Iterable[str], etag: str) -> pb.UpdateRoutingRequest:
    """Returns the request that changes the fields whose value is not None, and gives back what `undo` names.

    Raises ValueError where nothing is to be changed, or a name is both.
    """
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
    end: datetime | None,
    step: timedelta | None,
    tenant: str,
) -> pb.GetSpendRequest:
    """Returns the request for what was spent. A `start` that is a timedelta is so long ago."""
    request = pb.GetSpendRequest(group_by=group_by, tenant=tenant)
    if isinstance(start, timedelta):
        start = datetime.now(UTC) - start
    if start is not None:
        request.start_time.CopyFrom(_timestamp(start))
    if end is not None:
        request.end_time.CopyFrom(_timestamp(end))
    if step is not None:
        duration = Duration()
        duration.FromTimedelta(step)
        request.step.CopyFrom(duration)
    return request


def provider_update_request(
    provider: pb.RegisteredProvider, fields: Sequence[str], etag: str
) -> pb.UpdateProviderRequest:
    """Returns the request that changes these fields of a provider, without any those that are set."""
    request = pb.UpdateProviderRequest(provider=provider, etag=etag)
    if fields:
        request.update_mask.paths.extend(fields)
    return request


def _timestamp(at: datetime) -> Timestamp:
    """Raises ValueError for a time without a zone: it would be somebody else's clock."""
    if at.tzinfo is None:
        msg = f"{at} has no time zone: give one, as in datetime.now(UTC)"
        raise ValueError(msg)
    timestamp = Timestamp()
    timestamp.FromDatetime(at.astimezone(UTC))
    return timestamp
