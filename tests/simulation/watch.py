"""Watches one sidecar from outside: what it decided, sent and said, and every rule that it broke on the way, in words.

What it holds against the sidecar it knows from providers and from the sidecar's own events, never from the breakers and
cool-downs themselves: one that forgets to keep its word is found out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from tests.virtual_time import virtual_loop
from turnout_server.core.call import AttemptRecord
from turnout_server.core.comparison import Comparison
from turnout_server.core.decision import Decision
from turnout_server.core.events import Event, EventName
from turnout_server.core.fleet import Fleet
from turnout_server.core.hedging import HedgeResult
from turnout_server.core.model import FailureKind, Outcome, Target
from turnout_server.core.state import FleetState

EXACT = 1e-6
ROUNDED = 0.001
"""Events tell times in whole milliseconds."""
COOLS_WITHOUT_WORD_SECONDS = 5.0
"""The least time that a limiting target is left alone when it did not say for how long."""

LABELS_SEEN_SECONDS = 600.0
"""So long a caller's label speaks for the calls of callers."""

OPENED = frozenset({EventName.BREAKER_OPENED, EventName.ENDPOINT_OPENED})
CLOSED = frozenset({EventName.BREAKER_CLOSED, EventName.ENDPOINT_CLOSED})

Door = tuple[str, str, str]
"""A breaker: provider, endpoint, and the model ("" for the endpoint's own)."""
KeyUse = tuple[str, str, bool, str]
"""A credential by provider, label and whether it is a caller's own, for a model ("" for all of them)."""


class Begun(NamedTuple):
    """One attempt as it began. `closed`: both breakers were. `after`: how this call's last at the same target ended."""

    at: float
    attempt_id: str
    call_id: str
    target: str
    credential: str
    closed: bool
    after: FailureKind | None
    same_key: bool
    """The call had used this key at this target before."""


class Trial(NamedTuple):
    """A half-open target's attempt that is out: until when nobody else may have one, by which of its breakers."""

    doors: frozenset[Door]
    until: float


@dataclass(slots=True)
class Watch:
    """Of one sidecar. `deep` writes every decision out into the digest, which takes its time."""

    name: str
    deep: bool = False
    broken: list[str] = field(default_factory=list)
    begun: list[Begun] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    attempts: list[AttemptRecord] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    hedges: Counter[HedgeResult] = field(default_factory=Counter)
    comparisons: list[Comparison] = field(default_factory=list)
    open_until: dict[Door, float] = field(default_factory=dict)
    _told: dict[KeyUse, float] = field(default_factory=dict)
    _out: dict[str, str] = field(default_factory=dict)
    """Call by attempt id, while it runs."""
    _trials: dict[str, Trial] = field(default_factory=dict)
    _last: dict[tuple[str, str], FailureKind] = field(default_factory=dict)
    _keys: set[tuple[str, str, str]] = field(default_factory=set)
    _seen: dict[tuple[Target, str], float] = field(default_factory=dict)
    _digest: blake2b = field(default_factory=lambda: blake2b(digest_size=16))

    def breaks(self, rule: str, *facts: object) -> None:
        """Takes note of a broken rule."""
        self.broken.append(f"{self.name} at {virtual_loop().time():.3f} s: {rule}: {' '.join(map(str, facts))}")

    @property
    def digest(self) -> str:
        """A short word for everything that was decided, sent and told, in order."""
        return self._digest.hexdigest()

    @property
    def unfinished(self) -> int:
        """Attempts that began and did not end."""
        return len(self._out)

    def times(self, name: EventName, target: str) -> list[float]:
        """Returns when an event happened to a target."""
        return [event.at for event in self.events if event.name is name and str(event.target) == target]

    # The instruments of the router.

    def decision(self, decision: Decision) -> None:
        if not self.deep:
            return
        candidates = [(str(c.target), c.score, c.half_open, c.share) for c in decision.candidates]
        self._note(decision.decided_at, decision.decision_id, decision.reason, candidates, list(decision.rejections))

    def attempt(self, record: AttemptRecord) -> None:
        self.attempts.append(record)
        self._note(record.started_at_wall, str(record.target), record.failure, record.latency_seconds, record.usage)

    def failover(self, from_target: Target, to_target: Target, failure: FailureKind) -> None:
        self._note(virtual_loop().time(), str(from_target), failure, str(to_target))

    def hedge(self, target: Target, result: HedgeResult) -> None:
        self.hedges[result] += 1
        self._note(virtual_loop().time(), str(target), result)

    def shadow(self, comparison: Comparison) -> None:
        self.comparisons.append(comparison)

    def outcome(self, result: str) -> None:
        self.outcomes[result] += 1

    def event(self, event: Event, state: FleetState) -> None:
        """Takes what the sidecar says of itself."""
        self.events.append(event)
        self._note(event.at, event.name, str(event.target), event.provider, sorted(event.fields.items()))
        if event.name is EventName.LOCAL_NETWORK:
            # What was opened is taken back: from here on the breakers are believed once.
            self._believe(state)
        elif event.name in OPENED or event.name in CLOSED:
            model = event.target.model if event.target is not None else ""
            door = (event.provider, event.endpoint, model)
            self.open_until.pop(door, None)
            if event.name in CLOSED:
                self._trials = {key: trial for key, trial in self._trials.items() if door not in trial.doors}
            if event.name in OPENED:
                self.open_until[door] = event.at + float(event.fields["open_seconds"]) - ROUNDED
        elif event.name is EventName.CREDENTIAL_OUT and event.fields["failure"] == FailureKind.AUTHENTICATION:
            reported = event.fields["credential"] == "a caller's"
            if not reported:
                until = event.at + float(event.fields["seconds"]) - ROUNDED
                self._told[event.provider, str(event.fields["credential"]), False, ""] = until
        elif event.name is EventName.CREDENTIAL_BACK:
            self._told.pop((event.provider, str(event.fields["credential"]), False, ""), None)

    # What is sent, and what comes back.

    def begins(self, target: Target, *, attempt_id: str, call_id: str, credential: str, lease_seconds: float) -> None:
        """Takes an attempt of the sidecar's own."""
        now = virtual_loop().time()
        closed = self.checks(target, credential, reported=False)
        if not closed:
            self._trials[attempt_id] = Trial(self._doors(target), now + lease_seconds)
        self._out[attempt_id] = call_id
        name = str(target)
        use = (call_id, name, credential)
        begun = Begun(
            now, attempt_id, call_id, name, credential, closed, self._last.get(use[:2]), same_key=use in self._keys
        )
        self._keys.add(use)
        self.begun.append(begun)

    def leases(self, target: Target, probe_id: str, until: float) -> None:
        """Takes a trial that a plan came with, after `checks`."""
        self._trials[probe_id] = Trial(self._doors(target), until)

    def checks(self, target: Target, credential: str, *, reported: bool) -> bool:
        """Checks that a target may be used now with that key; tells whether its breakers are closed."""
        now = virtual_loop().time()
        doors = self._doors(target)
        if any(now < self.open_until[door] - EXACT for door in doors):
            self.breaks("nothing is sent to an open target", target)
        if doors and any(
            not doors.isdisjoint(trial.doors) and now < trial.until - EXACT for trial in self._trials.values()
        ):
            self.breaks("a half-open target gets one trial at a time", target)
        # Which of the callers' keys is used for a model is known from reports about it alone.
        known = not reported or now - self._seen.get((target, credential), -LABELS_SEEN_SECONDS) < LABELS_SEEN_SECONDS
        for model in (target.model, "") if known else ():
            until = self._told.get((target.provider, credential, reported, model), 0.0)
            if now < until - EXACT:
                self.breaks("a cooling target is left alone", target, f"until {until:.3f}")
        return not doors

    def ends(self, attempt_id: str, outcome: Outcome) -> None:
        """Takes how an attempt of the sidecar's own ended."""
        call_id = self._out.pop(attempt_id, None)
        if call_id is None:
            self.breaks("an attempt ends once", attempt_id)
            return
        if outcome.failure is not None:
            self._last[call_id, str(outcome.target)] = outcome.failure
        self.hears(outcome, reported=False)

    def hears(self, outcome: Outcome, *, reported: bool) -> None:
        """Takes what an outcome says of a key: how long it is to be left alone."""
        if reported:
            self._seen[outcome.target, outcome.credential] = virtual_loop().time()
        self._trials.pop(outcome.attempt_id, None)
        self._trials.pop(outcome.probe_id, None)
        if outcome.failure not in {FailureKind.RATE_LIMITED, FailureKind.QUOTA_EXHAUSTED}:
            return
        model = "" if outcome.failure is FailureKind.QUOTA_EXHAUSTED else outcome.target.model
        buckets = () if outcome.rate_limit is None else (outcome.rate_limit.requests, outcome.rate_limit.tokens)
        waits = [b.reset_seconds for b in buckets if b is not None and b.remaining == 0 and b.reset_seconds is not None]
        waits += [outcome.retry_after_seconds] if outcome.retry_after_seconds is not None else []
        key = (outcome.target.provider, outcome.credential, reported, model)
        now, until = virtual_loop().time(), self._told.get(key, 0.0)
        if waits:
            self._told[key] = max(until, now + max(waits))
        elif until <= now:
            # Refusals of calls that ran side by side are one.
            self._told[key] = now + COOLS_WITHOUT_WORD_SECONDS

    def lapse(self) -> None:
        """Forgets the trials whose time is over."""
        now = virtual_loop().time()
        self._trials = {key: trial for key, trial in self._trials.items() if now < trial.until}

    def _doors(self, target: Target) -> frozenset[Door]:
        """Returns the breakers of a target and its endpoint that are not closed."""
        where = (target.provider, target.endpoint)
        return frozenset(door for door in ((*where, target.model), (*where, "")) if door in self.open_until)

    def _believe(self, state: FleetState) -> None:
        self.open_until.clear()
        fleet: Fleet = state.fleet
        for spec, target in zip(fleet.specs, state.targets, strict=True):
            where = (spec.target.provider, spec.target.endpoint)
            for gate, model in ((target.breaker, spec.target.model), (target.endpoint, "")):
                if not gate.closed:
                    self.open_until[*where, model] = gate.reopen_at

    def _note(self, *facts: object) -> None:
        self._digest.update(repr(facts).encode())
