"""Every reason of the contract has its error, and everything the details say reaches the caller."""

from __future__ import annotations

import re
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2  # type: ignore[import-untyped] # no stubs are published

from tests.clients.scripted_sidecar import Refusal
from turnout import errors
from turnout.errors import ERRORS_BY_REASON, FieldViolation, TurnoutError
from turnout.status import error_from_status
from turnout.v1 import router_pb2 as pb

DOCUMENT = Path(__file__).parents[2] / "docs" / "errors.md"
PREFIX = "ERROR_REASON_"
REASONS = [name.removeprefix(PREFIX) for name, number in pb.ErrorReason.items() if number]


def read(refusal: Refusal) -> TurnoutError:
    return error_from_status(refusal.code, refusal.message, refusal.trailing())


def test_every_reason_of_the_contract_has_an_error() -> None:
    assert set(REASONS) == set(ERRORS_BY_REASON)


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_of_the_contract_is_documented_with_its_error(reason: str) -> None:
    rows = [row for row in DOCUMENT.read_text(encoding="utf-8").splitlines() if row.startswith("|")]

    (row,) = [row for row in rows if re.search(rf"\b{reason}\b", row.split("|")[1])]
    assert f"`{ERRORS_BY_REASON[reason].__name__}`" in row


def test_every_error_is_drawn_in_the_tree() -> None:
    names = [name for name in vars(errors) if name.endswith("Error")]

    assert [name for name in names if name not in (errors.__doc__ or "")] == []


@pytest.mark.parametrize("reason", REASONS)
def test_reason_decides_the_type_of_the_error(reason: str) -> None:
    error = read(Refusal(reason=reason, code=grpc.StatusCode.INTERNAL))

    assert type(error) is ERRORS_BY_REASON[reason]
    assert error.reason == reason


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.UnreachableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineError),
        (grpc.StatusCode.UNIMPLEMENTED, errors.UnsupportedError),
        (grpc.StatusCode.UNAUTHENTICATED, errors.UnauthenticatedError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.TransportError),
        (grpc.StatusCode.INTERNAL, errors.TransportError),
    ],
)
def test_without_a_reason_the_code_decides(code: grpc.StatusCode, kind: type[TurnoutError]) -> None:
    error = read(Refusal(code=code))

    assert type(error) is kind
    assert error.code is code


def test_a_reason_of_a_newer_sidecar_keeps_its_name() -> None:
    error = read(Refusal(code=grpc.StatusCode.NOT_FOUND, reason="UNKNOWN_MOON"))

    assert type(error) is errors.NotFoundError
    assert error.reason == "UNKNOWN_MOON"


def test_a_reason_of_another_domain_is_not_ours() -> None:
    error = read(Refusal(reason="DRAINING", domain="proxy.example"))

    assert type(error) is errors.UnreachableError
    assert error.reason == ""


def test_call_that_was_cut_off_by_a_stopping_sidecar_is_not_told_as_one_that_was_not_sent() -> None:
    refused = read(Refusal(reason="DRAINING", code=grpc.StatusCode.UNAVAILABLE))
    cut = read(Refusal(reason="DRAINING", code=grpc.StatusCode.UNAVAILABLE, pushback="-1"))

    assert type(refused) is errors.DrainingError
    assert type(cut) is errors.DrainCutError
    assert not isinstance(cut, errors.NothingSentError)


def test_field_violations_are_read() -> None:
    bad = error_details_pb2.BadRequest()
    bad.field_violations.add(field="options.min_quality", description="is 120, give 0 to 100")

    error = read(Refusal(code=grpc.StatusCode.INVALID_ARGUMENT, reason="INVALID_REQUEST", extra=[bad]))

    assert error.field_violations == (FieldViolation(field="options.min_quality", description="is 120, give 0 to 100"),)


def test_call_failure_gives_attempts_and_rejections() -> None:
    target = pb.Target(provider="p", model="m")
    failure = pb.CallFailure(attempts=[pb.Attempt(target=target)], rejections=[pb.Rejection(target=target)])

    error = read(Refusal(reason="NO_ELIGIBLE_TARGET", extra=[failure]))

    assert error.attempts == (pb.Attempt(target=target),)
    assert error.rejections == (pb.Rejection(target=target),)


def test_call_failure_tells_what_was_delivered_used_and_spent() -> None:
    failure = pb.CallFailure(usage=pb.Usage(output_tokens=7), cost_usd=0.25, delivered_bytes=40)
    error = errors.StreamInterruptedError("broke", errors.ErrorDetails(call_failure=failure))

    assert (40, pb.Usage(output_tokens=7), 0.25) == (error.delivered_bytes, error.usage, error.cost_usd)


@pytest.mark.parametrize(
    ("failure", "delivered_bytes"), [(None, None), (pb.CallFailure(), 0)], ids=["no details", "nothing used"]
)
def test_what_is_not_known_of_a_failed_call_is_not_zero(
    failure: pb.CallFailure | None, delivered_bytes: int | None
) -> None:
    error = errors.DeadlineError("over", errors.ErrorDetails(call_failure=failure))

    assert (delivered_bytes, None, None) == (error.delivered_bytes, error.usage, error.cost_usd)


def test_the_longer_of_retry_info_and_pushback_is_the_wait() -> None:
    assert read(Refusal(reason="DRAINING", retry_seconds=2, pushback="500")).retry_after_seconds == 2
    assert read(Refusal(reason="DRAINING", retry_seconds=0.1, pushback="500")).retry_after_seconds == 0.5


@pytest.mark.parametrize("pushback", ["-1", "soon", "", "1.5"])
def test_negative_or_unreadable_pushback_forbids_a_retry(pushback: str) -> None:
    assert read(Refusal(reason="DRAINING", pushback=pushback)).details.retry_forbidden


def test_unreadable_details_leave_code_and_decision() -> None:
    trailing: list[tuple[str, str | bytes]] = [("grpc-status-details-bin", b"\xff\xff"), ("turnout-decision-id", "d-1")]

    error = error_from_status(grpc.StatusCode.UNAVAILABLE, "gone", trailing)

    assert type(error) is errors.UnreachableError
    assert (error.decision_id, error.message) == ("d-1", "gone")


def test_the_text_of_an_error_begins_with_its_reason() -> None:
    assert str(read(Refusal(reason="DRAINING", message="stopping"))) == "DRAINING: stopping"


def test_sidecar_that_cannot_be_reached_is_told_with_what_to_do() -> None:
    error = error_from_status(grpc.StatusCode.UNAVAILABLE, "ipv4:127.0.0.1:1: Connection refused", ())

    assert "the sidecar cannot be reached: ipv4:127.0.0.1:1: Connection refused; is it running there?" == str(error)
