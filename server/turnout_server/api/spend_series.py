"""What was spent over time: what is wanted in, series out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout.v1 import admin_pb2 as pb
from turnout_server.api.answers import usd
from turnout_server.api.faults import MAX_NAME_LENGTH, Faults
from turnout_server.api.instants import timestamp
from turnout_server.api.looking_back import DIMENSION
from turnout_server.api.provider_states import in_turns
from turnout_server.core.daily_costs import DAY_SECONDS
from turnout_server.core.spend_series import FINE_SECONDS, POINTS_MAXIMUM, SpendQuery
from turnout_server.core.statistics import MINUTE_SECONDS
from turnout_server.core.trends import QUARTER_SECONDS

if TYPE_CHECKING:
    from turnout_server.core.spend_series import Series, Spend
    from turnout_server.core.status_report import Steps

STEP_SECONDS = 3600.0


def spend_query(request: pb.GetSpendRequest, now_wall: float) -> SpendQuery:
    """Reads what is wanted; `now_wall` is seconds since the epoch. Raises InvalidRequestError."""
    faults = Faults()
    group_by = faults.choice(DIMENSION.to_core, request.group_by, "group_by")
    start, end = faults.range(request)
    until_wall = now_wall if end is None else end
    from_wall = until_wall - DAY_SECONDS if start is None else start
    if end is None and from_wall >= until_wall:
        faults.add("start_time", "is not before now; nothing was spent since")
    usual_seconds = DAY_SECONDS if from_wall < now_wall - DAY_SECONDS - STEP_SECONDS else STEP_SECONDS
    step_seconds = faults.span(request.step, "step") if request.HasField("step") else usual_seconds
    fine = from_wall > now_wall - FINE_SECONDS
    grain_seconds = MINUTE_SECONDS if fine or not request.HasField("step") else QUARTER_SECONDS
    if step_seconds < grain_seconds or step_seconds % grain_seconds:
        beyond = "" if fine else ": beyond the last quarter of an hour what was spent is kept by quarters"
        faults.add("step", f"is {step_seconds:g} s; give a multiple of {grain_seconds:g} s{beyond}")
    elif until_wall - from_wall > POINTS_MAXIMUM * step_seconds:
        count = (until_wall - from_wall) / step_seconds
        faults.add("step", f"is {step_seconds:g} s, which makes {count:.0f} points; at most {POINTS_MAXIMUM} are given")
    tenant = faults.text(request.tenant, "tenant", MAX_NAME_LENGTH)
    faults.raise_any()
    return SpendQuery(
        from_wall=from_wall, until_wall=until_wall, step_seconds=step_seconds, group_by=group_by, tenant=tenant
    )


async def spend(steps: Steps[Spend]) -> pb.GetSpendResponse:
    """Works out what was spent and writes it, other calls in between."""
    found = await in_turns(steps)
    total = found.total
    return pb.GetSpendResponse(
        series=await in_turns(_written(found)),
        total_usd=usd(total.cost),
        failed_usd=usd(total.failed_cost),
        unknown_count=total.unknown,
        start_time=timestamp(found.from_wall),
        end_time=timestamp(found.until_wall),
    )


def _written(found: Spend) -> Steps[list[pb.SpendSeries]]:
    """Writes the series one by one; each may have a thousand points."""
    messages: list[pb.SpendSeries] = []
    for series in found.series:
        messages.append(_series(series, found))
        yield
    return messages


def _series(series: Series, found: Spend) -> pb.SpendSeries:
    message = pb.SpendSeries(
        name=series.name,
        total_usd=usd(series.total.cost),
        failed_usd=usd(series.total.failed_cost),
        unknown_count=series.total.unknown,
    )
    for place, at_wall in found.points:
        point = message.points.add(time=timestamp(at_wall), value=0.0, failed_value=0.0)
        spent = series.points.get(place)
        if spent is not None:
            point.value, point.failed_value = usd(spent.cost), usd(spent.failed_cost)
            point.sample_count = spent.priced
    return message
