"""Credentials in any order of refusals, answers, headers and pauses: who may be used, by whom, and from when again.

The model knows nothing but deadlines: for each key, and each key at a model, until when it was said to be out.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from math import inf

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.unit.core.fleets import spec
from turnout_server.core.credentials import Credentials
from turnout_server.core.fleet import CredentialSpec, Fleet, TargetSpec
from turnout_server.core.model import (
    CREDENTIAL_FAILURES,
    FailureKind,
    RateLimitBucket,
    RateLimitReading,
    RejectionReason,
)
from turnout_server.core.outage import Key
from turnout_server.core.settings import HealthSettings

HEALTH = HealthSettings(cooldown_jitter=0.0)
START = 1000.0
ANYBODY = CredentialSpec(label="k1")
SPARE = CredentialSpec(label="k2", weight=0.0)
ACMES = CredentialSpec(label="k3", tenants=frozenset({"acme"}), models=frozenset({"m1"}))
KEYS = (ANYBODY, SPARE, ACMES)
M1 = spec("p/m1", credentials=KEYS, needs_credential=True)
M2 = spec("p/m2", credentials=KEYS, needs_credential=True)
SPECS = (M1, M2)
ALONE = {
    (key.label, each.target.model): spec(each.name, credentials=(key,), needs_credential=True)
    for key in (ANYBODY, SPARE)
    for each in SPECS
}
"""The same targets with one key each, which tell until when exactly."""
SPEC = st.sampled_from(SPECS)
LABEL = st.sampled_from(["k1", "k1", "k2", "k3"])
TENANTS = ("", "acme", "zeta")
ASKED = st.sampled_from([None, 0.0, 0.5, 7.0, 90.0, 10_000.0])
NEEDED = (0, 60, 5000)
REASONS = {RejectionReason.COOLING_DOWN, RejectionReason.CREDENTIALS, RejectionReason.RATE_LIMIT}


@dataclass
class Pause:
    """A cool-down: what is asked for, else 5 s doubling to 60 s until a success; a longer one stays.

    After it each attempt holds back the next for 0.75 s, until one of them is answered.
    """

    until: float = 0.0
    next_seconds: float = 5.0
    on_trial: bool = False
    trial_until: float = 0.0

    def started(self, now: float) -> bool:
        holds_back = self.on_trial and now >= self.until
        if holds_back:
            self.trial_until = max(self.trial_until, now + 0.75)
        return holds_back

    def answered(self, began_at: float) -> bool:
        ends = self.on_trial and began_at >= self.until
        if ends:
            self.on_trial, self.trial_until = False, 0.0
        return ends

    def refused(self, asked: float | None, now: float) -> None:
        self.on_trial = True
        if asked:
            self.until = max(self.until, now + min(asked, 3600.0))
        elif now >= self.until:
            self.until = now + self.next_seconds
            self.next_seconds = min(2 * self.next_seconds, 60.0)


@dataclass
class Known:
    """What stands against one secret."""

    quota: Pause = field(default_factory=Pause)
    limits: dict[str, Pause] = field(default_factory=dict)
    denied_until: dict[str, float] = field(default_factory=dict)
    wrong_at: list[float] = field(default_factory=list)
    wrong_until: float = 0.0
    outs: int = 0

    def wrong(self, now: float) -> None:
        if now < self.wrong_until or (self.wrong_at and now - self.wrong_at[-1] < 5.0):
            return
        self.wrong_at.append(now)
        if len(self.wrong_at) >= 2:
            self.wrong_until = now + min(60.0 * 2**self.outs, 600.0)
            self.outs += 1

    def works(self, model: str) -> None:
        self.quota.next_seconds = 5.0
        if model in self.limits:
            self.limits[model].next_seconds = 5.0
        self.wrong_at.clear()
        self.wrong_until, self.outs = 0.0, 0

    def until(self, model: str) -> float:
        until = max(max(pause.until, pause.trial_until) for pause in self.pauses(model))
        return max(until, self.denied_until.get(model, 0.0), self.wrong_until)

    def pauses(self, model: str) -> list[Pause]:
        return [self.quota, self.limits.get(model, Pause())]


@dataclass
class Buckets:
    """What the headers of a key and model said last: requests and tokens, each with the time that it fills again."""

    requests: tuple[int, float] | None = None
    tokens: tuple[int, float] | None = None

    def until(self, needed: int, now: float) -> float:
        asked = ((self.requests, 1), (self.tokens, max(1, needed)))
        return max((b[1] for b, least in asked if b is not None and now < b[1] and b[0] < least), default=0.0)


class CredentialsMachine(RuleBasedStateMachine):
    """Two models of one provider and three keys of ours: one for all, a spare, and one of a tenant for one model."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.keys = Credentials(HEALTH, random.Random(1))
        self.known: dict[str, Known] = {}
        self.buckets: dict[tuple[str, str], Buckets] = {}

    @rule(seconds=st.sampled_from([0.0, 0.5, 2.0, 5.0, 10.0, 60.0, 600.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(where=SPEC, label=LABEL, kind=st.sampled_from(sorted(CREDENTIAL_FAILURES)), asked=ASKED)
    def refuse(self, where: TargetSpec, label: str, kind: FailureKind, asked: float | None) -> None:
        model, known = where.target.model, self.known.setdefault(label, Known())
        before = self.blocked_until(label, model)
        refused = self.keys.failure(Key("p", label), model, kind, retry_after_seconds=asked, reading=None, now=self.now)
        match kind:
            case FailureKind.AUTHENTICATION:
                known.wrong(self.now)
            case FailureKind.QUOTA_EXHAUSTED:
                known.quota.refused(asked, self.now)
            case FailureKind.RATE_LIMITED:
                known.limits.setdefault(model, Pause()).refused(asked, self.now)
            case _:
                known.denied_until[model] = self.now + 600.0

        # A later deadline never shortens an earlier one.
        assert self.blocked_until(label, model) >= before
        assert refused is None or (refused.failure, refused.out) == (
            kind,
            kind not in (FailureKind.QUOTA_EXHAUSTED, FailureKind.RATE_LIMITED),
        )
        assert refused is None or 0.0 < refused.seconds <= 3600.0

    @rule(where=SPEC, kind=st.sampled_from(sorted(CREDENTIAL_FAILURES)), count=st.integers(2, 6), ok=st.booleans())
    def refuse_again_and_again(self, where: TargetSpec, kind: FailureKind, count: int, ok: bool) -> None:  # noqa: FBT001  # drawn
        """Each time it is tried again, it is refused, twice at a time; then the answer of another call ends well."""
        for _ in range(count):
            self.now = max(self.now + 5.0, self.blocked_until("k1", where.target.model))
            self.refuse(where, "k1", kind, None)
            self.refuse(where, "k1", kind, None)
        if ok:
            self.succeed(where, "k1")

    @rule(where=SPEC, label=LABEL, kind=st.sampled_from(sorted(CREDENTIAL_FAILURES)))
    def refuse_a_callers(self, where: TargetSpec, label: str, kind: FailureKind) -> None:
        """A caller's key of the same name: never ours."""
        key = Key("p", label, reported=True)
        self.keys.failure(key, where.target.model, kind, retry_after_seconds=None, reading=None, now=self.now)

    @rule(where=SPEC, label=LABEL)
    def succeed(self, where: TargetSpec, label: str) -> None:
        known = self.known.setdefault(label, Known())
        was_out = known.outs > 0

        assert self.keys.success(Key("p", label), where.target.model) is was_out

        known.works(where.target.model)

    @rule(
        where=SPEC,
        label=LABEL,
        requests=st.none() | st.integers(-1, 2),
        tokens=st.none() | st.sampled_from([0, 60, 9000]),
        seconds=st.tuples(*[st.sampled_from([0.0, 3.0, 7200.0])] * 2),
    )
    def read(
        self, where: TargetSpec, label: str, requests: int | None, tokens: int | None, seconds: tuple[float, float]
    ) -> None:
        reading = RateLimitReading(
            requests=RateLimitBucket(remaining=requests, reset_seconds=seconds[0]),
            tokens=RateLimitBucket(remaining=tokens, reset_seconds=seconds[1]),
        )
        self.keys.read(Key("p", label), where.target.model, reading, self.now)
        known = self.buckets.setdefault((label, where.target.model), Buckets())
        if requests is not None:
            known.requests = (max(0, requests), self.now + min(seconds[0], 3600.0))
        if tokens is not None:
            known.tokens = (tokens, self.now + min(seconds[1], 3600.0))

    @rule(where=SPEC, left=st.integers(1, 2))
    def use_up(self, where: TargetSpec, left: int) -> None:
        """The last requests that the headers allow."""
        self.read(where, "k1", left, None, (3.0, 3.0))
        for _ in range(left):
            self.start(where, "k1")

    @rule(where=SPEC, label=LABEL)
    def start(self, where: TargetSpec, label: str) -> None:
        """A request of ours is not for the headers to tell."""
        held = [pause.started(self.now) for pause in self.known.get(label, Known()).pauses(where.target.model)]

        assert self.keys.started(where, label, self.now) is any(held)

        known = self.buckets.get((label, where.target.model))
        if known is not None and known.requests is not None:
            left, full_at = known.requests
            known.requests = (max(0, left - 1), full_at)

    @rule(where=SPEC, label=LABEL, ago=st.sampled_from([0.0, 0.5, 5.0, 60.0]), whole=st.booleans())
    def answer(self, where: TargetSpec, label: str, ago: float, whole: bool) -> None:  # noqa: FBT001  # drawn
        """The beginning of an answer, or a whole one of which the beginning was not told."""
        began_at, known = self.now - ago, self.known.setdefault(label, Known())
        ended = [pause.answered(began_at) for pause in known.pauses(where.target.model)]
        if whole:
            self.keys.success(Key("p", label), where.target.model, began_at)
            known.works(where.target.model)
        else:
            assert self.keys.answering(where, label, began_at) is any(ended)

    @rule(label=LABEL)
    def change(self, label: str) -> None:
        """Another secret behind a label starts with nothing against it."""
        self.keys.changed("p", label, self.now)
        self.known.pop(label, None)
        self.buckets = {key: known for key, known in self.buckets.items() if key[0] != label}

    @rule()
    def adopt(self) -> None:
        """The same fleet again: everything known stays."""
        self.keys.adopt(Fleet(SPECS), HEALTH)

    @invariant()
    def verdicts_follow_from_the_deadlines(self) -> None:
        for target in SPECS:
            for tenant in TENANTS:
                for needed in NEEDED:
                    self.judge(target, tenant, needed)

    @invariant()
    def each_key_is_told_until_its_own_deadline(self) -> None:
        for (label, model), target in ALONE.items():
            until = self.blocked_until(label, model)
            verdict = self.keys.verdict(target, tenant="", executing=True, now=self.now)

            assert verdict.retry_at == (until if until > self.now else None)

    def judge(self, target: TargetSpec, tenant: str, needed: int) -> None:
        labels, now = self.labels(target, tenant), self.now
        ends = {label: self.blocked_until(label, target.target.model, needed) for label in labels}
        free = {label for label, until in ends.items() if until <= now}
        verdict = self.keys.verdict(target, tenant=tenant, executing=True, now=now, needed_tokens=needed)

        assert (verdict.reason is None) is bool(free)

        if verdict.reason is None:
            assert verdict.label in free
            assert verdict.retry_at is None
        else:
            assert verdict.reason in REASONS
            assert verdict.retry_at == min(ends.values())
            # Time alone leads out, and what is said of when is true.
            later = self.keys.verdict(target, tenant=tenant, executing=True, now=verdict.retry_at, needed_tokens=needed)
            assert later.reason is None

    @invariant()
    def a_call_gets_a_key_that_it_may_use(self) -> None:
        now = self.now
        for target in SPECS:
            for tenant in TENANTS:
                labels, tried = self.labels(target, tenant), frozenset[str]()
                free = {each for each in labels if self.blocked_until(each, target.target.model) <= now}
                # Every usable one can be had, each once; a tenant's own before those for all, spares last.
                had: list[str] = []
                while (label := self.keys.next_credential(target, tried, tenant=tenant, now=now)) is not None:
                    had.append(label)
                    tried |= {label}

                assert had == [each for each in ("k3", "k1", "k2") if each in free]

    @invariant()
    def what_is_not_special_is_free(self) -> None:
        """Decisions ask only about targets in trouble, or with too little room: whoever is neither must be free."""
        for target in SPECS:
            if self.keys.troubled(target, self.now):
                continue
            room = self.keys.room_tokens(target, self.now)
            for tenant in TENANTS:
                for needed in NEEDED:
                    verdict = self.keys.verdict(
                        target, tenant=tenant, executing=True, now=self.now, needed_tokens=needed
                    )

                    assert verdict.reason is None or room < max(1, needed)

    @invariant()
    def nothing_lasts_for_ever(self) -> None:
        for target in SPECS:
            assert not self.keys.troubled(target, self.now + 3601.0)
            assert self.keys.room_tokens(target, self.now + 3601.0) == inf

    def labels(self, target: TargetSpec, tenant: str) -> list[str]:
        model = target.target.model
        fit = [each for each in KEYS if not each.models or model in each.models]
        return [each.label for each in fit if not each.tenants or tenant in each.tenants]

    def blocked_until(self, label: str, model: str, needed: int = 0) -> float:
        known, buckets = self.known.get(label, Known()), self.buckets.get((label, model), Buckets())
        return max(known.until(model), buckets.until(needed, self.now))


TestCredentialsMachine = CredentialsMachine.TestCase
TestCredentialsMachine.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
