"""All that changes while the sidecar runs, and the only writer of health: attempts begin, outcomes end them.

Arrow line: outcome -> known target? -> counts once? -> history, statistics -> known decision? -> whose fault? ->
what it teaches. Everything here returns at once and takes `now`, monotonic seconds.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from math import isfinite

from turnout_server.core.affinity import Affinity, affinity_key
from turnout_server.core.checks import Question, question, reached
from turnout_server.core.credentials import Credentials
from turnout_server.core.drains import Drained, Drains
from turnout_server.core.drift import drift_over, take_drift
from turnout_server.core.events import Event, EventName
from turnout_server.core.faults import Effects, EndpointGroup, Faults, release_trial
from turnout_server.core.fleet import Fleet
from turnout_server.core.hedging import HedgeBudget
from turnout_server.core.learning import learn
from turnout_server.core.model import FailureKind, Feedback, Outcome, Probe, Target
from turnout_server.core.once import SeenKeys
from turnout_server.core.past import Past
from turnout_server.core.placing import place
from turnout_server.core.prepared import Prepared
from turnout_server.core.pressure import take_refusal
from turnout_server.core.recorded import Adopted, Recorded, RecordResult, rejected
from turnout_server.core.retry_budget import RetryBudget
from turnout_server.core.settings import Settings
from turnout_server.core.status import StatusReport, TargetGauges
from turnout_server.core.status_report import StatusReader, Steps, finished
from turnout_server.core.target_state import GONE, TargetState
from turnout_server.core.tokens import OutputLengths, TokenRatios
from turnout_server.core.trends import Trend, TrendQuery, trend
from turnout_server.core.vitals import Vitals, take_vital, take_vitals

__all__ = ["Adopted", "FleetState", "RecordResult", "Recorded", "TargetState"]

LATE_CANCEL_FACTOR = 3.0
"""A caller who gives up before the first byte after more than 3 x the p95 tells of a timeout, not of a whim."""

FADING_SECONDS = 0.25
"""Availability and latency peaks fade with time: decisions read them as they were at most this long ago."""

REMOVED_MAXIMUM = 4096
"""Targets remembered as removed, for those who watch; the one longest gone is forgotten first."""


class FleetState:
    """The state of all targets (in the order of `fleet.specs`), credentials and decisions."""

    def __init__(self, fleet: Fleet, settings: Settings, *, now: float, rng: random.Random) -> None:
        failover = settings.failover
        self.fleet = fleet
        self._rng = rng
        self._failover = failover
        self.targets, self.groups, self._group_of, _ = place(fleet, failover, rng)
        self.drains = Drains(fleet, settings.drained)
        """To be read only."""
        self.credentials = Credentials(failover.health, rng)
        self.lengths = OutputLengths()
        self.token_ratios = TokenRatios()
        self.retry_budget = RetryBudget(failover)
        self.hedge_budget = HedgeBudget()
        self.past = Past(settings.history_max_bytes, now=now)
        self.history = self.past.history
        self.missing_outcomes = 0
        """Trials that nobody told the end of in time."""
        self.revision = 0
        """Grows with every change of a target's state."""
        self._faults = Faults(self.targets, self.groups, self.credentials, failover.health)
        self._started_at = now
        self._running: dict[str, TargetState] = {}
        """By attempt id, the targets that are called now: one that is removed meanwhile has its calls end on it."""
        self._recorded = SeenKeys()
        self.affinity = Affinity(settings.routing.affinity)
        self._changed_at = [0] * len(self.targets)
        self._removed_at: dict[Target, int] = {}
        # Only these can change by time passing, so only these are looked at before each decision.
        self._restless: set[int] = set()
        self._prepare()
        self._follow_drains()

    def _prepare(self) -> None:
        """Makes what decisions read of the fleet; to be called for every fleet."""
        alike: dict[tuple[str, str], tuple[int, ...]] = {}
        for index, spec in enumerate(self.fleet.specs):
            key = (spec.target.provider, spec.target.model)
            alike[key] = (*alike.get(key, ()), index)
        # What is learned of a model, and what its keys are refused, holds at all its endpoints.
        self._alike = [alike[spec.target.provider, spec.target.model] for spec in self.fleet.specs]
        self.prepared = Prepared(self.fleet)
        self._vitals: Vitals | None = None
        self._vitals_at = 0.0
        self._stale: set[int] = set()
        self._fading: set[int] = set()
        """Targets that something ended at: their numbers fade."""

    def adopt(self, fleet: Fleet, settings: Settings) -> Adopted:
        """Takes another fleet and its settings at once.

        Targets, endpoints and credentials that stay keep what is known of them, a target's calls in flight included;
        new ones start with nothing. Drains are of names and follow `Drains.adopt`. Places in the fleet mean other
        targets from here on.
        """
        failover = settings.failover
        before = self.targets
        self.fleet = fleet
        self.targets, self.groups, self._group_of, added = place(fleet, failover, self._rng, before=before)
        here = {id(target) for target in self.targets}
        self.credentials.adopt(fleet, failover.health)
        self._faults.adopt(self.targets, self.groups, failover.health)
        if failover != self._failover:
            self.retry_budget = self.retry_budget.following(failover)
            self._failover = failover
        self.past.bound(settings.history_max_bytes)
        self.affinity.adopt(settings.routing.affinity, fleet)
        self._changed_at = [0] * len(self.targets)
        self._prepare()
        self.drains.adopt(fleet, settings.drained)
        self._follow_drains()
        self._fading.update(range(len(self.targets)))
        self._touch(range(len(self.targets)))
        self._restless = {index for index, target in enumerate(self.targets) if target.restless}
        gone = [target for target in before if id(target) not in here]
        for target in gone:
            target.index = GONE
        removed = tuple(target.spec.target for target in gone)
        self._remember_removed(removed)
        return Adopted(added, removed)

    @property
    def started_at(self) -> float:
        """Since when targets have been watched, monotonic seconds; before the present process, where that is kept."""
        return self._started_at

    def resumed(self, started_at: float) -> None:
        """Takes note that what is known of targets and keys was put back as it was before a restart (`keeping`)."""
        self._started_at = min(self._started_at, started_at)
        self._fading.update(range(len(self.targets)))
        self._touch(range(len(self.targets)))
        self._restless = {index for index, target in enumerate(self.targets) if target.restless}

    def taken_over(self, indexes: Sequence[int]) -> None:
        """Takes note that what is known of the targets at these places came from elsewhere (`taking_over`)."""
        self._fading.update(indexes)
        self._touch(indexes)
        for index in indexes:
            (self._restless.add if self.targets[index].restless else self._restless.discard)(index)

    # An attempt's life.

    def attempt_started(
        self,
        target: TargetState,
        *,
        credential: str,
        call_id: str,  # noqa: ARG002  # told for symmetry with `record`
        attempt_id: str,
        now: float,
    ) -> None:
        """Takes note of a call of ours that is sent now; `record` with `in_flight` ends it.

        A target that was removed may still be called, by calls that began before.
        """
        self._running[attempt_id] = target
        target.in_flight += 1
        target.throttle.sent(now)
        target.concurrency.sent(target.in_flight, now)
        target.suspects.started(attempt_id, now)
        target.statistics.last_request_at = now
        holds_back = self.credentials.started(target.spec, credential, now)
        index = target.index
        if index == GONE:
            return
        if target.suspects.may_be:
            self._restless.add(index)
        self._touch(self._of_provider(target) if holds_back else (index,))

    def first_token(
        self, attempt_id: str, now: float, *, began_at: float | None = None, credential: str | None = None
    ) -> None:
        """Takes note that a target has begun to answer.

        `began_at` is when the attempt began, `credential` the label of the key that it used; None where unknown.
        """
        target = self._running.get(attempt_id)
        if target is None:
            return
        target.throttle.accepted(now)
        if (
            began_at is not None
            and credential is not None
            and self.credentials.answering(target.spec, credential, began_at)
        ):
            self._touch(self._of_provider(target))
        if began_at is not None and target.breaker.consecutive_failures:
            target.breaker.answering(began_at)
        if target.endpoint.doubted and self._is_here(target):
            target.endpoint.connected(target.suspects.began_at(attempt_id) or 0.0)
            self._touch(self._group_of[target.index].indexes)
        elif target.suspect(now) and self._is_here(target):
            self._touch((target.index,))
        target.suspects.first_token()

    def record(self, outcome: Outcome, *, call_id: str, now: float, in_flight: bool) -> Recorded:
        """Takes how an attempt ended, of ours or as a caller reports it: the one way to health.

        `call_id` is what the attempt belongs to: a target's failures count once per call. `in_flight` ends an
        `attempt_started`.
        """
        target = self._target_of(outcome, in_flight=in_flight)
        if target is None:
            return self._record_removed(outcome, now)
        if not outcome.attempt_id:
            return rejected("attempt_id is missing; make one for each call")
        if in_flight:
            self._ended(outcome.attempt_id)
        elif outcome.attempt_id in self._running:
            return rejected("this attempt is the sidecar's own and still runs")
        if not self._recorded.add(outcome.decision_id, outcome.attempt_id, now=now):
            return Recorded(result=RecordResult.DUPLICATE, reason="this attempt was reported before")
        quality = self.past.ended(outcome, now)
        if quality is not None:
            target.statistics.feedback(quality, now)
        if self._is_here(target):
            return self._take(outcome, target, call_id=call_id, now=now, in_flight=in_flight)
        # Its endpoint may be here still, and wait for the end of a trial.
        release_trial(outcome.probe_id, target)
        return Recorded(result=RecordResult.ACCEPTED, reason="the target was removed while this attempt ran")

    def _record_removed(self, outcome: Outcome, now: float) -> Recorded:
        """Takes a report about a target that is not here: whoever was told to call it before it went may say how."""
        decided = outcome.target in self._removed_at and self.history.made(outcome.decision_id, now)
        if not decided or not outcome.attempt_id:
            return rejected(f"there is no target {outcome.target} here")
        if not self._recorded.add(outcome.decision_id, outcome.attempt_id, now=now):
            return Recorded(result=RecordResult.DUPLICATE, reason="this attempt was reported before")
        self.past.ended(outcome, now)
        reason = "the target was removed since: kept with its decision, and counted for nothing else"
        return Recorded(result=RecordResult.ACCEPTED, reason=reason)

    def _take(self, outcome: Outcome, target: TargetState, *, call_id: str, now: float, in_flight: bool) -> Recorded:
        target.statistics.record(outcome, now)
        self._touch((target.index,))
        self._fading.add(target.index)
        if not (in_flight or self.history.made(outcome.decision_id, now) or target.take_unproven(now)):
            reason = "counted in statistics only: no decision known here vouches for it, nor for several before it"
            return Recorded(result=RecordResult.ACCEPTED, reason=reason)
        if outcome.reported:
            self.credentials.seen(target.spec, outcome.credential, now)
        # Judged before it is learned from: what is late is late by what was known before.
        failure = _counted_failure(outcome, target)
        begins = take_refusal(outcome, failure, target, now)
        effects = self._faults.judge(outcome, failure, target, self._group_of[target.index], call_id=call_id, now=now)
        effects.events.extend(_of_target(name, target, now) for name in begins)
        effects.events.extend(take_drift(target, outcome, failure, now))
        if outcome.ok:
            self.past.compare_estimates(outcome, target.index, target.spec, self.lengths)
            learn(target, outcome, self.lengths, self.token_ratios, now)
            self._keep_at(target, outcome, now)
        self._apply(effects)
        return Recorded(result=RecordResult.ACCEPTED, events=tuple(effects.events))

    def _keep_at(self, target: TargetState, outcome: Outcome, now: float) -> None:
        """Has the key of an answered call stay at its target; a report is of the key that its decision was for."""
        tenant, sticky_key, session_id = outcome.caller.tenant, outcome.sticky_key, outcome.session_id
        if outcome.reported:
            record = self.history.get(outcome.decision_id)
            if record is not None:
                tenant, sticky_key, session_id = record.caller.tenant, record.sticky_key, record.session_id
        key = affinity_key(tenant=tenant, sticky_key=sticky_key, session_id=session_id)
        if key is not None and self._is_here(target):
            self.affinity.answered(key, target.spec, outcome.usage, now)

    def feedback(self, judgement: Feedback, now: float) -> Recorded:
        """Takes a caller's judgement of an answer, at any time after the decision."""
        if not (isfinite(judgement.quality) and 0.0 <= judgement.quality <= 1.0):
            return rejected("quality must be from 0 to 1")
        is_first = self.history.judged(judgement)
        if is_first is None:
            reason = f"there is no decision {judgement.decision_id!r} in the history; it may have been pushed out"
            return rejected(reason)
        if not is_first:
            return Recorded(result=RecordResult.DUPLICATE, reason="this attempt was judged before")
        record = self.history.get(judgement.decision_id)
        for attempt in () if record is None else record.attempts:
            index = self.fleet.index(attempt.outcome.target)
            if index is not None and attempt.outcome.attempt_id == judgement.attempt_id:
                self.targets[index].statistics.feedback(judgement.quality, now)
                self.past.judged(attempt.outcome, judgement.quality, now)
        return Recorded(result=RecordResult.ACCEPTED)

    def credential_changed(self, provider: str, label: str, now: float) -> list[Event]:
        """Takes note that there is another secret behind a label of ours: it is tried at once."""
        if not self.credentials.changed(provider, label, now):
            return []
        self._touch(index for index, target in enumerate(self.targets) if target.spec.target.provider == provider)
        fields = {"credential": label}
        return [Event(name=EventName.CREDENTIAL_BACK, at=now, provider=provider, fields=fields)]

    def looked_at_endpoint(self, provider: str, endpoint: str, unreachable: str) -> None:
        """Takes note of a look whether an endpoint can be connected to: why it cannot, "" where it can."""
        for group in self.groups:
            if (group.provider, group.endpoint) == (provider, endpoint):
                group.breaker.unreachable = unreachable
                self._touch(group.indexes)

    def questions(self, now: float) -> list[Question]:
        """Returns the checks that are worth making, one for an endpoint at most; costs nothing where all is well."""
        if not self._restless:
            return []
        groups = {id(group): group for group in map(self._group_of.__getitem__, sorted(self._restless))}
        found = (question(group, self.targets, now) for group in groups.values())
        return [each for each in found if each is not None]

    def listed(self, provider: str, endpoint: str, now: float, *, ok: bool) -> None:
        """Takes note that an endpoint was asked for its models, and whether it answered: see `checks.reached`."""
        for group in self.groups:
            if (group.provider, group.endpoint) == (provider, endpoint):
                if ok:
                    group.breaker.unreachable = ""
                    reached(group, self.targets, now)
                self.check_ended(group.indexes, now)

    def check_ended(self, indexes: Sequence[int], now: float) -> None:
        """Takes note that a check has asked for these targets, whatever came of it."""
        for index in indexes:
            self.targets[index].statistics.last_check_at = now
        self._touch(indexes)

    def drift_over(self, target: TargetState, now: float) -> list[Event]:
        """Ends drifts that nobody's call has confirmed for long; returns what there is to tell."""
        events = drift_over(target, now)
        if events and self._is_here(target):
            self._touch((target.index,))
        return events

    # Trials of half-open targets.

    def lease_probe(
        self,
        target: TargetState,
        *,
        now: float,
        lease_seconds: float,
        probe_id: str,
        expected_seconds: float | None = None,
    ) -> Probe | None:
        """Takes the one trial of a half-open target, and of its half-open endpoint; None where either is not free.

        `expected_seconds` is how long the trial should take, None for as long as its lease.
        """
        gates = [gate for gate in (target.breaker, target.endpoint) if not gate.closed]
        if not gates or not all(gate.admits(now) for gate in gates):
            return None
        probe = None
        for gate in gates:
            probe = gate.lease(
                now=now, lease_seconds=lease_seconds, probe_id=probe_id, expected_seconds=expected_seconds
            )
        if target.index != GONE:
            self._touch((target.index,))
        return probe

    def spared(self, targets: Iterable[Target], now: float) -> None:
        """Takes note of targets that a call would have gone to, and that were spared it."""
        for target in targets:
            index = self.fleet.index(target)
            if index is not None:
                self.targets[index].throttle.spare(now)

    def release_probe(self, index: int, probe_id: str, now: float) -> None:  # noqa: ARG002  # nothing to remember it by
        """Ends a trial that tells nothing: the caller went away, or the attempt was never made."""
        release_trial(probe_id, self.targets[index])
        self._touch((index,))

    def expire(self, now: float) -> list[Event]:
        """Lets time take effect: open times and leases that ended, targets that have become suspect. Cheap."""
        if not self._restless:
            return []
        events: list[Event] = []
        lapsed: dict[str, Event] = {}
        for group in self.groups:
            due = group.breaker.due(now)
            if due.half_open:
                events.append(_of_endpoint(EventName.ENDPOINT_HALF_OPEN, group, now))
                self._touch(group.indexes)
            if due.lapsed:
                lapsed[due.lapsed] = _of_endpoint(EventName.PROBE_EXPIRED, group, now)
                self._touch(group.indexes)
        for index in sorted(self._restless):
            target = self.targets[index]
            due = target.breaker.due(now)
            if due.half_open:
                events.append(_of_target(EventName.BREAKER_HALF_OPEN, target, now))
                self._touch((index,))
            if due.lapsed:
                # The same trial may have held the endpoint's slot too: it is one, and told with its target.
                lapsed[due.lapsed] = _of_target(EventName.PROBE_EXPIRED, target, now)
                self._touch((index,))
            if target.suspects.flag(target.latency.p95_time_to_first_token, now):
                events.append(_of_target(EventName.SUSPECT, target, now, waiting=target.suspects.waiting_count))
                self._touch((index,))
            if not target.restless:
                self._restless.discard(index)
        self.missing_outcomes += len(lapsed)
        return [*events, *lapsed.values()]

    # Reading.

    def vitals(self, now: float) -> Vitals:
        """Returns all targets' numbers for decisions: of this moment where something happened to a target since the
        last time, else at most a quarter of a second old.
        """
        known = self._vitals
        if known is None:
            known = take_vitals(self.targets, self.credentials, self.token_ratios, now)
            self._vitals_at = now
        else:
            stale = self._stale
            if not 0.0 <= now - self._vitals_at < FADING_SECONDS:
                self._vitals_at = now
                stale |= self._fading | known.special
            if not stale:
                return known
            known = known.renewed(
                {index: take_vital(self.targets[index], self.credentials, self.token_ratios, now) for index in stale}
            )
        self._stale = set()
        self._vitals = known
        return known

    def changed_since(self, revision: int) -> list[int]:
        """Returns the places of the targets whose state changed after that revision."""
        return [index for index, changed_at in enumerate(self._changed_at) if changed_at > revision]

    def removed_since(self, revision: int) -> list[Target]:
        """Returns the targets that were removed after that revision, and are not back."""
        return [target for target, removed_at in self._removed_at.items() if removed_at > revision]

    def status(self, *, providers: Sequence[str], window_seconds: float, now: float, now_wall: float) -> StatusReport:
        """Returns how the providers named are doing, all of them without names."""
        return finished(
            self.status_steps(providers=providers, window_seconds=window_seconds, now=now, now_wall=now_wall)
        )

    def status_steps(
        self, *, providers: Sequence[str], window_seconds: float, now: float, now_wall: float
    ) -> Steps[StatusReport]:
        """Makes the same piece by piece."""
        reader = StatusReader(
            self.targets,
            self.groups,
            self.credentials,
            self.past.accuracies,
            started_at=self._started_at,
            window_seconds=window_seconds,
            now=now,
        )
        return reader.steps(providers or self.fleet.providers, now_wall)

    def gauges(self, now: float) -> Iterator[TargetGauges]:
        """Yields what is measured of all targets there are now, one by one: hundreds take some milliseconds."""
        for target in tuple(self.targets):
            yield TargetGauges(
                target.spec.target,
                target.score(now),
                target.breaker.state(now),
                target.in_flight,
                target.throttle.pressure(now),
                target.concurrency_limit(now),
            )

    def trend(self, indexes: Iterable[int], wanted: TrendQuery, *, now: float, now_wall: float) -> Trend:
        """Returns one measure of some targets together over time."""
        targets = [self.targets[index] for index in indexes]
        return trend(
            wanted,
            targets={target.spec.target: target.statistics for target in targets},
            chronicle=self.past.chronicle,
            started_at=self._started_at,
            now=now,
            now_wall=now_wall,
        )

    def set_drained(self, index: int, *, drained: bool) -> None:
        """Takes a target out for an operator, or back in."""
        self.drains.set_target(self.targets[index].spec.target, drained=drained)
        self._touch(self._follow_drains())

    def change_drains(self, provider: str, drained: Drained) -> None:
        """Says anew what of a provider takes no new calls; calls that run go on."""
        self.drains.change(provider, drained)
        self._touch(self._follow_drains())

    def reset_health(self, indexes: Iterable[int], now: float) -> list[Event]:
        """Forgets what was held against the targets at these places, and what kept them from being called.

        What is learned of latency, lengths and spending stays. Returns the events of what closed by it.
        """
        effects = self._faults.reset(indexes, now)
        self._apply(effects)
        return effects.events

    def _follow_drains(self) -> list[int]:
        """Has each target know whether it is drained; returns the places of those for which that is new."""
        changed = []
        for index, target in enumerate(self.targets):
            drained = self.drains.hold(target.spec.target)
            if target.drained is not drained:
                target.drained = drained
                changed.append(index)
        return changed

    def _remember_removed(self, removed: tuple[Target, ...]) -> None:
        self._removed_at |= dict.fromkeys(removed, self.revision)
        self._removed_at = {t: at for t, at in self._removed_at.items() if self.fleet.index(t) is None}
        while len(self._removed_at) > REMOVED_MAXIMUM:
            del self._removed_at[next(iter(self._removed_at))]

    def _target_of(self, outcome: Outcome, *, in_flight: bool) -> TargetState | None:
        called = self._running.get(outcome.attempt_id) if in_flight else None
        if called is not None:
            return called
        index = self.fleet.index(outcome.target)
        return None if index is None else self.targets[index]

    @staticmethod
    def _is_here(target: TargetState) -> bool:
        return target.index != GONE

    def _ended(self, attempt_id: str) -> None:
        target = self._running.pop(attempt_id, None)
        if target is not None:
            target.in_flight -= 1
            target.suspects.ended(attempt_id)
            if self._is_here(target):
                self._stale.add(target.index)

    def _apply(self, effects: Effects) -> None:
        self._touch(effects.touched)
        self._restless.update(index for index in effects.touched if self.targets[index].restless)

    def _of_provider(self, target: TargetState) -> list[int]:
        """Returns the places of the provider's targets: what its keys are refused may hold at all of them."""
        provider = target.spec.target.provider
        return [index for index, spec in enumerate(self.fleet.specs) if spec.target.provider == provider]

    def _touch(self, indexes: Iterable[int]) -> None:
        self.revision += 1
        for index in indexes:
            self._changed_at[index] = self.revision
            self._stale.update(self._alike[index])


def _counted_failure(outcome: Outcome, target: TargetState) -> FailureKind | None:
    """Returns the kind that an outcome counts as: a cancelled call may have been one that timed out."""
    if outcome.failure is not FailureKind.CANCELLED or not outcome.before_first_byte:
        return outcome.failure
    waited = outcome.latency_seconds
    usual = target.latency.p95_time_to_first_token if outcome.streamed else target.latency.p95_latency
    late = waited is not None and waited > LATE_CANCEL_FACTOR * usual
    return FailureKind.TIMEOUT if late else FailureKind.CANCELLED


def _of_target(name: EventName, target: TargetState, now: float, **fields: int) -> Event:
    where = target.spec.target
    return Event(name=name, at=now, target=where, provider=where.provider, endpoint=where.endpoint, fields=fields)


def _of_endpoint(name: EventName, group: EndpointGroup, now: float) -> Event:
    return Event(name=name, at=now, provider=group.provider, endpoint=group.endpoint)
