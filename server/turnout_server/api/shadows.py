"""What shadow policies would have done otherwise, to protobuf."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from turnout.v1 import admin_pb2 as pb
from turnout_server.api.answers import target, usd
from turnout_server.api.faults import MAX_ID_LENGTH, MAX_NAME_LENGTH, Faults
from turnout_server.api.instants import write_seconds
from turnout_server.core.errors import UnknownPolicyError

if TYPE_CHECKING:
    from turnout_server.core.comparison import Comparison, Difference
    from turnout_server.core.decision import Decision
    from turnout_server.router import Router

MAX_PAGE_SIZE = 1000
DEFAULT_PAGE_SIZE = 50
AT_ONCE = 50
"""Differences that are written before others have their turn; so many take half a millisecond."""


async def list_differences(
    request: pb.ListShadowDifferencesRequest, router: Router
) -> pb.ListShadowDifferencesResponse:
    """Lists differences, newest first, with the tallies. Raises InvalidRequestError or UnknownPolicyError."""
    size, policy = wanted_page(request)
    policies = router.configured.settings.routing.policies
    if policy and policy not in policies:
        known = ", ".join(sorted(policies))
        raise UnknownPolicyError(f"policy {policy!r} does not exist; the policies are {known}", name=policy)
    response = pb.ListShadowDifferencesResponse()
    shadowing = router.shadows.shadowing
    if shadowing is None:
        return response
    for pair, tally in shadowing.tallies(policy):
        response.tallies.add(
            policy=pair.policy,
            shadow_policy=pair.shadow_policy,
            agreed_count=tally.agreed,
            differed_count=tally.differed,
            shed_count=tally.shed,
        )
    page = shadowing.differences(policy=policy, page_size=size, page_token=request.page_token)
    response.next_page_token = page.next_page_token
    for number, difference in enumerate(page.differences, 1):
        _write_difference(response.differences.add(), difference)
        if not number % AT_ONCE:
            await asyncio.sleep(0)
    return response


def wanted_page(request: pb.ListShadowDifferencesRequest) -> tuple[int, str]:
    """Reads how many differences are wanted, and of which policy. Raises InvalidRequestError."""
    faults = Faults()
    size = faults.whole(request.page_size, "page_size", 0, MAX_PAGE_SIZE)
    faults.text(request.page_token, "page_token", MAX_ID_LENGTH)
    policy = faults.text(request.policy, "policy", MAX_NAME_LENGTH)
    faults.raise_any()
    return size or DEFAULT_PAGE_SIZE, policy


def write_shadow(message: pb.ShadowDifference, decision: Decision, comparison: Comparison) -> None:
    """Writes what a decision's shadow would have chosen into an empty message."""
    _write(message, decision.decision_id, decision.decided_at_wall, comparison)


def _write_difference(message: pb.ShadowDifference, difference: Difference) -> None:
    _write(message, difference.decision_id, difference.at_wall, difference.comparison)
    message.reason = difference.reason
    message.shadow_reason = difference.shadow_reason


def _write(message: pb.ShadowDifference, decision_id: str, at_wall: float, comparison: Comparison) -> None:
    chosen, shadow = comparison.chosen, comparison.shadow_chosen
    message.decision_id = decision_id
    write_seconds(message.time, at_wall)
    message.policy = comparison.policy
    message.shadow_policy = comparison.shadow_policy
    message.score, message.shadow_score = chosen.score, shadow.score
    if chosen.target is not None:
        message.chosen.CopyFrom(target(chosen.target))
    if shadow.target is not None:
        message.shadow_chosen.CopyFrom(target(shadow.target))
    cost, latency = comparison.cost_difference_nano_usd, comparison.latency_difference_seconds
    if cost is not None:
        message.cost_difference_usd = usd(cost)
    if latency is not None:
        message.latency_difference_seconds = latency
