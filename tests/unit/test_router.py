"""The use cases: what is leased, recorded and told, on a clock that the test sets."""

import dataclasses
import itertools
import random

import pytest

from tests.unit.execution.scripted import Instruments, spec
from turnout_server.core.call import AttemptRecord
from turnout_server.core.errors import (
    AllTargetsUnavailableError,
    NoEligibleTargetError,
    UnknownDecisionError,
    UnknownProviderError,
)
from turnout_server.core.events import Event, EventName
from turnout_server.core.fleet import CredentialSpec, Fleet, Price, TargetSpec
from turnout_server.core.history import DecisionFilter
from turnout_server.core.model import (
    FailureKind,
    Feedback,
    Outcome,
    Priority,
    RejectionReason,
    RouteQuery,
    RoutingOptions,
    Strategy,
    Target,
    Usage,
)
from turnout_server.core.settings import Policy, RoutingSettings, Settings
from turnout_server.core.state import RecordResult
from turnout_server.router import Router

A, B = Target("a", "m"), Target("b", "m")
EXECUTING = RouteQuery(executing=True)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1_800_000_000.0 + self.now


class Desk:
    """A router with everything it tells others."""

    def __init__(self, *specs: TargetSpec, strategy: Strategy = Strategy.PRIORITY) -> None:
        ids = itertools.count()
        self.clock = Clock()
        self.events: list[Event] = []
        self.instruments = Instruments()
        made = specs or (spec("a/m"), spec("b/m"))
        self.router = Router(
            Fleet(tuple(dataclasses.replace(s, provider_rank=rank) for rank, s in enumerate(made))),
            Settings(routing=RoutingSettings(policies={"default": Policy(strategy=strategy)})),
            clock=self.clock,
            wall=self.clock.wall,
            rng=random.Random(3),
            new_id=lambda: f"id-{next(ids)}",
            on_event=self.events.append,
            instruments=self.instruments,
        )
        self.attempts = (f"attempt-{n}" for n in itertools.count())

    def report(self, target: Target, failure: FailureKind | None = None, **facts: object) -> RecordResult:
        """Reports one outcome of a plan made for it."""
        decision_id = str(facts.pop("decision_id", "")) or self.plan_id()
        outcome = Outcome(
            target=target,
            failure=failure,
            decision_id=decision_id,
            attempt_id=next(self.attempts),
            reported=True,
            latency_seconds=1.0,
            **facts,  # type: ignore[arg-type]  # tests name fields
        )
        return self.router.reports.take([outcome], []).outcomes[0].result

    def plan_id(self) -> str:
        try:
            return self.router.deciding.route(RouteQuery()).decision_id
        except AllTargetsUnavailableError as error:
            return error.decision_id

    def open(self, target: Target, failure: FailureKind = FailureKind.OVERLOADED) -> None:
        """Has a target fail until its breaker opens, and lets the open time pass."""
        plans = [self.plan_id() for _ in range(3)]
        for plan in plans:
            self.report(target, failure, decision_id=plan)
            self.clock.now += 1.0
        self.clock.now += 6.0

    def names(self, query: RouteQuery | None = None) -> list[str]:
        return [str(candidate.target) for candidate in self.router.deciding.route(query or RouteQuery()).candidates]


def test_route_ranks_all_targets_and_keeps_the_decision() -> None:
    desk = Desk()
    decision = desk.router.deciding.route(RouteQuery())

    assert [str(candidate.target) for candidate in decision.candidates] == ["a/m", "b/m"]
    assert desk.router.looking_back.decision(decision.decision_id).decision == decision
    assert desk.instruments.decisions == [decision]


def test_route_leases_the_trial_of_a_half_open_first_candidate() -> None:
    desk = Desk()
    desk.open(A)
    decision = desk.router.deciding.route(RouteQuery())
    probe = decision.candidates[0].probe

    assert decision.candidates[0].target == A
    assert probe is not None
    assert probe.expires_at > desk.clock.now
    assert not decision.reusable


def test_second_plan_leaves_out_a_target_whose_trial_is_taken() -> None:
    desk = Desk()
    desk.open(A)
    desk.router.deciding.route(RouteQuery())
    decision = desk.router.deciding.route(RouteQuery())

    assert [str(candidate.target) for candidate in decision.candidates] == ["b/m"]
    assert [(r.target, r.reasons) for r in decision.rejections] == [(A, (RejectionReason.BREAKER_OPEN,))]


def test_half_open_target_that_is_not_first_waits_and_takes_no_lease() -> None:
    desk = Desk()
    desk.open(B)
    first = desk.router.deciding.route(RouteQuery())
    second = desk.router.deciding.route(RouteQuery())

    assert [str(c.target) for c in first.candidates] == [str(c.target) for c in second.candidates] == ["a/m"]
    assert [(r.target, r.reasons) for r in second.rejections] == [(B, (RejectionReason.BREAKER_OPEN,))]
    assert desk.router.attempts.begin_probe(B, lease_seconds=1.0) is not None


def test_every_target_is_accounted_for_while_trials_run() -> None:
    desk = Desk(spec("a/m"), spec("b/m"), spec("c/m"))
    desk.open(A)
    desk.open(B)
    decision = desk.router.deciding.route(RouteQuery())

    assert len(decision.candidates) + len(decision.rejections) == 3


def test_only_target_with_its_trial_taken_is_told_with_the_time_to_come_again() -> None:
    desk = Desk(spec("a/m"))
    desk.open(A)
    desk.router.deciding.route(RouteQuery())
    with pytest.raises(AllTargetsUnavailableError) as caught:
        desk.router.deciding.route(RouteQuery())

    assert caught.value.retry_after_seconds is not None
    assert 0 < caught.value.retry_after_seconds < 10.0


def test_caller_is_told_when_a_trial_of_ours_should_end_and_not_when_its_lease_does() -> None:
    desk = Desk(spec("a/m"))
    desk.open(A)
    decision = desk.router.deciding.for_call(EXECUTING)
    permit = desk.router.attempts.begin(
        decision.candidates[0].spec, decision, EXECUTING, call_id="c", lease_seconds=60.0
    )
    with pytest.raises(AllTargetsUnavailableError) as caught:
        desk.router.deciding.for_call(EXECUTING)

    assert permit is not None
    assert permit.probe_id
    assert caught.value.retry_after_seconds is not None
    assert 0 < caught.value.retry_after_seconds < 10.0


def test_new_secret_behind_a_label_is_tried_at_once_and_told_to_those_who_watch() -> None:
    desk = Desk(spec("a/m", credentials=(CredentialSpec(label="k"),), needs_credential=True), spec("b/m"))
    desk.report(A, FailureKind.QUOTA_EXHAUSTED, credential="k", retry_after_seconds=600.0)
    decision = desk.router.deciding.for_call(EXECUTING)
    permit = desk.router.attempts.begin(
        desk.router.targets.spec(A), decision, EXECUTING, call_id="c", lease_seconds=60.0
    )
    assert permit is not None
    outcome = Outcome(target=A, failure=FailureKind.QUOTA_EXHAUSTED, credential="k", attempt_id=permit.attempt_id)
    desk.router.attempts.finish(
        permit, outcome, AttemptRecord(target=A, attempt_id=permit.attempt_id, started_at_wall=0.0)
    )
    before = desk.router.state.revision

    assert (
        desk.router.attempts.begin(desk.router.targets.spec(A), decision, EXECUTING, call_id="c", lease_seconds=60.0)
        is None
    )

    desk.router.administration.credential_changed("a", "k")

    assert (
        desk.router.attempts.begin(desk.router.targets.spec(A), decision, EXECUTING, call_id="c", lease_seconds=60.0)
        is not None
    )
    assert desk.router.status.changes(before).changed == (0,)
    assert EventName.CREDENTIAL_BACK in [event.name for event in desk.events]


def test_adopting_swaps_fleet_and_settings_and_tells_what_came_and_went() -> None:
    desk = Desk()
    settings = Settings(routing=RoutingSettings(policies={"default": Policy(strategy=Strategy.QUALITY)}))
    adopted = desk.router.adopt(Fleet((spec("b/m"), spec("c/m"))), settings)

    assert [str(target) for target in adopted.added] == ["c/m"]
    assert adopted.removed == (A,)
    assert desk.router.configured.settings is settings
    assert sorted(desk.names()) == ["b/m", "c/m"]
    assert not desk.router.targets.may_retry(A)


def test_trial_of_a_silent_target_goes_to_patient_callers_only() -> None:
    desk = Desk()
    desk.open(A, FailureKind.TIMEOUT)

    assert desk.names(RouteQuery(options=RoutingOptions(priority=Priority.HIGH))) == ["b/m"]


def test_reported_trials_close_the_breaker_and_the_event_is_told() -> None:
    desk = Desk(spec("a/m"))
    desk.open(A)
    for _ in range(2):
        decision = desk.router.deciding.route(RouteQuery())
        probe = decision.candidates[0].probe
        assert probe is not None
        desk.report(A, decision_id=decision.decision_id, probe_id=probe.probe_id)

    names = [event.name for event in desk.events]
    assert names == [
        EventName.FAILURE,
        EventName.BREAKER_OPENED,
        EventName.BREAKER_HALF_OPEN,
        EventName.BREAKER_CLOSED,
        EventName.RECOVERED,
    ]


def test_trial_never_reported_lapses_and_the_next_plan_gets_it() -> None:
    desk = Desk(spec("a/m"))
    desk.open(A)
    first = desk.router.deciding.route(RouteQuery()).candidates[0].probe
    assert first is not None
    desk.clock.now = first.expires_at
    second = desk.router.deciding.route(RouteQuery()).candidates[0].probe

    assert second is not None
    assert second.probe_id != first.probe_id
    assert EventName.PROBE_EXPIRED in [event.name for event in desk.events]
    assert "missing" in desk.instruments.outcomes


def test_report_counts_once() -> None:
    desk = Desk()
    outcome = Outcome(target=A, decision_id=desk.plan_id(), attempt_id="one", reported=True)
    results = desk.router.reports.take([outcome, outcome], []).outcomes

    assert [result.result for result in results] == [RecordResult.ACCEPTED, RecordResult.DUPLICATE]
    assert desk.instruments.outcomes == ["accepted", "duplicate"]


def test_report_about_an_unknown_target_is_rejected_alone() -> None:
    desk = Desk()
    results = desk.router.reports.take(
        [
            Outcome(target=Target("x", "y"), attempt_id="1", reported=True),
            Outcome(target=A, attempt_id="2", reported=True),
        ],
        [],
    ).outcomes

    assert [result.result for result in results] == [RecordResult.REJECTED, RecordResult.ACCEPTED]


def test_accepted_reports_are_counted_as_attempts_and_others_are_not() -> None:
    desk = Desk()
    outcome = Outcome(
        target=A,
        failure=FailureKind.TIMEOUT,
        attempt_id="1",
        reported=True,
        finished_at_wall=100.0,
        latency_seconds=4.0,
    )
    desk.router.reports.take([outcome, outcome], [])

    assert [(a.target, a.failure, a.started_at_wall) for a in desk.instruments.attempts] == [
        (A, FailureKind.TIMEOUT, 96.0)
    ]


def test_report_without_a_cost_is_charged_by_the_catalog_and_one_with_a_cost_is_not() -> None:
    priced = dataclasses.replace(
        spec("a/m"), price=Price(input_per_million=1_000_000_000, output_per_million=2_000_000_000)
    )
    desk = Desk(priced)
    usage = Usage(input_tokens=1000, output_tokens=500)
    desk.report(A, decision_id=desk.plan_id(), usage=usage)
    by_catalog = desk.router.status.report().aggregate.cost_nano_usd
    desk.report(A, decision_id=desk.plan_id(), usage=usage, cost_nano_usd=7)

    assert by_catalog == 2_000_000
    assert desk.router.status.report().aggregate.cost_nano_usd == 2_000_007


def test_feedback_joins_its_attempt() -> None:
    desk = Desk()
    plan = desk.plan_id()
    desk.report(A, decision_id=plan)
    results = desk.router.reports.take(
        [],
        [
            Feedback(decision_id=plan, attempt_id="attempt-0", quality=0.9),
            Feedback(decision_id="unknown", attempt_id="attempt-0", quality=0.9),
        ],
    ).feedback

    assert [result.result for result in results] == [RecordResult.ACCEPTED, RecordResult.REJECTED]
    assert desk.router.looking_back.decision(plan).attempts[0].quality == 0.9


def test_unknown_provider_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(UnknownProviderError, match="the providers are: a, b"):
        Desk().router.status.report(["x"])


def test_status_tells_of_the_providers_asked_for() -> None:
    desk = Desk()

    assert [p.provider for p in desk.router.status.report().providers] == ["a", "b"]
    assert [p.provider for p in desk.router.status.report(["b"]).providers] == ["b"]


def test_changes_of_status_are_told_since_a_revision() -> None:
    desk = Desk()
    before = desk.router.status.changes(0).revision
    desk.report(B)
    changes = desk.router.status.changes(before)

    assert changes.changed == (1,)
    assert desk.router.status.changes(changes.revision).changed == ()


def test_half_opening_is_a_change_although_nothing_was_reported() -> None:
    desk = Desk()
    desk.open(A)
    before = desk.router.state.revision
    changes = desk.router.status.changes(before)

    assert changes.changed == (0,)


def test_unknown_decision_is_an_error() -> None:
    with pytest.raises(UnknownDecisionError, match="no decision 'x'"):
        Desk().router.looking_back.decision("x")


def test_decisions_are_listed_newest_first_those_without_candidates_included() -> None:
    desk = Desk()
    first = desk.plan_id()
    with pytest.raises(NoEligibleTargetError) as caught:
        desk.router.deciding.route(RouteQuery(options=RoutingOptions(min_quality=99.0)))
    page = desk.router.looking_back.decisions(DecisionFilter(), page_size=10)

    assert [record.decision.decision_id for record in page.records] == [caught.value.decision_id, first]


def test_round_robin_takes_turns_and_other_strategies_do_not_advance_it() -> None:
    desk = Desk(strategy=Strategy.ROUND_ROBIN)
    quality = RouteQuery(options=RoutingOptions(strategy=Strategy.QUALITY))
    firsts = []
    for _ in range(4):
        firsts.append(desk.names()[0])
        desk.router.deciding.route(quality)

    assert firsts == ["a/m", "b/m", "a/m", "b/m"]


def test_attempt_is_in_flight_until_it_is_finished() -> None:
    desk = Desk()
    decision = desk.router.deciding.for_call(EXECUTING)
    permit = desk.router.attempts.begin(
        decision.candidates[0].spec, decision, EXECUTING, call_id="call", lease_seconds=10.0
    )
    assert permit is not None

    assert desk.router.state.targets[0].in_flight == 1


@pytest.mark.parametrize("why", ["full", "drained", "open", "half-open and taken", "no key left", "unknown"])
def test_target_that_cannot_be_called_after_all_is_not_permitted_and_nothing_is_taken(why: str) -> None:
    wanted = spec("a/m", max_concurrency=1, credentials=(CredentialSpec(label="k"),), needs_credential=True)
    desk = Desk(wanted, spec("b/m"))
    decision = desk.router.deciding.for_call(EXECUTING)
    wanted = desk.router.configured.fleet.specs[0]
    tried = frozenset[str]()
    match why:
        case "full":
            desk.router.attempts.begin(wanted, decision, EXECUTING, call_id="other", lease_seconds=1.0)
        case "drained":
            desk.router.state.set_drained(0, drained=True)
        case "open":
            desk.open(A)
            desk.clock.now -= 6.0
        case "half-open and taken":
            desk.open(A)
            desk.router.attempts.begin_probe(A, lease_seconds=60.0)
        case "no key left":
            tried = frozenset({"k"})
        case _:
            wanted = spec("x/y")
    before = [target.in_flight for target in desk.router.state.targets]
    permit = desk.router.attempts.begin(
        wanted, decision, EXECUTING, call_id="call", lease_seconds=1.0, tried_credentials=tried
    )

    assert permit is None
    assert before == [target.in_flight for target in desk.router.state.targets]


def test_call_takes_the_trial_of_a_half_open_target_when_its_attempt_begins() -> None:
    desk = Desk(spec("a/m"))
    desk.open(A)
    decision = desk.router.deciding.for_call(EXECUTING)
    assert decision.candidates[0].probe is None
    permit = desk.router.attempts.begin(
        decision.candidates[0].spec, decision, EXECUTING, call_id="call", lease_seconds=10.0
    )

    assert permit is not None
    assert permit.probe_id


def test_closed_target_is_not_probed() -> None:
    assert Desk().router.attempts.begin_probe(A, lease_seconds=1.0) is None


def test_failures_that_go_on_are_told_outside_of_calls_with_their_count() -> None:
    desk = Desk(spec("a/m"))
    decision_id = desk.plan_id()
    for _ in range(7):
        desk.report(A, FailureKind.SERVER_ERROR, decision_id=decision_id)
    first = [event.fields["count"] for event in desk.events if event.name is EventName.FAILURE]
    desk.clock.now += 10.0
    desk.router.passing_time.expire()
    desk.router.passing_time.tell_repeated()

    told = [event.fields["count"] for event in desk.events if event.name is EventName.FAILURE]
    assert (first, told) == ([1], [1, 6])
