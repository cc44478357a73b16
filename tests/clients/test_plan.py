"""A plan offers its targets in order, measures what the application does with them, and reports every end."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest

from turnout.attempt import PlanAttempt
from turnout.errors import PlanExhaustedError
from turnout.plan import Plan
from turnout.planning import Choice
from turnout.v1 import router_pb2 as pb

FIRST = pb.Candidate(
    target=pb.Target(provider="openai", model="gpt"),
    probe=pb.Probe(probe_id="probe-1"),
    wire="openai",
    base_url="https://a.example",
)
SECOND = pb.Candidate(target=pb.Target(provider="anthropic", model="claude", endpoint="eu"))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def chosen(*candidates: pb.Candidate, options: pb.RoutingOptions | None = None, stale_reason: str = "") -> Choice:
    """What planning comes to for a request with these options."""
    return Choice(
        request=pb.RouteRequest(
            profile=pb.RequestProfile(task="chat"), options=options, caller=pb.Caller(tenant="blue"), session_id="s-1"
        ),
        decision=pb.Decision(decision_id="d-1", candidates=candidates),
        candidates=candidates,
        stale_reason=stale_reason,
    )


class Case:
    """A plan of two targets with a clock to turn and the reports it made."""

    def __init__(self, *candidates: pb.Candidate, restart: bool = False) -> None:
        self.clock = Clock()
        self.reports: list[pb.Outcome] = []
        numbers = itertools.count(1)
        options = pb.RoutingOptions(
            mid_stream=pb.MID_STREAM_POLICY_RESTART if restart else pb.MID_STREAM_POLICY_UNSPECIFIED
        )
        self.plan = Plan(
            chosen(*candidates or (FIRST, SECOND), options=options),
            self.reports.append,
            clock=self.clock,
            wall=lambda: 1_700_000_000.0,
            new_id=lambda: f"attempt-{next(numbers)}",
        )

    @property
    def kinds(self) -> list[str]:
        return [pb.FailureKind.Name(report.failure).removeprefix("FAILURE_KIND_") for report in self.reports]


def use(plan: Plan, action: Callable[[PlanAttempt], None]) -> None:
    for attempt in plan:
        with attempt:
            action(attempt)


class StatusError(Exception):
    def __init__(self, status_code: int) -> None:
        super().__init__("refused")
        self.status_code = status_code


def test_the_first_success_ends_the_plan() -> None:
    case = Case()

    used = []
    for attempt in case.plan:
        with attempt:
            used.append(attempt.target)

    assert used == ["openai/gpt"]
    assert [report.ok for report in case.reports] == [True]


def test_a_success_reports_everything_that_was_measured() -> None:
    case = Case()

    for attempt in case.plan:
        with attempt:
            case.clock.now += 0.25
            attempt.first_token()
            case.clock.now += 0.5
            attempt.first_token()
            attempt.usage(input_tokens=7, output_tokens=0, cached_input_tokens=2)
            attempt.outcome.credential = "mine"

    (report,) = case.reports
    assert report.decision_id == "d-1"
    assert report.attempt_id == "attempt-1"
    assert report.probe_id == "probe-1"
    assert report.target == FIRST.target
    assert report.streamed
    assert report.time_to_first_token.ToMilliseconds() == 250
    assert report.latency.ToMilliseconds() == 750
    assert report.start_time.ToSeconds() == 1_700_000_000
    assert report.usage == pb.Usage(
        input_tokens=7, output_tokens=0, cached_input_tokens=2, source=pb.USAGE_SOURCE_REPORTED
    )
    assert not report.usage.HasField("reasoning_tokens")
    assert report.credential == "mine"
    assert report.failure == pb.FAILURE_KIND_UNSPECIFIED


def test_a_failure_of_the_target_goes_on_to_the_next() -> None:
    case = Case()

    used = []
    for attempt in case.plan:
        with attempt:
            used.append(attempt.target)
            if attempt.provider == "openai":
                raise StatusError(503)

    assert used == ["openai/gpt", "anthropic/claude@eu"]
    assert [(report.ok, report.http_status) for report in case.reports] == [(False, 503), (True, 0)]
    assert case.kinds[0] == "OVERLOADED"


def test_the_last_targets_exception_comes_out() -> None:
    case = Case()

    def call(_: PlanAttempt) -> None:
        raise StatusError(503)

    with pytest.raises(StatusError):
        use(case.plan, call)

    assert case.kinds == ["OVERLOADED", "OVERLOADED"]


@pytest.mark.parametrize(("status", "kind"), [(400, "INVALID_REQUEST"), (422, "INVALID_REQUEST")])
def test_a_fault_of_the_request_is_not_tried_elsewhere(status: int, kind: str) -> None:
    case = Case()

    def call(_: PlanAttempt) -> None:
        raise StatusError(status)

    with pytest.raises(StatusError):
        use(case.plan, call)

    assert case.kinds == [kind]


def test_a_mistake_in_the_block_comes_out_at_once() -> None:
    case = Case()

    def call(_: PlanAttempt) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use(case.plan, call)

    assert case.kinds == ["UNKNOWN"]


def test_a_status_of_unknown_meaning_goes_on() -> None:
    case = Case()

    for attempt in case.plan:
        with attempt:
            if attempt.provider == "openai":
                raise StatusError(409)

    assert case.kinds == ["UNKNOWN", "UNSPECIFIED"]


@pytest.mark.parametrize("kind", [asyncio.CancelledError, KeyboardInterrupt])
def test_cancellation_is_reported_and_comes_out(kind: type[BaseException]) -> None:
    case = Case()

    def call(_: PlanAttempt) -> None:
        raise kind

    with pytest.raises(kind):
        use(case.plan, call)

    assert case.kinds == ["CANCELLED"]


def test_a_failure_told_without_an_exception_goes_on() -> None:
    case = Case()

    used = []
    for attempt in case.plan:
        with attempt:
            used.append(attempt.provider)
            if attempt.provider == "openai":
                attempt.failed(pb.FAILURE_KIND_TRUNCATED)

    assert used == ["openai", "anthropic"]
    assert case.kinds == ["TRUNCATED", "UNSPECIFIED"]


def test_a_failure_told_goes_before_the_exception() -> None:
    case = Case(FIRST)

    def call(attempt: PlanAttempt) -> None:
        attempt.failed(pb.FAILURE_KIND_RATE_LIMITED, http_status=200, retry_after_seconds=2)
        raise ValueError("short")

    with pytest.raises(ValueError, match="short"):
        use(case.plan, call)

    assert case.kinds == ["RATE_LIMITED"]
    assert case.reports[0].retry_after.ToSeconds() == 2


def test_a_plan_without_success_says_so() -> None:
    case = Case()

    with pytest.raises(PlanExhaustedError, match="openai/gpt, anthropic/claude@eu") as caught:
        use(case.plan, lambda attempt: attempt.failed(pb.FAILURE_KIND_TRUNCATED))

    assert caught.value.decision_id == "d-1"


def test_targets_that_were_passed_over_are_not_reported() -> None:
    case = Case()

    for attempt in case.plan:
        if attempt.provider == "openai":
            continue
        with attempt:
            pass

    assert [report.target.provider for report in case.reports] == ["anthropic"]


def test_once_tokens_came_a_failure_comes_out() -> None:
    case = Case()

    def call(attempt: PlanAttempt) -> None:
        attempt.first_token()
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        use(case.plan, call)

    assert case.kinds == ["TRUNCATED"]


def test_under_restart_a_failure_in_mid_stream_goes_on() -> None:
    case = Case(restart=True)

    for attempt in case.plan:
        with attempt:
            attempt.first_token()
            if attempt.provider == "openai":
                raise TimeoutError

    assert case.kinds == ["STALLED", "UNSPECIFIED"]


def test_leaving_the_loop_from_the_block_is_a_success() -> None:
    case = Case()

    def call() -> str:
        for attempt in case.plan:
            with attempt:
                return attempt.model
        raise AssertionError

    assert call() == "gpt"
    assert [report.ok for report in case.reports] == [True]


def test_an_attempt_says_how_to_call_the_target() -> None:
    candidate = pb.Candidate()
    candidate.CopyFrom(FIRST)
    candidate.attempt_timeout.FromMilliseconds(1500)

    (attempt,) = itertools.islice(Case(candidate).plan, 1)

    assert (attempt.wire, attempt.base_url, attempt.timeout_seconds) == ("openai", "https://a.example", 1.5)


def test_no_attempt_timeout_is_unknown_not_zero() -> None:
    (attempt,) = itertools.islice(Case(SECOND).plan, 1)

    assert attempt.timeout_seconds is None


def test_attempt_ids_are_uuids_by_default() -> None:
    reports: list[pb.Outcome] = []
    attempts: list[PlanAttempt] = []

    for attempt in Plan(chosen(FIRST), reports.append):
        attempts.append(attempt)
        with attempt:
            pass

    assert len(attempts[0].attempt_id) == 36
    assert reports[0].attempt_id == attempts[0].attempt_id


def test_a_request_that_wants_no_other_target_is_offered_the_first_alone() -> None:
    plan = Plan(chosen(FIRST, SECOND, options=pb.RoutingOptions(allow_fallback=False)), lambda _: None)

    assert [target_of(candidate) for candidate in plan.candidates] == ["openai"]


def test_outcomes_of_a_stale_plan_say_themselves_whose_they_are() -> None:
    reports: list[pb.Outcome] = []
    for stale_reason in ("", "the sidecar is away"):
        Plan(chosen(FIRST, stale_reason=stale_reason), reports.append).run(lambda _: None)

    assert [(report.task, report.caller.tenant, report.session_id) for report in reports] == [
        ("", "", ""),
        ("chat", "blue", "s-1"),
    ]


def test_run_returns_what_the_first_success_returns() -> None:
    case = Case()

    def call(attempt: PlanAttempt) -> str:
        if attempt.provider == "openai":
            raise StatusError(503)
        return attempt.model

    assert case.plan.run(call) == "claude"
    assert case.kinds == ["OVERLOADED", "UNSPECIFIED"]


def test_run_says_that_nobody_is_left_and_what_the_last_one_said() -> None:
    case = Case()

    def call(attempt: PlanAttempt) -> None:
        raise StatusError(503 if attempt.provider == "openai" else 529)

    with pytest.raises(PlanExhaustedError, match="openai/gpt, anthropic/claude@eu") as caught:
        case.plan.run(call)

    assert isinstance(caught.value.__cause__, StatusError)
    assert caught.value.__cause__.status_code == 529
    assert case.kinds == ["OVERLOADED", "OVERLOADED"]


@pytest.mark.parametrize("error", [ZeroDivisionError(), StatusError(400), asyncio.CancelledError()], ids=repr)
def test_run_lets_out_at_once_what_another_target_would_not_help(error: BaseException) -> None:
    case = Case()

    def call(_: PlanAttempt) -> None:
        raise error

    with pytest.raises(type(error)):
        case.plan.run(call)

    assert len(case.reports) == 1


def test_run_goes_on_after_a_failure_that_was_told_whatever_is_returned() -> None:
    case = Case()

    def call(attempt: PlanAttempt) -> str:
        if attempt.provider == "openai":
            attempt.failed(pb.FAILURE_KIND_TRUNCATED)
        return attempt.model

    assert case.plan.run(call) == "claude"


def test_run_does_not_go_on_once_tokens_came() -> None:
    case = Case()

    def call(attempt: PlanAttempt) -> str:
        attempt.first_token()
        attempt.failed(pb.FAILURE_KIND_TRUNCATED)
        return attempt.model

    with pytest.raises(PlanExhaustedError):
        case.plan.run(call)

    assert case.kinds == ["TRUNCATED"]


async def test_run_async_goes_on_and_returns_as_run_does() -> None:
    case = Case()

    async def call(attempt: PlanAttempt) -> str:
        await asyncio.sleep(0)
        if attempt.provider == "openai":
            raise StatusError(503)
        return attempt.model

    assert await case.plan.run_async(call) == "claude"
    assert case.kinds == ["OVERLOADED", "UNSPECIFIED"]


def target_of(candidate: pb.Candidate) -> str:
    return candidate.target.provider
