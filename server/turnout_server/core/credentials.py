"""Which key to use, and whether any can be used: refusals are the credential's, not the target's health.

Our own keys and those of callers who make calls themselves are kept apart: a caller's failing key never takes out ours.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from turnout_server.core.fleet import CredentialSpec, Fleet, TargetSpec
from turnout_server.core.key_pool import Choice, Pool, Verdict, choice_of, pool_of
from turnout_server.core.model import FailureKind, RateLimitReading, RejectionReason
from turnout_server.core.outage import CALLER_KEYS_MAXIMUM, Blocked, Key, ModelKey, Outages, Refused
from turnout_server.core.ratelimit import Headroom
from turnout_server.core.settings import HealthSettings

__all__ = ["CredentialStatus", "Credentials", "Verdict"]

SEEN_SECONDS = 600.0
"""How long a caller's label speaks for the calls of callers."""
CALLER_LABELS_MAXIMUM = 32
"""Labels remembered per provider and model; they are callers' words. The one longest unused is forgotten first."""


class CredentialStatus(NamedTuple):
    """One credential for people. `failure` and `retry_at` are None while it can be used for every model."""

    label: str
    reported: bool
    usable: bool
    failure: FailureKind | None
    retry_at: float | None
    models: tuple[str, ...]
    """Models that it cannot be used for where others can."""


USABLE_WITHOUT = Verdict("")
NONE_CONFIGURED = Verdict(
    None, RejectionReason.NO_CREDENTIAL, None, "no credential is configured that this request may use"
)

if TYPE_CHECKING:
    from turnout_server.core.kept import CredentialLine, Since


class Credentials:
    """All credentials. With nothing out, judging a target costs a few look-ups."""

    __slots__ = ("_headroom", "_outages", "_pools", "_rng", "_seen")

    def __init__(self, settings: HealthSettings, rng: random.Random) -> None:
        self._outages = Outages(settings, rng)
        self._headroom: dict[ModelKey, Headroom] = {}
        self._seen: dict[tuple[str, str], dict[str, float]] = {}
        self._pools: dict[int, Pool] = {}
        self._rng = rng

    def adopt(self, fleet: Fleet, settings: HealthSettings) -> None:
        """Takes another fleet and its settings; what is known of keys that stay holds, the rest is forgotten."""
        ours = {(spec.target.provider, each.label) for spec in fleet.specs for each in spec.credentials}
        providers = frozenset(fleet.providers)

        def stays(provider: str, label: str, reported: bool) -> bool:  # noqa: FBT001  # as a key is written
            # "" is the key of providers that need none.
            return provider in providers and (reported or not label or (provider, label) in ours)

        self._outages.adopt(settings, stays)
        self._headroom = {key: room for key, room in self._headroom.items() if stays(*key[:3])}
        self._seen = {key: labels for key, labels in self._seen.items() if key[0] in providers}
        self._pools = {}

    def keep(self, provider: str, label: str, now: float) -> CredentialLine:
        """Returns what is kept of one of our keys; what callers name is theirs, and may by mistake be the key."""
        return self._outages.keep(provider, label, now)

    def troubled_keys(self) -> list[tuple[str, str]]:
        """Returns those of our keys that anything is known against, by provider and label."""
        return [(key.provider, key.label) for key in self._outages.ours()]

    def resume(self, kept: CredentialLine, since: Since) -> None:
        """Takes what was kept of a key that is one of ours."""
        self._outages.resume(kept, since)

    def verdict(self, spec: TargetSpec, *, tenant: str, executing: bool, now: float, needed_tokens: int = 0) -> Verdict:
        """Judges the credentials that a call to the target could use; of blocked ones the first to be free speaks.

        Executing, these are ours: those bound to the tenant first, then those for all. Which of the usable ones a
        call gets is drawn when it is made (`next_credential`); here the first of them is named. Otherwise those that
        callers reported for the provider and model in the last 10 minutes, ours where there is none, and never
        NO_CREDENTIAL. `needed_tokens` is what the request will take from a token bucket.
        """
        callers = () if executing or not self._seen else self._caller_labels(spec, now)
        if callers:
            return self._first_usable(
                [choice_of(spec, CredentialSpec(label=label), reported=True) for label in callers], needed_tokens, now
            )
        choices = self._ours(spec, tenant)
        if not choices:
            return NONE_CONFIGURED if executing and spec.needs_credential else USABLE_WITHOUT
        if not self._outages and not self._headroom:
            return choices[0].verdict
        return self._first_usable(choices, needed_tokens, now)

    def lacking(self, spec: TargetSpec, *, tenant: str, executing: bool) -> bool:
        """Whether a call of ours needs a credential and none is configured that it could use."""
        return executing and spec.needs_credential and not self._ours(spec, tenant)

    def troubled(self, spec: TargetSpec, now: float) -> bool:
        """Whether any credential that some call to the target could use is blocked, apart from rate limits."""
        outages = self._outages
        if not outages:
            return False
        return any(outages.blocked(each.key, each.model_key, now) is not None for each in self._all(spec, now))

    def room_tokens(self, spec: TargetSpec, now: float) -> float:
        """Returns the longest prompt that the known rate limits of all of these have room for.

        -1 where one of them has room for no request at all, infinity where none is known.
        """
        if not self._headroom:
            return inf
        rooms = (self._headroom.get(each.model_key) for each in self._all(spec, now))
        return min((room.tokens(now) for room in rooms if room is not None), default=inf)

    def next_credential(
        self, spec: TargetSpec, tried: frozenset[str], *, tenant: str, now: float, needed_tokens: int = 0
    ) -> str | None:
        """Returns the credential that a call of ours gets, of those usable and not tried; None where there is none.

        Those bound to the tenant come before those for all; among either one is drawn by weight. Spares, whose weight
        is 0, come in file order where none of those can be used. "" is for targets that need none. Keys whose rate
        limit is known to have too little for `needed_tokens` come last.
        """
        choices = self._ours(spec, tenant)
        if not choices:
            return None if spec.needs_credential or "" in tried else ""
        usable = self._usable(choices, tried, needed_tokens, now)
        if not usable and needed_tokens:
            usable = self._usable(choices, tried, 0, now)
        if not usable:
            return None
        if len(usable) == 1 or usable[0].spec.weight <= 0.0:
            return usable[0].key.label
        drawn = self._rng.choices(usable, [choice.spec.weight for choice in usable])
        return drawn[0].key.label

    def verdict_for_anybody(self, spec: TargetSpec, now: float) -> Verdict:
        """Judges whether a call of ours could be made for some tenant; where we have no credential, for a caller."""
        if not spec.credentials:
            return self.verdict(spec, tenant="", executing=False, now=now)
        pool = self._pool(spec)
        choices = {choice.key: choice for each in (pool.for_all, *pool.for_tenant.values()) for choice in each}
        return self._first_usable(choices.values(), 0, now) if choices else NONE_CONFIGURED

    def headroom(self, spec: TargetSpec) -> Headroom | None:
        """Returns what the provider last said of the target's rate limit, for our first credential it spoke of."""
        for label in (*(c.label for c in spec.credentials), ""):
            found = self._headroom.get(ModelKey(spec.target.provider, label, reported=False, model=spec.target.model))
            if found is not None:
                return found
        return None

    def statuses(self, specs: Iterable[TargetSpec], now: float) -> list[CredentialStatus]:
        """Returns every credential that these targets use: ours first, then those that callers reported."""
        models: dict[Key, dict[str, None]] = {}
        for spec in specs:
            provider, model = spec.target.provider, spec.target.model
            for credential in spec.credentials:
                if not credential.models or model in credential.models:
                    models.setdefault(Key(provider, credential.label), {})[model] = None
            for label in self._caller_labels(spec, now):
                models.setdefault(Key(provider, label, reported=True), {})[model] = None
        ordered = sorted(models.items(), key=lambda item: item[0].reported)
        return [self._status(key, tuple(used_for), now) for key, used_for in ordered]

    def started(self, spec: TargetSpec, label: str, now: float) -> bool:
        """Takes a request of ours that is sent now out of the headroom; tells whether it holds back others for now."""
        holds_back = bool(self._outages) and self._outages.started(
            Key(spec.target.provider, label), spec.target.model, now
        )
        if self._headroom:
            room = self._headroom.get(ModelKey(spec.target.provider, label, reported=False, model=spec.target.model))
            if room is not None:
                room.take_request()
        return holds_back

    def answering(self, spec: TargetSpec, label: str, began_at: float) -> bool:
        """Takes the beginning of an answer to a request of ours; tells whether others were held back for it."""
        return bool(self._outages) and self._outages.answering(
            Key(spec.target.provider, label), spec.target.model, began_at
        )

    def seen(self, spec: TargetSpec, label: str, now: float) -> None:
        """Takes note that callers use a key of this label for the target."""
        labels = self._seen.setdefault((spec.target.provider, spec.target.model), {})
        labels.pop(label, None)
        labels[label] = now
        if len(labels) > CALLER_LABELS_MAXIMUM:
            del labels[next(iter(labels))]

    def read(self, key: Key, model: str, reading: RateLimitReading, now: float) -> None:
        """Takes what a response said of the rate limit."""
        if reading.requests is None and reading.tokens is None:
            return
        model_key = ModelKey(*key, model)
        room = self._headroom.get(model_key)
        if room is None:
            room = self._headroom[model_key] = Headroom()
            if len(self._headroom) > CALLER_KEYS_MAXIMUM:
                self._headroom.pop(next((k for k in self._headroom if k.reported), model_key))
        room.read(reading, now)

    def success(self, key: Key, model: str, began_at: float | None = None) -> bool:
        """Takes a complete answer to an attempt of then, None where unknown; tells whether the credential was out."""
        return self._outages.success(key, model, began_at)

    def failure(
        self,
        key: Key,
        model: str,
        kind: FailureKind,
        *,
        retry_after_seconds: float | None,
        reading: RateLimitReading | None,
        now: float,
    ) -> Refused | None:
        """Takes a refusal, one of CREDENTIAL_FAILURES; returns what is new about it, None for nothing."""
        return self._outages.failure(
            key, model, kind, retry_after_seconds=retry_after_seconds, reading=reading, now=now
        )

    def changed(self, provider: str, label: str, now: float) -> bool:
        """Takes note that our key of this label is another one now, of which nothing is known yet.

        Tells whether something had been in the way of the old one.
        """
        self._headroom = {k: room for k, room in self._headroom.items() if k[:3] != (provider, label, False)}
        return self._outages.key_changed(Key(provider, label), now)

    def forget(self, specs: Iterable[TargetSpec], now: float) -> list[Key]:
        """Forgets what keeps any key from being used for these targets, callers' keys among them.

        A key that is out for all its models is free for all of them then, and the rate limit that headers told is
        unknown again. Returns those of our keys for which something held.
        """
        models: set[tuple[str, str]] = set()
        labels: set[tuple[str, str]] = set()
        for spec in specs:
            provider = spec.target.provider
            models.add((provider, spec.target.model))
            labels.update((provider, each.label) for each in spec.credentials)
            # "" is the key of providers that need none.
            labels.add((provider, ""))
        providers = {provider for provider, _ in models}

        def stays(key: Key, model: str | None) -> bool:
            if model is not None:
                return (key.provider, model) not in models
            return key.provider not in providers if key.reported else key[:2] not in labels

        self._headroom = {k: room for k, room in self._headroom.items() if (k.provider, k.model) not in models}
        return [key for key in self._outages.forget(stays, now) if not key.reported]

    def _ours(self, spec: TargetSpec, tenant: str) -> tuple[Choice, ...]:
        """Returns our credentials for a call to the target, by turn, each in file order."""
        pool = self._pool(spec)
        return pool.for_tenant.get(tenant, pool.for_all)

    def _all(self, spec: TargetSpec, now: float) -> list[Choice]:
        """Returns every credential that some call to the target could use, of ours and of callers."""
        pool = self._pool(spec)
        ours = [choice for each in (pool.for_all, *pool.for_tenant.values()) for choice in each]
        callers = self._caller_labels(spec, now) if self._seen else ()
        return ours + [choice_of(spec, CredentialSpec(label=label), reported=True) for label in callers]

    def _pool(self, spec: TargetSpec) -> Pool:
        known = self._pools.get(id(spec))
        if known is None:
            # The target itself is kept, so that no other can take its place under the same id.
            known = self._pools[id(spec)] = pool_of(spec)
        return known

    def _usable(self, choices: Iterable[Choice], tried: frozenset[str], needed_tokens: int, now: float) -> list[Choice]:
        """Returns those that can be used and have the same turn, the first that any has."""
        usable: list[Choice] = []
        for choice in choices:
            if usable and choice.turn != usable[0].turn:
                break
            if choice.key.label not in tried and self._blocked(choice, needed_tokens, now) is None:
                usable.append(choice)
        return usable

    def _first_usable(self, choices: Iterable[Choice], needed_tokens: int, now: float) -> Verdict:
        soonest: Blocked | None = None
        for choice in choices:
            blocked = self._blocked(choice, needed_tokens, now)
            if blocked is None:
                return choice.verdict
            if soonest is None or blocked.until < soonest.until:
                soonest = blocked
        if soonest is None:
            return USABLE_WITHOUT
        detail = f"{soonest.what}; free in {soonest.until - now:.1f} s"
        return Verdict(None, soonest.reason, soonest.until, detail)

    def _blocked(self, choice: Choice, needed_tokens: int, now: float) -> Blocked | None:
        found = self._outages.blocked(choice.key, choice.model_key, now) if self._outages else None
        if not self._headroom:
            return found
        room = self._headroom.get(choice.model_key)
        until = None if room is None else room.exhausted_until(needed_tokens, now)
        if until is None:
            return found
        if found is None:
            return Blocked(RejectionReason.RATE_LIMIT, until, None, "rate limit used up")
        # It is free when nothing is in the way any more, whatever it was refused for.
        return found._replace(until=max(found.until, until))

    def _caller_labels(self, spec: TargetSpec, now: float) -> list[str]:
        seen = self._seen.get((spec.target.provider, spec.target.model))
        return [label for label, at in seen.items() if now - at < SEEN_SECONDS] if seen else []

    def _status(self, key: Key, models: tuple[str, ...], now: float) -> CredentialStatus:
        blocked = self._outages.blocked_for_all(key, now)
        held = [] if blocked else [m for m in models if self._outages.blocked_for_model(ModelKey(*key, m), now)]
        if held:
            each = [self._outages.blocked_for_model(ModelKey(*key, model), now) for model in held]
            blocked = min((b for b in each if b is not None), key=lambda b: b.until)
        return CredentialStatus(
            label=key.label,
            reported=key.reported,
            usable=blocked is None,
            failure=None if blocked is None else blocked.failure,
            retry_at=None if blocked is None else blocked.until,
            models=tuple(held) if len(held) < len(models) else (),
        )
