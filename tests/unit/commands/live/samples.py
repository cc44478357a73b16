"""What a sidecar would answer, built by hand: two providers, one of them in trouble."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from turnout.v1 import admin_pb2
from turnout.v1 import router_pb2 as pb
from turnout_server.commands.live.seen import Seen

AS_OF = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
CLOSED, OPEN, HALF_OPEN = pb.BREAKER_STATE_CLOSED, pb.BREAKER_STATE_OPEN, pb.BREAKER_STATE_HALF_OPEN


def at(seconds: float) -> Timestamp:
    """An instant so long after the look."""
    stamp = Timestamp()
    stamp.FromDatetime(AS_OF + timedelta(seconds=seconds))
    return stamp


def lasting(seconds: float) -> Duration:
    span = Duration()
    span.FromTimedelta(timedelta(seconds=seconds))
    return span


def target(name: str, **fields: object) -> pb.TargetState:
    """A healthy target, but for what is given."""
    provider, model = name.split("/")
    state = pb.TargetState(
        target=pb.Target(provider=provider, model=model), health=pb.HEALTH_STATE_HEALTHY, score=100.0, breaker=CLOSED
    )
    state.MergeFrom(pb.TargetState(**fields))  # type: ignore[arg-type] # by the names of the contract
    return state


def provider(*targets: pb.TargetState, endpoint: pb.EndpointState | None = None) -> pb.ProviderState:
    return pb.ProviderState(
        provider=targets[0].target.provider,
        targets=targets,
        endpoints=[endpoint or pb.EndpointState(breaker=CLOSED)],
    )


def seen(*providers: pb.ProviderState, window_seconds: float = 60.0, **fields: object) -> Seen:
    """A look at these providers."""
    status = pb.ProviderStatusResponse(providers=providers, as_of=at(0), actual_window=lasting(window_seconds))
    status.aggregate.target_count = sum(len(each.targets) for each in providers)
    return Seen(address="127.0.0.1:50151", status=status, **fields)  # type: ignore[arg-type] # by their names


def candidate(name: str, score: float, share: float = 0.0) -> pb.Candidate:
    where, model = name.split("/")
    return pb.Candidate(target=pb.Target(provider=where, model=model), score=score, share=share)


def rejection(name: str, *reasons: pb.RejectionReason.ValueType) -> pb.Rejection:
    where, model = name.split("/")
    return pb.Rejection(target=pb.Target(provider=where, model=model), reasons=reasons)


def attempt(name: str, failure: pb.FailureKind.ValueType = pb.FAILURE_KIND_UNSPECIFIED) -> pb.Attempt:
    where, model = name.split("/")
    return pb.Attempt(
        target=pb.Target(provider=where, model=model), ok=failure == pb.FAILURE_KIND_UNSPECIFIED, failure=failure
    )


def record(
    *candidates: pb.Candidate,
    rejections: tuple[pb.Rejection, ...] = (),
    attempts: tuple[pb.Attempt, ...] = (),
    result: admin_pb2.DecisionResult.ValueType = admin_pb2.DECISION_RESULT_OK,
    task: str = "",
) -> admin_pb2.DecisionRecord:
    return admin_pb2.DecisionRecord(
        decision=pb.Decision(
            decision_id="d-1",
            candidates=candidates,
            rejections=rejections,
            strategy=pb.STRATEGY_HYBRID,
            reason="the reason",
            task=task,
            decided_at=at(-1),
        ),
        attempts=attempts,
        kind=admin_pb2.DECISION_KIND_EXECUTE,
        result=result,
    )
