"""Sums and trends over the past: what is wanted in, figures out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from turnout.v1 import admin_pb2 as pb
from turnout_server.api import enums
from turnout_server.api.answers import target, usd
from turnout_server.api.decision_records import wanted_target
from turnout_server.api.faults import MAX_ID_LENGTH, MAX_NAME_LENGTH, MAX_WORD_LENGTH, Faults
from turnout_server.api.instants import timestamp
from turnout_server.api.principals import seen_tenant
from turnout_server.api.provider_states import latency_summary
from turnout_server.core.errors import UnknownProviderError, UnknownTargetError
from turnout_server.core.statistics import MINUTE_SECONDS
from turnout_server.core.summaries import Dimension, StatisticsQuery
from turnout_server.core.trends import (
    FINE_WINDOW_SECONDS,
    LONGEST_WINDOW_SECONDS,
    QUARTER_SECONDS,
    Measure,
    TrendQuery,
)

if TYPE_CHECKING:
    from turnout_server.core.fleet import Fleet, TargetSpec
    from turnout_server.core.summaries import Group, Statistics
    from turnout_server.core.trends import Trend

LEAST_COMPARED, MOST_COMPARED = 2, 100

DIMENSION = enums.EnumMap(pb.Dimension.DESCRIPTOR, Dimension, "DIMENSION_")
MEASURE = enums.EnumMap(pb.TrendMeasure.DESCRIPTOR, Measure, "TREND_MEASURE_")


def statistics_query(request: pb.GetStatisticsRequest) -> StatisticsQuery:
    """Reads what is wanted. Raises InvalidRequestError; PermissionDeniedError for another tenant than the token's."""
    faults = Faults()
    group_by = faults.choice(DIMENSION.to_core, request.group_by, "group_by")
    from_wall, until_wall = faults.range(request)
    task = faults.text(request.task, "task", MAX_WORD_LENGTH)
    tenant = seen_tenant(faults.text(request.tenant, "tenant", MAX_NAME_LENGTH))
    faults.raise_any()
    return StatisticsQuery(group_by=group_by, task=task, tenant=tenant, from_wall=from_wall, until_wall=until_wall)


def comparison_query(request: pb.CompareTargetsRequest, fleet: Fleet) -> tuple[Sequence[TargetSpec], StatisticsQuery]:
    """Reads what is to be compared. Raises InvalidRequestError, and UnknownTargetError for what is not known."""
    faults = Faults()
    from_wall, until_wall = faults.range(request)
    task = faults.text(request.task, "task", MAX_WORD_LENGTH)
    if len(request.targets) < LEAST_COMPARED:
        faults.add("targets", f"has {len(request.targets)} entries; name at least two targets")
    if faults.count(request.targets, "targets", MOST_COMPARED):
        for place, name in enumerate(request.targets):
            faults.text(name, f"targets[{place}]", MAX_ID_LENGTH)
    faults.raise_any()
    specs: list[TargetSpec] = []
    for place, name in enumerate(request.targets):
        spec = wanted_target(name, f"targets[{place}]", fleet)
        if spec in specs:
            faults.add(f"targets[{place}]", f"is {spec.target} again; name each target once")
        specs.append(spec)
    faults.raise_any()
    return specs, StatisticsQuery(task=task, tenant=seen_tenant(""), from_wall=from_wall, until_wall=until_wall)


def trend_query(request: pb.GetTrendRequest, fleet: Fleet) -> tuple[Sequence[int], TrendQuery]:
    """Reads whose trend of what is wanted, the targets by their places in the fleet.

    Raises InvalidRequestError, and UnknownTargetError or UnknownProviderError for what is not known.
    """
    faults = Faults()
    if not faults.text(request.target, "target", MAX_ID_LENGTH):
        faults.add("target", "is missing; give a target or a provider")
    measure = faults.choice(MEASURE.to_core, request.measure, "measure")
    if not request.measure:
        faults.add("measure", f"is missing; give one of {', '.join(Measure)}")
    window_seconds = FINE_WINDOW_SECONDS
    if request.HasField("window"):
        window_seconds = faults.span(request.window, "window", LONGEST_WINDOW_SECONDS)
        if window_seconds < MINUTE_SECONDS:
            faults.add("window", f"is {window_seconds:g} s; give 1 minute to 24 hours")
    grain_seconds = MINUTE_SECONDS if window_seconds <= FINE_WINDOW_SECONDS else QUARTER_SECONDS
    step_seconds = grain_seconds
    if request.HasField("step"):
        step_seconds = faults.span(request.step, "step")
        if not grain_seconds <= step_seconds <= max(window_seconds, grain_seconds) or step_seconds % grain_seconds:
            faults.add(
                "step",
                f"is {step_seconds:g} s; give a multiple of {grain_seconds:g} s, no longer than the window: beyond an "
                f"hour the past is kept by quarters of an hour",
            )
    faults.raise_any()
    assert measure is not None
    places = fleet.resolve(request.target)
    if not places and "/" in request.target:
        raise UnknownTargetError(
            f'there is no target "{request.target}"; ProviderStatus lists those there are', name=request.target
        )
    if not places:
        known = ", ".join(fleet.providers) or "none"
        raise UnknownProviderError(
            f'there is no provider "{request.target}"; the providers are: {known}', name=request.target
        )
    return places, TrendQuery(measure=measure, window_seconds=window_seconds, step_seconds=step_seconds)


def clear_before(request: pb.ClearHistoryRequest) -> float | None:
    """Reads before when the past is to be forgotten, seconds since the epoch; None for all of it.

    Raises InvalidRequestError.
    """
    if not request.HasField("before"):
        return None
    faults = Faults()
    before = faults.instant(request.before, "before")
    faults.raise_any()
    return before


def statistics(found: Statistics) -> pb.GetStatisticsResponse:
    """Writes sums by group."""
    return pb.GetStatisticsResponse(
        groups=[_group(group) for group in found.groups],
        start_time=timestamp(found.from_wall),
        end_time=timestamp(found.until_wall),
    )


def comparison(specs: Sequence[TargetSpec], found: Statistics) -> pb.CompareTargetsResponse:
    """Writes the sums of each target, in the order of `specs`."""
    compared = []
    for spec, group in zip(specs, found.groups, strict=True):
        cost = group.cost_per_attempt_nano_usd
        compared.append(
            pb.TargetComparison(
                target=target(spec.target),
                statistics=_group(group),
                cost_per_request_usd=None if cost is None else usd(cost),
                quality=spec.quality,
            )
        )
    return pb.CompareTargetsResponse(
        targets=compared, start_time=timestamp(found.from_wall), end_time=timestamp(found.until_wall)
    )


def trend(found: Trend) -> pb.GetTrendResponse:
    """Writes a trend."""
    points = [
        pb.TrendPoint(time=timestamp(point.at_wall), value=point.value, sample_count=point.sample_count)
        for point in found.points
    ]
    return pb.GetTrendResponse(points=points, slope_per_hour=found.slope_per_hour)


def _group(group: Group) -> pb.StatisticsGroup:
    sums, attempts = group.sums, group.sums.attempts
    message = pb.StatisticsGroup(
        name=group.name,
        decision_count=sums.decision_count,
        attempt_count=attempts.total,
        success_rate=group.success_rate,
        failover_count=sums.moved_count,
        latency=latency_summary(attempts.latency.summary(None)),
        time_to_first_token=latency_summary(attempts.first_token.summary(None)),
        input_tokens=attempts.input_tokens,
        output_tokens=attempts.output_tokens,
        cost_usd=usd(attempts.cost_nano_usd),
        failures={kind.value: count for kind, count in attempts.failures.items()},
        mean_feedback=group.mean_feedback,
        unserved_count=sums.unserved_count,
        mean_score=group.mean_score,
        mean_confidence=group.mean_confidence,
        failover_rate=group.failover_rate,
        unknown_cost_count=attempts.total - attempts.priced,
    )
    if group.preferred is not None:
        preferred, share = group.preferred
        message.preferred_target.CopyFrom(target(preferred))
        message.preferred_share = share
    return message
