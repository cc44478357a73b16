"""Decisions and attempts to protobuf.

A route's answer is made here for every call, so under BASIC only the best five candidates are touched, and what never
changes about a target is written once and copied.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from turnout.v1 import router_pb2 as pb
from turnout_server.api import enums
from turnout_server.api.instants import duration, timestamp, write_seconds
from turnout_server.core.model import NANO_USD, DecisionDetail
from turnout_server.core.rejections import first_reasons
from turnout_server.core.scoring import FACTORS, SINGLE_FACTOR

if TYPE_CHECKING:
    from turnout_server.core.call import AttemptRecord
    from turnout_server.core.decision import Candidate, Decision, Rejection
    from turnout_server.core.fleet import TargetSpec
    from turnout_server.core.model import Target, Usage

BASIC_CANDIDATES = 5
MAX_TEMPLATES = 4096


def usd(nano_usd: int) -> float:
    """Returns USD of nano-USD."""
    return nano_usd / NANO_USD


class Answers:
    """Writes decisions; keeps one half-written candidate for each target, at most `MAX_TEMPLATES`."""

    __slots__ = ("_templates",)

    def __init__(self) -> None:
        self._templates: dict[Target, pb.Candidate] = {}

    def write(self, message: pb.Decision, decision: Decision, detail: DecisionDetail) -> None:
        """Writes a decision into an empty message: the best five candidates and counts under BASIC, else everything.

        Messages are filled in place, because handing them over as arguments copies them once for each level.
        """
        full = detail is DecisionDetail.FULL
        listed = decision.candidates if full else decision.candidates[:BASIC_CANDIDATES]
        if decision.max_candidates is not None:
            listed = listed[: decision.max_candidates]
        offset = decision.decided_at_wall - decision.decided_at
        message.decision_id = decision.decision_id
        message.strategy = enums.STRATEGY.to_wire[decision.strategy]
        message.policy = decision.policy
        message.policy_version = decision.policy_version
        message.reason = decision.reason
        message.confidence = decision.confidence
        message.task = decision.task
        message.tier = decision.tier
        message.complexity = enums.COMPLEXITY.to_wire[decision.complexity]
        if decision.input_tokens is not None:
            message.input_tokens = decision.input_tokens
        if decision.expected_output_tokens is not None:
            message.expected_output_tokens = decision.expected_output_tokens
        write_seconds(message.decided_at, decision.decided_at_wall)
        write_seconds(message.valid_for, decision.valid_for_seconds)
        message.reusable = decision.reusable
        message.candidate_count = len(decision.candidates)
        message.regions.extend(decision.regions)
        for candidate in listed:
            self._write_candidate(message.candidates.add(), candidate, offset)
        if decision.rejections:
            for reason, count in first_reasons(decision.rejections).items():
                message.rejection_counts[reason.value] = count
        if full:
            message.rejections.extend(rejection(r, offset) for r in decision.rejections)
            message.policy_rule = decision.policy_rule
            _write_weights(message, decision)

    def _write_candidate(self, message: pb.Candidate, candidate: Candidate, offset: float) -> None:
        message.CopyFrom(self._template(candidate.spec))
        message.score = candidate.score
        factors = message.factors
        for name, value in candidate.factors.items():
            factors[name] = value
        write_seconds(message.expected_latency, candidate.expected_latency_seconds)
        write_seconds(message.expected_time_to_first_token, candidate.expected_time_to_first_token_seconds)
        write_seconds(message.attempt_timeout, candidate.attempt_timeout_seconds)
        message.health = enums.HEALTH_STATE.to_wire[candidate.health]
        message.sample_count = candidate.sample_count
        message.explored = candidate.explored
        message.share = candidate.share
        message.reason = candidate.reason
        if candidate.expected_cost_nano_usd is not None:
            message.expected_cost_usd = candidate.expected_cost_nano_usd / NANO_USD
        if candidate.probe is not None:
            message.probe.probe_id = candidate.probe.probe_id
            write_seconds(message.probe.expire_time, candidate.probe.expires_at + offset)

    def _template(self, spec: TargetSpec) -> pb.Candidate:
        template = self._templates.get(spec.target)
        if template is None or template.base_url != spec.base_url or template.region != spec.region:
            if len(self._templates) >= MAX_TEMPLATES:
                self._templates.clear()
            template = pb.Candidate(
                target=target(spec.target), wire=spec.wire, base_url=spec.base_url, region=spec.region
            )
            self._templates[spec.target] = template
        return template


def _write_weights(message: pb.Decision, decision: Decision) -> None:
    if not decision.weights:
        return
    single = SINGLE_FACTOR.get(decision.strategy)
    rest = 1.0 - decision.capability_share
    for name, weight in zip(FACTORS, decision.weights, strict=True):
        setattr(message.weights, name, rest * weight if single is None else float(name == single))
    if decision.capability_share:
        message.weights.capability = decision.capability_share


def route_response(decision: Decision, answers: Answers, detail: DecisionDetail) -> pb.RouteResponse:
    """Writes a plan."""
    response = pb.RouteResponse()
    answers.write(response.decision, decision, detail)
    return response


def target(value: Target) -> pb.Target:
    """Writes a target."""
    return pb.Target(provider=value.provider, model=value.model, endpoint=value.endpoint)


def rejection(value: Rejection, offset: float) -> pb.Rejection:
    """Writes a rejection; `offset` turns the core's monotonic time into wall time."""
    return pb.Rejection(
        target=target(value.target),
        reasons=[enums.REJECTION_REASON.to_wire[reason] for reason in value.reasons],
        detail=value.detail,
        retry_at=None if value.retry_at is None else timestamp(value.retry_at + offset),
    )


def usage(value: Usage | None) -> pb.Usage | None:
    """Writes token counts; unknown stays absent."""
    if value is None:
        return None
    return pb.Usage(
        input_tokens=value.input_tokens,
        output_tokens=value.output_tokens,
        cached_input_tokens=value.cached_input_tokens,
        cache_write_tokens=value.cache_write_tokens,
        cache_write_1h_tokens=value.cache_write_1h_tokens,
        reasoning_tokens=value.reasoning_tokens,
        source=enums.USAGE_SOURCE.to_wire[value.source],
    )


def attempt(record: AttemptRecord) -> pb.Attempt:
    """Writes an attempt."""
    message = pb.Attempt(
        target=target(record.target),
        attempt_id=record.attempt_id,
        credential=record.credential,
        ok=record.failure is None,
        http_status=record.http_status,
        detail=record.detail,
        start_time=timestamp(record.started_at_wall),
        latency=None if record.latency_seconds is None else duration(record.latency_seconds),
        time_to_first_token=None
        if record.time_to_first_token_seconds is None
        else duration(record.time_to_first_token_seconds),
        usage=usage(record.usage),
        cost_usd=None if record.cost_nano_usd is None else usd(record.cost_nano_usd),
        hedge=record.hedge,
        possibly_billed=record.possibly_billed,
        retry_reason=record.retry_reason,
        region=record.region,
    )
    if record.failure is not None:
        message.failure = enums.FAILURE_KIND.to_wire[record.failure]
    return message


def attempts(records: Iterable[AttemptRecord]) -> list[pb.Attempt]:
    """Writes attempts, in order."""
    return [attempt(record) for record in records]
