"""Whose fault an outcome is, and what follows: the target's, its endpoint's, the credential's, our network's, nobody's.

Every kind of failure belongs to exactly one of these; that is the whole of its effect on health.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from turnout_server.core.credentials import Credentials
from turnout_server.core.endpoint import EndpointBreaker
from turnout_server.core.events import Event, EventName
from turnout_server.core.gate import Change, Gate
from turnout_server.core.local_network import Blame, LocalNetwork
from turnout_server.core.model import CREDENTIAL_FAILURES, HEALTH_FAILURES, FailureKind, Outcome
from turnout_server.core.outage import Key
from turnout_server.core.resetting import reset_targets
from turnout_server.core.settings import HealthSettings
from turnout_server.core.target_state import TargetState

Fields = Mapping[str, str | int | float]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointGroup:
    """The targets that share an endpoint, by their places in the fleet, and its breaker."""

    provider: str
    endpoint: str
    breaker: EndpointBreaker
    indexes: tuple[int, ...]


@dataclass(slots=True)
class Effects:
    """What an outcome did: events to be told, and the targets whose state changed, by their places in the fleet."""

    events: list[Event] = field(default_factory=list)
    touched: set[int] = field(default_factory=set)


class Faults:
    """Judges outcomes that count for health."""

    __slots__ = ("_credentials", "_groups", "_local", "_targets")

    def __init__(
        self,
        targets: Sequence[TargetState],
        groups: Sequence[EndpointGroup],
        credentials: Credentials,
        settings: HealthSettings,
    ) -> None:
        self._targets = targets
        self._groups = groups
        self._credentials = credentials
        self._local: LocalNetwork[TargetState] = LocalNetwork(settings)

    def adopt(self, targets: Sequence[TargetState], groups: Sequence[EndpointGroup], settings: HealthSettings) -> None:
        """Judges the targets of another fleet from now on."""
        self._targets = targets
        self._groups = groups
        self._local.follow(settings)

    def judge(
        self,
        outcome: Outcome,
        failure: FailureKind | None,
        target: TargetState,
        group: EndpointGroup,
        *,
        call_id: str,
        now: float,
    ) -> Effects:
        """Lets an outcome take effect; `failure` is its kind as it counts, None for success."""
        effects = Effects()
        effects.touched.add(target.index)
        if failure is None:
            self._success(outcome, target, group, effects, now)
        elif failure in HEALTH_FAILURES:
            self._health_failure(outcome, failure, target, group, effects, call_id=call_id, now=now)
        else:
            # Nothing of this is the target's fault, nor its merit: a trial that ends so has told nothing.
            release_trial(outcome.probe_id, target)
            if failure in CREDENTIAL_FAILURES:
                self._credential_failure(outcome, failure, effects, now)
            elif failure is FailureKind.UNKNOWN:
                target.availability.record(now, ok=False)
        if outcome.rate_limit is not None:
            self._credentials.read(_key(outcome), outcome.target.model, outcome.rate_limit, now)
        return effects

    def reset(self, indexes: Iterable[int], now: float) -> Effects:
        """Forgets what was held against some targets, by their places in the fleet; see `resetting`."""
        effects = Effects()
        reset = [self._targets[index] for index in indexes]
        self._local.forget({target.spec.target.provider for target in reset}, reset)
        reset_targets(reset, self._groups, self._credentials, effects, now)
        return effects

    def _success(
        self, outcome: Outcome, target: TargetState, group: EndpointGroup, effects: Effects, now: float
    ) -> None:
        self._local.success()
        target.availability.record(now, ok=True)
        target.suspects.first_token()
        began_at = None if outcome.latency_seconds is None else now - outcome.latency_seconds
        # Callers tell of an answer when it has ended, and of no beginning: theirs has to end any streak.
        own_began_at = None if outcome.reported else began_at
        if target.breaker.record_success(now, probe_id=outcome.probe_id, began_at=own_began_at) is Change.CLOSED:
            target.begin_anew()
            effects.events.append(_of_target(EventName.BREAKER_CLOSED, target, now))
        if group.breaker.doubted:
            effects.touched.update(group.indexes)
        if group.breaker.record_success(now, probe_id=outcome.probe_id, began_at=began_at) is Change.CLOSED:
            self._endpoint_closed(group, effects, now)
        if self._credentials.success(_key(outcome), outcome.target.model, own_began_at):
            effects.touched.update(self._of_provider(outcome.target.provider))
            effects.events.append(_of_credential(EventName.CREDENTIAL_BACK, outcome, now, {}))

    def _health_failure(
        self,
        outcome: Outcome,
        failure: FailureKind,
        target: TargetState,
        group: EndpointGroup,
        effects: Effects,
        *,
        call_id: str,
        now: float,
    ) -> None:
        if failure is FailureKind.CONNECTION:
            blame = self._local.failure(outcome.target.provider, target, now)
            if blame is not Blame.PROVIDER:
                release_trial(outcome.probe_id, target)
                if blame is Blame.LOCAL_BEGINS:
                    self._forgive(effects, now)
                return
        target.availability.record(now, ok=False)
        overdue_seconds = target.suspects.overdue_seconds(target.latency.p95_time_to_first_token)
        seconds = outcome.latency_seconds or 0.0
        change = target.breaker.record_failure(
            failure,
            call_id,
            now,
            probe_id=outcome.probe_id,
            overdue_seconds=overdue_seconds,
            seconds=seconds,
        )
        if change is Change.OPENED:
            effects.events.append(
                _of_target(EventName.BREAKER_OPENED, target, now, _opening(target.breaker, failure, outcome, now))
            )
        change = group.breaker.record_failure(
            failure, outcome.target.model, now, probe_id=outcome.probe_id, seconds=seconds
        )
        if change is Change.OPENED or group.breaker.doubted:
            effects.touched.update(group.indexes)
        if change is Change.OPENED:
            fields = _opening(group.breaker, failure, outcome, now)
            effects.events.append(_of_endpoint(EventName.ENDPOINT_OPENED, group, now, fields))

    def _credential_failure(self, outcome: Outcome, failure: FailureKind, effects: Effects, now: float) -> None:
        refused = self._credentials.failure(
            _key(outcome),
            outcome.target.model,
            failure,
            retry_after_seconds=outcome.retry_after_seconds,
            reading=outcome.rate_limit,
            now=now,
        )
        if refused is None:
            return
        effects.touched.update(self._of_provider(outcome.target.provider))
        name = EventName.CREDENTIAL_OUT if refused.out else EventName.COOLING_DOWN
        fields: dict[str, str | int | float] = {"failure": failure.value, "seconds": round(refused.seconds, 3)}
        if outcome.decision_id:
            fields["decision_id"] = outcome.decision_id
        effects.events.append(_of_credential(name, outcome, now, fields))

    def _forgive(self, effects: Effects, now: float) -> None:
        """Takes back what was blamed on providers in the window before it was known to be our own network."""
        since = now - self._local.window_seconds
        effects.events.append(Event(name=EventName.LOCAL_NETWORK, at=now))
        for target in self._local.take_forgiven(now):
            target.availability.forgive_one()
            if target in self._targets:
                effects.touched.add(target.index)
        why = {"reason": EventName.LOCAL_NETWORK.value}
        for target in self._targets:
            if target.breaker.forgive_connections(since, now) is Change.CLOSED:
                effects.touched.add(target.index)
                effects.events.append(_of_target(EventName.BREAKER_CLOSED, target, now, why))
        for group in self._groups:
            if group.breaker.doubted:
                effects.touched.update(group.indexes)
            if group.breaker.forgive_connections(since) is Change.CLOSED:
                effects.touched.update(group.indexes)
                effects.events.append(_of_endpoint(EventName.ENDPOINT_CLOSED, group, now, why))

    def _endpoint_closed(self, group: EndpointGroup, effects: Effects, now: float) -> None:
        effects.touched.update(group.indexes)
        for index in group.indexes:
            # A model with an open breaker of its own is not known to be well again.
            if self._targets[index].breaker.closed:
                self._targets[index].begin_anew()
        effects.events.append(_of_endpoint(EventName.ENDPOINT_CLOSED, group, now, {}))

    def _of_provider(self, provider: str) -> list[int]:
        return [index for group in self._groups if group.provider == provider for index in group.indexes]


def release_trial(probe_id: str, target: TargetState) -> None:
    """Ends a trial that told nothing, at the target and at its endpoint."""
    if probe_id:
        target.breaker.release(probe_id)
        target.endpoint.release(probe_id)


def _key(outcome: Outcome) -> Key:
    return Key(outcome.target.provider, outcome.credential, outcome.reported)


def _opening(gate: Gate, failure: FailureKind, outcome: Outcome, now: float) -> Fields:
    fields: dict[str, str | int | float] = {
        "failure": failure.value,
        "open_seconds": round(gate.reopen_at - now, 3),
    }
    return {**fields, "decision_id": outcome.decision_id} if outcome.decision_id else fields


def _of_target(name: EventName, target: TargetState, now: float, fields: Fields | None = None) -> Event:
    where = target.spec.target
    return Event(name=name, at=now, target=where, provider=where.provider, endpoint=where.endpoint, fields=fields or {})


def _of_endpoint(name: EventName, group: EndpointGroup, now: float, fields: Fields) -> Event:
    return Event(name=name, at=now, provider=group.provider, endpoint=group.endpoint, fields=fields)


def _of_credential(name: EventName, outcome: Outcome, now: float, fields: Fields) -> Event:
    """A caller's label is a caller's word, and may by mistake be the key itself: it is not repeated."""
    label = "a caller's" if outcome.reported else outcome.credential
    where = outcome.target
    return Event(name=name, at=now, target=where, provider=where.provider, fields={"credential": label, **fields})
