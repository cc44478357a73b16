"""The history of decisions: filters in, records out."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from turnout.v1 import admin_pb2 as pb
from turnout.v1 import router_pb2
from turnout_server.api import enums
from turnout_server.api.answers import Answers, target, usage, usd
from turnout_server.api.faults import MAX_ID_LENGTH, MAX_NAME_LENGTH, MAX_WORD_LENGTH, Faults
from turnout_server.api.instants import duration, timestamp
from turnout_server.api.principals import seen_tenant
from turnout_server.api.shadows import write_shadow
from turnout_server.core.errors import UnknownDecisionError, UnknownTargetError
from turnout_server.core.history import DecisionFilter, DecisionResult
from turnout_server.core.model import DecisionDetail

if TYPE_CHECKING:
    from turnout_server.core.fleet import Fleet, TargetSpec
    from turnout_server.core.history import DecisionRecord
    from turnout_server.core.model import Caller, Outcome

MAX_PAGE_SIZE = 1000
DEFAULT_PAGE_SIZE = 50

RESULT = enums.EnumMap(pb.DecisionResult.DESCRIPTOR, DecisionResult, "DECISION_RESULT_")


def page_size(request: pb.ListDecisionsRequest) -> int:
    """Reads how many are wanted at once. Raises InvalidRequestError for what is out of range."""
    faults = Faults()
    size = faults.whole(request.page_size, "page_size", 0, MAX_PAGE_SIZE)
    faults.raise_any()
    return size or DEFAULT_PAGE_SIZE


def wanted_decision(request: pb.GetDecisionRequest) -> str:
    """Reads which decision is wanted. Raises InvalidRequestError where none is named."""
    faults = Faults()
    if not faults.text(request.decision_id, "decision_id", MAX_NAME_LENGTH):
        faults.add("decision_id", "is missing; give the id that came with the answer or as trailer")
    faults.raise_any()
    return request.decision_id


def shown(record: DecisionRecord) -> DecisionRecord:
    """Returns a record that the caller may see. Raises UnknownDecisionError for one of another tenant than its own."""
    tenant = seen_tenant("")
    if tenant and record.caller.tenant != tenant:
        # In the words of one that there is not: whether there is one is nobody else's business.
        decision_id = record.decision.decision_id
        raise UnknownDecisionError(
            f"there is no decision {decision_id!r} in the history; it may have been pushed out by newer ones",
            name=decision_id,
        )
    return record


def decision_filter(request: pb.ListDecisionsRequest, fleet: Fleet) -> DecisionFilter:
    """Reads the filters.

    Raises InvalidRequestError, UnknownTargetError for a target that is not known, and PermissionDeniedError for another
    tenant than the token's.
    """
    faults = Faults()
    faults.text(request.target, "target", MAX_ID_LENGTH)
    result = faults.choice(RESULT.to_core, request.result, "result")
    task = faults.text(request.task, "task", MAX_WORD_LENGTH)
    tenant = seen_tenant(faults.text(request.tenant, "tenant", MAX_NAME_LENGTH))
    faults.text(request.page_token, "page_token", MAX_ID_LENGTH)
    from_wall, until_wall = faults.range(request)
    faults.raise_any()
    return DecisionFilter(
        target=wanted_target(request.target, "target", fleet).target if request.target else None,
        task=task,
        tenant=tenant,
        result=result,
        from_wall=from_wall,
        until_wall=until_wall,
    )


def decision_record(record: DecisionRecord, answers: Answers) -> pb.DecisionRecord:
    """Writes a record, always in full."""
    message = pb.DecisionRecord(
        kind=pb.DECISION_KIND_EXECUTE if record.executing else pb.DECISION_KIND_ROUTE,
        result=RESULT.to_wire[record.result],
        attempts=[_attempt(attempt.outcome) for attempt in record.attempts],
        caller=_caller(record.caller),
        request_id=record.request_id,
        session_id=record.session_id,
        feedback=[
            router_pb2.Feedback(
                decision_id=record.decision.decision_id, attempt_id=attempt.outcome.attempt_id, quality=attempt.quality
            )
            for attempt in record.attempts
            if attempt.quality is not None
        ],
        cached=record.cached,
    )
    # How many the answer of then was to list is no matter here.
    whole = dataclasses.replace(record.decision, max_candidates=None)
    answers.write(message.decision, whole, DecisionDetail.FULL)
    shadow = record.decision.shadow
    if shadow is not None and shadow.comparison is not None:
        write_shadow(message.shadow, record.decision, shadow.comparison)
    return message


def wanted_target(name: str, field: str, fleet: Fleet) -> TargetSpec:
    """Returns the one target of a name. Raises UnknownTargetError, InvalidRequestError where it stands for several."""
    found = fleet.resolve(name)
    if not found:
        raise UnknownTargetError(f'there is no target "{name}"; ProviderStatus lists those there are', name=name)
    if len(found) > 1:
        faults = Faults()
        names = ", ".join(str(fleet.specs[index].target) for index in found[:5])
        faults.add(field, f"stands for {len(found)} targets; name one of them: {names}")
        faults.raise_any()
    return fleet.specs[found[0]]


def _caller(caller: Caller) -> router_pb2.Caller:
    return router_pb2.Caller(tenant=caller.tenant, user=caller.user, tier=caller.tier, labels=dict(caller.labels))


def _attempt(outcome: Outcome) -> router_pb2.Attempt:
    latency = outcome.latency_seconds
    first_token = outcome.time_to_first_token_seconds
    message = router_pb2.Attempt(
        target=target(outcome.target),
        attempt_id=outcome.attempt_id,
        credential=outcome.credential,
        ok=outcome.ok,
        http_status=outcome.http_status,
        detail=outcome.detail,
        latency=None if latency is None else duration(latency),
        time_to_first_token=None if first_token is None else duration(first_token),
        usage=usage(outcome.usage),
        cost_usd=None if outcome.cost_nano_usd is None else usd(outcome.cost_nano_usd),
        possibly_billed=outcome.possibly_billed,
        retry_reason=outcome.retry_reason,
        hedge=outcome.hedge,
        region=outcome.region,
    )
    if outcome.failure is not None:
        message.failure = enums.FAILURE_KIND.to_wire[outcome.failure]
    if outcome.finished_at_wall is not None and latency is not None:
        message.start_time.CopyFrom(timestamp(outcome.finished_at_wall - latency))
    return message
