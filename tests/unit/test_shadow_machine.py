"""Any calls, failures, drains and pauses: a router with a shadow does what one without it does, and twins agree.

The shadow is asked at moments that are drawn, too: long after what it is asked about, or at once.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.core.budgets import budget
from tests.unit.execution.scripted import Instruments, spec
from tests.unit.test_router import Clock
from turnout_server.core.budget import OnExceed
from turnout_server.core.call import AttemptRecord
from turnout_server.core.decision import Decision
from turnout_server.core.errors import TurnoutError
from turnout_server.core.events import Event
from turnout_server.core.fleet import CredentialSpec, Fleet
from turnout_server.core.model import (
    Caller,
    FailureKind,
    Outcome,
    Priority,
    RequestProfile,
    RouteQuery,
    RoutingOptions,
    Strategy,
    Usage,
)
from turnout_server.core.permits import Permit
from turnout_server.core.settings import Policy, RoutingSettings, Settings
from turnout_server.router import Router

KEY = (CredentialSpec(label="main"),)
SPECS = (
    spec("a/m", quality=90.0, max_concurrency=1),
    spec("b/m", 1, quality=70.0, credentials=KEY, needs_credential=True),
    spec("b/n", 1, quality=85.0, credentials=KEY, needs_credential=True),
    spec("c/m", 2, quality=60.0, latency_prior_seconds=0.3),
)
STRATEGIES = [each for each in Strategy if each is not Strategy.ADAPTIVE]
FAILURES = (None, None, FailureKind.SERVER_ERROR, FailureKind.TIMEOUT, FailureKind.RATE_LIMITED, FailureKind.CONNECTION)
QUERIES = st.builds(
    RouteQuery,
    profile=st.builds(
        RequestProfile,
        input_tokens=st.sampled_from([10, 3000, 90_000]),
        max_output_tokens=st.sampled_from([None, 50]),
        task=st.sampled_from(["", "chat"]),
    ),
    options=st.builds(
        RoutingOptions,
        sticky_key=st.sampled_from(["", "", "k"]),
        priority=st.sampled_from(list(Priority)),
        max_cost_usd=st.sampled_from([None, None, 0.02]),
    ),
    caller=st.builds(Caller, tier=st.sampled_from(["", "free"])),
)


@dataclass(frozen=True)
class Step:
    """One thing that happens. `asked` is how many shadows are asked after it."""

    kind: str
    query: RouteQuery
    failure: FailureKind | None
    seconds: float
    asked: int


STEPS = st.lists(
    st.builds(
        Step,
        kind=st.sampled_from(["plan", "plan", "call", "call", "end", "end", "report", "drain", "reset", "wait"]),
        query=QUERIES,
        failure=st.sampled_from(FAILURES),
        seconds=st.sampled_from([0.0, 0.01, 0.3, 1.5, 7.0]),
        asked=st.sampled_from([0, 0, 1, 3]),
    ),
    max_size=40,
)


class Life:
    """A router that steps happen to, and all that it says on the way."""

    def __init__(self, *policies: Policy, limited: bool) -> None:
        ids = itertools.count()
        self.clock = Clock()
        self.events: list[Event] = []
        self.told: list[object] = []
        self.instruments = Instruments()
        self._numbers = itertools.count()
        self._running: list[tuple[Decision, Permit]] = []
        self._made: list[Decision] = []
        self.rng = random.Random(11)
        budgets = (budget("narrow", limit=300_000_000, on_exceed=OnExceed.DOWNGRADE),) if limited else ()
        self.router = Router(
            Fleet(SPECS),
            Settings(routing=RoutingSettings(policies={each.name: each for each in policies}), budgets=budgets),
            clock=self.clock,
            wall=self.clock.wall,
            rng=self.rng,
            new_id=lambda: f"id-{next(ids)}",
            on_event=self.events.append,
            instruments=self.instruments,
        )

    def live(self, step: Step) -> None:
        """Lets one thing happen, and notes what came of it."""
        self.clock.now += step.seconds
        try:
            getattr(self, f"_{step.kind}")(step)
        except TurnoutError as error:
            self.told.append(str(error))
        shadowing = self.router.shadows.shadowing
        for _ in range(step.asked if shadowing is not None else 0):
            assert shadowing is not None
            shadowing.step()

    def _plan(self, step: Step) -> None:
        self._decided(self.router.deciding.route(step.query))

    def _call(self, step: Step) -> None:
        query = replace(step.query, executing=True)
        made = self._decided(self.router.deciding.for_call(query))
        for candidate in made.candidates:
            permit = self.router.attempts.begin(
                candidate.spec, made, query, call_id=made.decision_id, lease_seconds=5.0
            )
            self.told.append(permit)
            if permit is not None:
                self._running.append((made, permit))
                return

    def _end(self, step: Step) -> None:
        if not self._running:
            return
        made, permit = self._running.pop(0)
        outcome = replace(
            self._outcome(made, step.failure, attempt_id=permit.attempt_id),
            target=permit.spec.target,
            credential=permit.credential,
            probe_id=permit.probe_id,
        )
        record = AttemptRecord(
            target=outcome.target, attempt_id=permit.attempt_id, started_at_wall=0.0, cost_nano_usd=1_000_000
        )
        self.router.attempts.finish(permit, outcome, record)
        self.router.attempts.end_call(made.decision_id)

    def _report(self, step: Step) -> None:
        if self._made:
            made = self._made[-1]
            outcome = self._outcome(made, step.failure, attempt_id=f"reported-{next(self._numbers)}")
            self.told.append(self.router.reports.take([replace(outcome, reported=True)], []))

    def _drain(self, step: Step) -> None:
        index = int(step.seconds * 100) % len(SPECS)
        self.router.state.set_drained(index, drained=not self.router.state.targets[index].drained)

    def _reset(self, step: Step) -> None:
        self.router.state.reset_health([int(step.seconds * 100) % len(SPECS)], self.clock.now)

    def _wait(self, step: Step) -> None:
        self.clock.now += 10.0 * step.seconds
        self.router.passing_time.expire()

    def _decided(self, decision: Decision) -> Decision:
        self.told.append((decision, tuple(decision.candidates), tuple(decision.rejections)))
        self._made.append(decision)
        return decision

    @staticmethod
    def _outcome(made: Decision, failure: FailureKind | None, *, attempt_id: str) -> Outcome:
        return Outcome(
            target=made.candidates[0].target,
            failure=failure,
            decision_id=made.decision_id,
            attempt_id=attempt_id,
            latency_seconds=2.0 if failure is None else 0.2,
            time_to_first_token_seconds=0.5 if failure is None else None,
            usage=Usage(input_tokens=1000, cached_input_tokens=500, output_tokens=700) if failure is None else None,
            retry_after_seconds=4.0 if failure is FailureKind.RATE_LIMITED else None,
        )


@settings(max_examples=60)
@given(steps=STEPS, own=st.sampled_from(STRATEGIES), other=st.sampled_from(STRATEGIES), limited=st.booleans())
def test_a_router_with_a_shadow_does_what_one_without_does(
    steps: list[Step], own: Strategy, other: Strategy, *, limited: bool
) -> None:
    policy, shadow = Policy(strategy=own), Policy(name="other", strategy=other, preferences=("c/m",))
    alone = Life(policy, shadow, limited=limited)
    beside = Life(replace(policy, shadow_policy="other"), shadow, limited=limited)
    for step in steps:
        alone.live(step)
        beside.live(step)

    assert alone.told == beside.told
    assert alone.events == beside.events
    assert alone.instruments.decisions == beside.instruments.decisions
    assert alone.rng.getstate() == beside.rng.getstate()
    assert [target.in_flight for target in alone.router.state.targets] == [
        target.in_flight for target in beside.router.state.targets
    ]


@settings(max_examples=60)
@given(steps=STEPS, strategy=st.sampled_from(STRATEGIES), limited=st.booleans())
def test_twins_choose_the_same_for_the_same_price(steps: list[Step], strategy: Strategy, *, limited: bool) -> None:
    life = Life(
        Policy(strategy=strategy, shadow_policy="twin"), Policy(name="twin", strategy=strategy), limited=limited
    )
    for step in steps:
        # WEIGHTED draws a key's side by the policy's name.
        options = replace(step.query.options, sticky_key="") if strategy is Strategy.WEIGHTED else step.query.options
        life.live(replace(step, query=replace(step.query, options=options)))
    shadowing = life.router.shadows.shadowing
    assert shadowing is not None
    while shadowing.waiting_count:
        shadowing.step()
    found = life.instruments.comparisons

    assert len(found) == sum(1 for each in life.instruments.decisions if each.shadow is not None)
    assert [] == [each for each in found if each.chosen != each.shadow_chosen]
