"""Active checks that somebody asks for, to and from protobuf."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from turnout.v1 import admin_pb2 as pb
from turnout_server.api import enums
from turnout_server.api.administration import scope_places
from turnout_server.api.answers import target as target_message
from turnout_server.api.answers import usd
from turnout_server.api.faults import Faults
from turnout_server.api.instants import duration
from turnout_server.core.model import Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout_server.core.fleet import Fleet
    from turnout_server.execution.checking import Checking
    from turnout_server.use_cases.checks import CheckReport

DEFAULT_SECONDS = 10.0
LONGEST_SECONDS = 600.0
AT_ONCE = 8


async def check_health(
    request: pb.CheckHealthRequest, checking: Checking, fleet: Fleet, *, by: str
) -> pb.CheckHealthResponse:
    """Makes the checks that are asked for, some at once, and returns how each ended.

    Raises InvalidRequestError, UnknownProviderError or UnknownTargetError, before anything is checked.
    """
    wanted, timeout_seconds = wanted_checks(request, fleet)
    room = asyncio.Semaphore(AT_ONCE)

    async def one(target: Target) -> CheckReport:
        async with room:
            return await checking.check(target, timeout_seconds=timeout_seconds, by=by)

    reports = await asyncio.gather(*map(one, wanted))
    return pb.CheckHealthResponse(results=[_result(report) for report in reports])


def wanted_checks(request: pb.CheckHealthRequest, fleet: Fleet) -> tuple[Sequence[Target], float]:
    """Returns what is to be checked and how long each is waited for: targets that are named, else their endpoints.

    An endpoint is a target without a model. Raises InvalidRequestError, UnknownProviderError or UnknownTargetError.
    """
    faults = Faults()
    timeout_seconds = DEFAULT_SECONDS
    if request.HasField("timeout"):
        timeout_seconds = faults.span(request.timeout, "timeout", LONGEST_SECONDS)
        if timeout_seconds == 0:
            faults.add("timeout", "is 0 s; give a duration above 0")
    faults.raise_any()
    targets = [fleet.specs[place].target for place in scope_places(request.scope, fleet)]
    if request.scope.WhichOneof("scope") == "target":
        return targets, timeout_seconds
    return list(dict.fromkeys(Target(each.provider, "", each.endpoint) for each in targets)), timeout_seconds


def _result(report: CheckReport) -> pb.CheckResult:
    message = pb.CheckResult(target=target_message(report.target), ok=report.ok, detail=report.detail)
    if report.failure is not None:
        message.failure = enums.FAILURE_KIND.to_wire[report.failure]
    if report.seconds is not None:
        message.latency.CopyFrom(duration(report.seconds))
    if report.cost_nano_usd is not None:
        message.cost_usd = usd(report.cost_nano_usd)
    return message
