"""Any order of draining, undraining, resetting, reloading and restarting, with calls between: it agrees with a model.

The model has one word for each name: whose word was the last, the configuration's or an operator's.
"""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.unit.execution.scripted import Instruments, spec
from turnout_server.core.call import AttemptRecord
from turnout_server.core.drains import Drained
from turnout_server.core.errors import AllTargetsUnavailableError, NoEligibleTargetError, StaleEtagError
from turnout_server.core.events import Event, EventName
from turnout_server.core.fleet import CredentialSpec, Fleet, TargetSpec
from turnout_server.core.keeping import Aged
from turnout_server.core.kept import Since
from turnout_server.core.model import FailureKind, Outcome, RejectionReason, RouteQuery, Target
from turnout_server.core.permits import Permit
from turnout_server.core.settings import Settings
from turnout_server.router import Router

NAMES = ("a/m", "a/n", "b/m@eu", "b/m@us", "c/m")
CONFIGURABLE = ("a", "a/m", "a/n", "b", "b/m", "b/m@us", "c")
KINDS = (None, FailureKind.SERVER_ERROR, FailureKind.CONNECTION, FailureKind.RATE_LIMITED, FailureKind.AUTHENTICATION)
HEALTH = frozenset({RejectionReason.BREAKER_OPEN, RejectionReason.COOLING_DOWN, RejectionReason.CREDENTIALS})
WORLD = st.lists(st.sampled_from(NAMES), unique=True, min_size=1)
FILE = st.lists(st.sampled_from(CONFIGURABLE), unique=True)
Name = str | Target


def target_of(name: str) -> Target:
    provider, _, rest = name.partition("/")
    model, _, endpoint = rest.partition("@")
    return Target(provider, model, endpoint)


def fleet_of(names: list[str], address: str) -> Fleet:
    key = (CredentialSpec(label="main"),)
    made: list[TargetSpec] = []
    for name in sorted(names):
        where = target_of(name)
        facts: dict[str, Any] = {"base_url": f"http://{address}", "needs_credential": True, "credentials": key}
        found = spec(f"{where.provider}/{where.model}", **facts)
        made.append(TargetSpec(**{**{f: getattr(found, f) for f in found.__slots__}, "target": where, "name": name}))
    return Fleet(tuple(made))


class AdministrationMachine(RuleBasedStateMachine):
    """Drives a router as the API and execution do."""

    @initialize(names=WORLD, file=FILE)
    def start(self, names: list[str], file: list[str]) -> None:
        self.now = 1000.0
        self.ids = itertools.count()
        self.events: list[Event] = []
        self.running: list[Permit] = []
        self.etags: dict[str, tuple[str, Drained]] = {}
        self.names, self.file, self.address = names, file, "one"
        self.router = self.made()
        self.words = self.said(file)

    def made(self) -> Router:
        return Router(
            fleet_of(self.names, self.address),
            Settings(drained=tuple(self.file)),
            clock=lambda: self.now,
            wall=lambda: 1_800_000_000.0 + self.now,
            rng=random.Random(5),
            new_id=lambda: f"id-{next(self.ids)}",
            on_event=self.events.append,
            instruments=Instruments(),
        )

    def entities(self) -> list[Name]:
        targets = [each.target for each in self.router.configured.fleet.specs]
        return [*dict.fromkeys(each.provider for each in targets), *targets]

    def said(self, file: list[str]) -> dict[Name, bool]:
        """What a configuration says of each provider and target that there is."""

        def says(entity: Name) -> bool:
            if isinstance(entity, str):
                return entity in file
            return str(entity) in file or f"{entity.provider}/{entity.model}" in file

        return {entity: says(entity) for entity in self.entities()}

    def drained(self, target: Target) -> bool:
        return self.words[target.provider] or self.words[target]

    # What operators do.

    @rule(
        which=st.integers(0, 9),
        whole=st.booleans(),
        picked=st.integers(0, 15),
        known=st.sampled_from(["", "now", "old"]),
    )
    def update(self, which: int, whole: bool, picked: int, known: str) -> None:  # noqa: FBT001  # drawn
        provider = self.router.configured.fleet.providers[which % len(self.router.configured.fleet.providers)]
        own = [each.target for each in self.router.configured.fleet.specs if each.target.provider == provider]
        targets = frozenset(each for place, each in enumerate(own) if picked >> place & 1)
        report = self.router.administration.provider(provider)
        etag, then = {"": ("", None), "now": (report.etag, None), "old": self.etags.get(provider, ("", None))}[known]
        before, told = report.drained, len(self.events)
        if etag and etag != report.etag:
            with pytest.raises(StaleEtagError):
                self.router.administration.change_drains(
                    provider, Drained(whole=whole, targets=targets), etag=etag, by="somebody"
                )
            assert len(self.events) == told
            return
        # An etag that is taken is of what there is now.
        assert then is None or then == before
        after = self.router.administration.change_drains(
            provider, Drained(whole=whole, targets=targets), etag=etag, by="somebody"
        )
        self.words[provider] = whole
        self.words |= {each: each in targets for each in own}
        self.etags[provider] = (report.etag, before)

        assert after.drained == Drained(whole=whole, targets=targets)
        assert (after.etag == report.etag) == (after.drained == before)
        new = self.events[told:]
        assert bool(new) == (after.drained != before)
        assert {event.name for event in new} <= {EventName.DRAINED, EventName.UNDRAINED}
        assert all(event.fields["by"] == "somebody" for event in new)

    @rule(picked=st.integers(1, 31))
    def reset(self, picked: int) -> None:
        state = self.router.state
        places = [place for place in range(len(state.targets)) if picked >> place & 1]
        others = [each for each in state.targets if each.endpoint not in [state.targets[p].endpoint for p in places]]
        before = [(each.breaker.closed, each.breaker.consecutive_failures) for each in others]
        learned = [(each.latency.sample_count, each.in_flight, each.drained) for each in state.targets]
        reset = self.router.administration.reset_health(places, by="somebody")

        assert list(reset) == [state.fleet.specs[place].target for place in places]
        assert before == [(each.breaker.closed, each.breaker.consecutive_failures) for each in others]
        assert learned == [(each.latency.sample_count, each.in_flight, each.drained) for each in state.targets]
        for place in places:
            target = state.targets[place]
            assert target.breaker.closed
            assert target.endpoint.closed
            assert target.breaker.consecutive_failures == 0
        decision = self.decision()
        rejected = {rejection.target: set(rejection.reasons) for rejection in decision[1]}
        assert not any(rejected.get(target, set()) & HEALTH for target in reset)

    # What configurations and processes do.

    @rule(names=WORLD, file=FILE, address=st.sampled_from(["one", "one", "two"]))
    def reload(self, names: list[str], file: list[str], address: str) -> None:
        before = self.said(self.file)
        self.names, self.address = names, address
        self.router.adopt(fleet_of(names, address), Settings(drained=tuple(file)))
        after = self.said(file)
        self.file = file
        # The configuration's word counts where it is another one than before; else the last word stays.
        self.words = {
            entity: says if says != before.get(entity, False) else self.words.get(entity, False)
            for entity, says in after.items()
        }

    @rule(file=FILE)
    def reload_of_what_is_drained(self, file: list[str]) -> None:
        self.reload(self.names, file, self.address)

    @rule()
    def restart(self) -> None:
        for permit in list(self.running):
            self.end(self.running.index(permit), None)
        wall = 1_800_000_000.0 + self.now
        lines = list(self.router.state_transfer.memory().kept(self.now, wall))
        self.now += 1.0
        self.router = self.made()
        aged = [Aged(line, Since.made(wall, now=self.now, now_wall=wall + 1.0)) for line in lines]
        self.router.state_transfer.memory().resume(aged, now=self.now, now_wall=wall + 1.0)
        self.words = self.said(self.file)

    # What callers do.

    @rule()
    def call(self) -> None:
        candidates, rejections = self.decision()
        targets = {each.target for each in candidates}

        assert not any(self.drained(target) for target in targets)
        assert {each.target for each in rejections if RejectionReason.DRAINED in each.reasons} == {
            each.target for each in self.router.configured.fleet.specs if self.drained(each.target)
        }
        if not candidates:
            return
        query = RouteQuery(executing=True)
        decision = self.router.deciding.for_call(query)
        permit = self.router.attempts.begin(
            decision.candidates[0].spec, decision, query, call_id=f"call {next(self.ids)}", lease_seconds=30.0
        )
        if permit is not None:
            self.running.append(permit)

    @rule(which=st.integers(0, 9))
    def begin_late(self, which: int) -> None:
        """Somebody acts on a decision from before: what was drained since is not called."""
        specs = self.router.configured.fleet.specs
        wanted = specs[which % len(specs)]
        query = RouteQuery(executing=True)
        try:
            decision = self.router.deciding.for_call(query)
        except (AllTargetsUnavailableError, NoEligibleTargetError):
            return
        permit = self.router.attempts.begin(
            wanted, decision, query, call_id=f"call {next(self.ids)}", lease_seconds=30.0
        )
        if permit is not None:
            self.running.append(permit)

            assert not self.drained(wanted.target)

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 50), kind=st.sampled_from(KINDS))
    def end(self, which: int, kind: FailureKind | None) -> None:
        permit = self.running.pop(which % len(self.running))
        facts: dict[str, Any] = {"latency_seconds": 1.0, "failure": kind, "cost_nano_usd": 1}
        where, attempt_id = permit.spec.target, permit.attempt_id
        outcome = Outcome(
            target=where,
            attempt_id=attempt_id,
            decision_id=permit.decision_id,
            credential=permit.credential,
            probe_id=permit.probe_id,
            **facts,
        )
        self.router.attempts.finish(
            permit, outcome, AttemptRecord(target=where, attempt_id=attempt_id, started_at_wall=0.0, **facts)
        )
        self.router.attempts.end_call(permit.call_id)

    @rule(seconds=st.sampled_from([0.1, 2.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.router.passing_time.expire()

    def decision(self) -> tuple[Any, Any]:
        try:
            decision = self.router.deciding.look_ahead(RouteQuery(executing=True))
        except (AllTargetsUnavailableError, NoEligibleTargetError) as error:
            return (), error.rejections
        return decision.candidates, decision.rejections

    @invariant()
    def everybody_knows_what_is_drained(self) -> None:
        if not hasattr(self, "router"):
            return
        expected = {each.target for each in self.router.configured.fleet.specs if self.drained(each.target)}

        assert {each.spec.target for each in self.router.state.targets if each.drained} == expected
        status = self.router.status.report()
        assert {each.target for state in status.providers for each in state.targets if each.drained} == expected
        for provider in self.router.configured.fleet.providers:
            drained = self.router.administration.provider(provider).drained
            assert drained.whole == self.words[provider]
            own = {each for each in self.words if isinstance(each, Target) and each.provider == provider}
            assert drained.targets == {each for each in own if self.words[each]}

    @invariant()
    def calls_that_run_go_on(self) -> None:
        if hasattr(self, "router"):
            assert set(self.router.state._running) == {permit.attempt_id for permit in self.running}


TestAdministrationMachine = AdministrationMachine.TestCase
TestAdministrationMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
