"""What a call's trace is told at the API's edge: its beginning, and how it failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from turnout_server.api.metadata import adopt_trace
from turnout_server.api.status import row
from turnout_server.core.errors import AllTargetsUnavailableError, BudgetExhaustedError, NoEligibleTargetError
from turnout_server.telemetry.traces.call_spans import NO_SPAN, NoSpan, Reported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout_server.core.model import Feedback, Outcome
    from turnout_server.core.state import Recorded
    from turnout_server.telemetry.traces.call_spans import CallTracing

_NOBODY = (NoEligibleTargetError, AllTargetsUnavailableError, BudgetExhaustedError)


def begin_span(tracing: CallTracing | None, method: str, context: Any) -> NoSpan:
    """Begins the span of an RPC, and makes it the current one of its task; without tracing, the caller's."""
    if tracing is None:
        adopt_trace(context.invocation_metadata())
        return NO_SPAN
    return tracing.begin(method, context.invocation_metadata())


def tell_failure(span: NoSpan, error: Exception) -> None:
    """Tells a span why its RPC fails."""
    if span is NO_SPAN:
        return
    if isinstance(error, _NOBODY):
        span.undecided(error.decision_id, str(error), error.rejections)
    found = row(error)
    span.failed(found.code.name, found.reason)


def tell_reports(
    span: NoSpan,
    outcomes: Sequence[Outcome],
    feedback: Sequence[Feedback],
    recorded: Sequence[Recorded],
) -> None:
    """Tells a span what was reported and what became of it; `recorded` is of the outcomes, then of the feedback."""
    if span is not NO_SPAN:
        reports: tuple[Outcome | Feedback, ...] = (*outcomes, *feedback)
        span.reported(
            [Reported(report, became.result.value.lower()) for report, became in zip(reports, recorded, strict=True)]
        )
