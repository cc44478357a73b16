"""Reports in, results out, one each and in order: a report that cannot be read is rejected alone."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from turnout.v1 import router_pb2 as pb
from turnout_server.api.call_traces import tell_reports
from turnout_server.api.principals import own_tenant
from turnout_server.api.reports import check_counts, feedback, outcome
from turnout_server.core.errors import FieldViolation, InvalidRequestError, UnknownDecisionError
from turnout_server.telemetry.traces.call_spans import NO_SPAN, NoSpan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    from turnout_server.core.model import Feedback, Outcome
    from turnout_server.core.state import Recorded
    from turnout_server.router import Router

    M = TypeVar("M")
    T = TypeVar("T", Outcome, Feedback)

MAX_REASON_LENGTH = 500


def report(
    router: Router, request: pb.ReportOutcomeRequest, now_wall: float, span: NoSpan = NO_SPAN
) -> pb.ReportOutcomeResponse:
    """Records what can be read and tells what became of each, to the span of the call as well.

    Raises InvalidRequestError for too many.
    """
    check_counts(request)
    tenant = own_tenant("")
    outcomes: list[Outcome | str] = _read(
        request.outcomes, lambda message: _own(outcome(message, now_wall), tenant, router)
    )
    judgements: list[Feedback | str] = _read(request.feedback, lambda message: _own(feedback(message), tenant, router))
    told = [read for read in outcomes if not isinstance(read, str)]
    judged = [read for read in judgements if not isinstance(read, str)]
    recorded = router.reports.take(told, judged)
    tell_reports(span, told, judged, (*recorded.outcomes, *recorded.feedback))
    return pb.ReportOutcomeResponse(
        results=_woven(outcomes, recorded.outcomes), feedback_results=_woven(judgements, recorded.feedback)
    )


def _read(messages: Iterable[M], read: Callable[[M], T]) -> list[T | str]:
    """Reads each message; one that cannot be read leaves the reason in its place."""
    result: list[T | str] = []
    for message in messages:
        try:
            result.append(read(message))
        except InvalidRequestError as error:
            result.append(error.message[:MAX_REASON_LENGTH])
    return result


def _own(read: T, tenant: str, router: Router) -> T:
    """Returns a report. Raises InvalidRequestError where it is of a decision for another tenant than the token's."""
    decision_id = read.decision_id
    if tenant and decision_id:
        with contextlib.suppress(UnknownDecisionError):
            if router.looking_back.decision(decision_id).caller.tenant != tenant:
                what = FieldViolation(field="decision_id", description="is that of another tenant's decision")
                raise InvalidRequestError([what])
    return read


def _woven(read: Iterable[object], recorded: Iterable[Recorded]) -> list[pb.OutcomeResult]:
    results = iter(recorded)
    return [_rejected(item) if isinstance(item, str) else _result(next(results)) for item in read]


def _rejected(reason: str) -> pb.OutcomeResult:
    return pb.OutcomeResult(status=pb.OUTCOME_STATUS_REJECTED, reason=reason)


def _result(recorded: Recorded) -> pb.OutcomeResult:
    return pb.OutcomeResult(
        status=pb.OutcomeStatus.Value(f"OUTCOME_STATUS_{recorded.result.name}"), reason=recorded.reason
    )
