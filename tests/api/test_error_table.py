"""The error table against the tree, the contract and the size that clients accept."""

from collections.abc import Iterator

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # has no types

from turnout.v1 import router_pb2 as pb
from turnout_server.api.status import BUG, DETAILS_KEY, TABLE, Retry, cut, row, status
from turnout_server.core import errors
from turnout_server.core.call import AttemptRecord, CallReport
from turnout_server.core.decision import Rejection
from turnout_server.core.model import FailureKind, RejectionReason, Target

REPORT = CallReport(
    attempts=tuple(
        AttemptRecord(
            target=Target("openai", f"model-{i}"),
            attempt_id=f"attempt-{i}",
            started_at_wall=1_000.0,
            failure=FailureKind.SERVER_ERROR,
            http_status=500,
            detail="the provider says: " + "ä" * 2000,
        )
        for i in range(40)
    ),
    rejections=tuple(
        Rejection(Target("anthropic", f"model-{i}"), (RejectionReason.BREAKER_OPEN,), "x" * 500, 12.0)
        for i in range(400)
    ),
)


def leaves(kind: type[errors.TurnoutError] = errors.TurnoutError) -> Iterator[type[errors.TurnoutError]]:
    children = kind.__subclasses__()
    if not children:
        yield kind
    for child in children:
        yield from leaves(child)


def make(kind: type[errors.TurnoutError]) -> errors.TurnoutError:  # noqa: PLR0911  # one constructor each
    if kind is errors.InvalidRequestError:
        return kind([errors.FieldViolation(field=f"f{i}", description="ü" * 3000) for i in range(200)])
    if kind is errors.RequestIdReusedError:
        return errors.RequestIdReusedError("seen", running=False)
    if issubclass(kind, errors.NotFoundError):
        return kind("nothing of that name", name="n" * 9000)
    if kind is errors.AllAttemptsRefusedError:
        return errors.AllAttemptsRefusedError("all refused", report=REPORT, retry_after_seconds=2.5, decision_id="d-1")
    if issubclass(kind, errors.CallError):
        return kind("failed " * 900, report=REPORT, decision_id="d-1")
    if kind is errors.NoEligibleTargetError:
        return errors.NoEligibleTargetError("none", rejections=REPORT.rejections, decision_id="d-1")
    if kind is errors.AllTargetsUnavailableError:
        return errors.AllTargetsUnavailableError(
            "none now", rejections=REPORT.rejections, retry_after_seconds=2.5, decision_id="d-1"
        )
    if kind is errors.BudgetExhaustedError:
        return errors.BudgetExhaustedError("spent", rejections=REPORT.rejections, budget="monthly", decision_id="d-1")
    if kind is errors.SidecarOverloadedError:
        return errors.SidecarOverloadedError("full", retry_after_seconds=2.5)
    return kind("it happened")


LEAVES = sorted(leaves(), key=lambda kind: kind.__name__)


def unpack(trailers: tuple[tuple[str, str | bytes], ...]) -> dict[str, bytes]:
    packed = status_pb2.Status.FromString(dict(trailers)[DETAILS_KEY])
    return {any_message.type_url.rpartition(".")[2]: any_message.value for any_message in packed.details}


@pytest.mark.parametrize("kind", LEAVES)
def test_every_leaf_of_the_error_tree_has_a_row_of_its_own(kind: type[errors.TurnoutError]) -> None:
    found = TABLE.get(kind)

    assert found is not None


def test_the_table_has_no_row_without_an_error() -> None:
    assert set(LEAVES) == set(TABLE)


@pytest.mark.parametrize("kind", LEAVES)
def test_every_reason_is_one_of_the_contract(kind: type[errors.TurnoutError]) -> None:
    reason = row(make(kind)).reason

    assert f"ERROR_REASON_{reason}" in set(pb.ErrorReason.keys())


@pytest.mark.parametrize("kind", LEAVES)
def test_every_error_carries_its_reason_and_domain(kind: type[errors.TurnoutError]) -> None:
    answer = status(make(kind), offset=100.0)
    info = error_details_pb2.ErrorInfo.FromString(unpack(answer.trailers)["ErrorInfo"])

    assert (TABLE[kind].reason, "turnout.dev") == (info.reason, info.domain)


@pytest.mark.parametrize("kind", LEAVES)
def test_details_stay_below_four_kib_and_the_message_below_512_bytes(kind: type[errors.TurnoutError]) -> None:
    answer = status(make(kind), offset=100.0)
    details = dict(answer.trailers)[DETAILS_KEY]

    assert len(details) < 4096
    assert len(answer.message.encode()) < 512


@pytest.mark.parametrize("kind", [kind for kind in LEAVES if TABLE[kind].retry is Retry.AFTER])
def test_where_waiting_helps_the_time_is_told_as_detail_and_as_pushback(kind: type[errors.TurnoutError]) -> None:
    answer = status(make(kind), offset=100.0)
    info = error_details_pb2.RetryInfo.FromString(unpack(answer.trailers)["RetryInfo"])

    assert info.retry_delay.ToMilliseconds() == 2500
    assert dict(answer.trailers)["grpc-retry-pushback-ms"] == "2500"


@pytest.mark.parametrize("kind", [errors.AttemptsExhaustedError, errors.StreamInterruptedError])
def test_what_may_have_been_billed_tells_transports_not_to_retry(kind: type[errors.TurnoutError]) -> None:
    answer = status(make(kind), offset=100.0)

    assert dict(answer.trailers)["grpc-retry-pushback-ms"] == "-1"


def test_a_failed_call_tells_attempts_and_rejections_and_that_some_are_left_out() -> None:
    answer = status(make(errors.AttemptsExhaustedError), offset=100.0)
    failure = pb.CallFailure.FromString(unpack(answer.trailers)["CallFailure"])

    assert failure.truncated
    assert failure.attempts[0].target.model == "model-0"
    assert failure.rejections[0].retry_at.ToSeconds() == 112


def test_rejections_are_summarised_by_reason() -> None:
    answer = status(make(errors.NoEligibleTargetError), offset=100.0)
    info = error_details_pb2.ErrorInfo.FromString(unpack(answer.trailers)["ErrorInfo"])

    assert info.metadata["rejections"] == "BREAKER_OPEN 400"
    assert info.metadata["target_count"] == "400"


def test_bad_fields_are_named_by_path() -> None:
    error = errors.InvalidRequestError([errors.FieldViolation(field="options.min_quality", description="is 120")])
    details = unpack(status(error, offset=0.0).trailers)
    bad = error_details_pb2.BadRequest.FromString(details["BadRequest"])

    assert [(v.field, v.description) for v in bad.field_violations] == [("options.min_quality", "is 120")]


def test_the_decision_id_comes_as_trailer() -> None:
    answer = status(make(errors.NoEligibleTargetError), offset=0.0)

    assert dict(answer.trailers)["turnout-decision-id"] == "d-1"


def test_a_request_id_of_a_running_stream_is_already_exists() -> None:
    answer = status(errors.RequestIdReusedError("runs", running=True), offset=0.0)

    assert answer.code is grpc.StatusCode.ALREADY_EXISTS


def test_an_unexpected_error_is_a_bug_and_its_text_stays_inside() -> None:
    answer = status(ValueError("sk-secret"), offset=0.0)

    assert row(ValueError()) is BUG
    assert "sk-secret" not in answer.message


def test_a_long_text_is_cut_between_characters() -> None:
    short = cut("ä" * 400, 511)

    assert len(short.encode()) <= 511
    assert short.endswith("…")
