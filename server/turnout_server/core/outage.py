"""How long one credential is left alone after the provider refused it: each kind of refusal has its own time.

A later refusal never shortens an earlier one, and refusals that arrive while it is already out, as those of concurrent
calls do, make nothing longer by themselves.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from turnout_server.core.model import FailureKind, RateLimitReading, RejectionReason
from turnout_server.core.ratelimit import refused_seconds
from turnout_server.core.settings import HealthSettings

if TYPE_CHECKING:
    from turnout_server.core.kept import CredentialLine, KeptCoolDown, KeptKeyOutage, KeptModelOutage, Since

CALLER_KEYS_MAXIMUM = 4096
"""Bound of what is known of callers' keys, in each table. Ours are bounded by the configuration, and never dropped."""
MODEL_REFUSALS = frozenset({FailureKind.PERMISSION_DENIED, FailureKind.MODEL_NOT_FOUND})

K = TypeVar("K")
V = TypeVar("V")


class Key(NamedTuple):
    """A credential of one provider by its label: our own, or one that callers reported."""

    provider: str
    label: str
    reported: bool = False


class ModelKey(NamedTuple):
    """A credential as it is used for one model."""

    provider: str
    label: str
    reported: bool
    model: str


class Blocked(NamedTuple):
    """Why a credential cannot be used, and until when (monotonic seconds)."""

    reason: RejectionReason
    until: float
    failure: FailureKind | None
    what: str


class Refused(NamedTuple):
    """A credential that cools, or (`out`) is out, for so many seconds from now on."""

    failure: FailureKind
    out: bool
    seconds: float


class CoolDown:
    """A pause after RATE_LIMITED or QUOTA_EXHAUSTED.

    When it is over nobody knows yet whether the provider is willing again, and all that had to wait may come at once.
    So until one attempt is answered, they go one by one, 0.75 s apart: two in 1.5 s, which is what Failover Bench takes
    for good conduct at a limiting provider.
    """

    __slots__ = ("_next_seconds", "_on_trial", "_refused_until", "until")

    def __init__(self) -> None:
        self._next_seconds = 0.0
        self._refused_until = 0.0
        self._on_trial = False
        self.until = 0.0
        """When the next attempt may be made."""

    def refused(self, asked_seconds: float, now: float, settings: HealthSettings, rng: random.Random) -> bool:
        """Takes a refusal; `asked_seconds` is what the provider asks for at least, 0 for nothing.

        Asked: that, plus up to 20 % by chance so that not all return at once, at most an hour. Not asked: 5 s, doubling
        to 60 s until a success. Tells whether a pause began.
        """
        if asked_seconds <= 0.0:
            if now < self._refused_until:
                return False
            asked_seconds = max(settings.cooldown_seconds, self._next_seconds)
            self._next_seconds = min(2.0 * asked_seconds, settings.cooldown_max_seconds)
        wait = min(asked_seconds * (1.0 + rng.uniform(0.0, settings.cooldown_jitter)), settings.cooldown_limit_seconds)
        before = self._refused_until
        self._refused_until = max(before, now + wait)
        self._on_trial = True
        self.until = max(self.until, self._refused_until)
        return before <= now < self._refused_until

    def started(self, now: float, trial_seconds: float) -> bool:
        """Takes an attempt: the first ones after a pause hold back the next. Tells whether this one does."""
        if not self._on_trial or now < self._refused_until:
            return False
        self.until = max(self.until, now + trial_seconds)
        return True

    def answering(self, began_at: float) -> bool:
        """Takes the beginning of an answer: an attempt since the pause ends the trial. Tells whether this one did."""
        if not self._on_trial or began_at < self._refused_until:
            return False
        self._on_trial = False
        self.until = self._refused_until
        return True

    def keep(self, now: float) -> KeptCoolDown:
        """Returns what is kept of it."""
        from turnout_server.core.kept import KeptCoolDown  # noqa: PLC0415 - needed only where state outlives the process

        return KeptCoolDown(self.until - now, self._refused_until - now, self._next_seconds, self._on_trial)

    def resume(self, kept: KeptCoolDown, since: Since, settings: HealthSettings) -> None:
        """Takes what was kept: the pause goes on for the rest of its time, an hour at most."""
        longest = settings.cooldown_limit_seconds
        self.until = since.ahead(kept.wait, longest)
        self._refused_until = since.ahead(kept.refused_wait, longest)
        self._next_seconds = min(max(0.0, kept.next_seconds), settings.cooldown_max_seconds)
        self._on_trial = kept.on_trial

    def success(self) -> None:
        """Takes a success: the doubling starts anew. A pause that runs goes on: the answer may be from before it."""
        self._next_seconds = 0.0


class KeyOutage:
    """A credential out for AUTHENTICATION: after two in a row at least 5 s apart, for 60 s, doubling to 600 s."""

    __slots__ = ("_count", "_counted_at", "_next_seconds", "until")

    def __init__(self) -> None:
        self._count = 0
        self._counted_at = 0.0
        self._next_seconds = 0.0
        self.until = 0.0

    @property
    def wrong(self) -> bool:
        """Whether it was taken out and has not worked since."""
        return self._next_seconds > 0.0

    def refused(self, now: float, settings: HealthSettings) -> bool:
        """Takes an AUTHENTICATION failure; tells whether the credential is out from now on.

        Refusals closer together than the span count as one: calls that ran side by side met one fault.
        """
        if now < self.until or (self._count and now - self._counted_at < settings.authentication_span_seconds):
            return False
        self._count += 1
        self._counted_at = now
        if self._count < settings.authentication_failures:
            return False
        seconds = max(settings.authentication_out_seconds, self._next_seconds)
        self._next_seconds = min(2.0 * seconds, settings.authentication_out_max_seconds)
        self.until = now + seconds
        return True

    def keep(self, quota: KeptCoolDown, now: float) -> KeptKeyOutage:
        """Returns what is kept of it, with what is kept of the credential's quota."""
        from turnout_server.core.kept import KeptKeyOutage  # noqa: PLC0415 - needed only where state outlives the process

        return KeptKeyOutage(self.until - now, self._count, now - self._counted_at, self._next_seconds, quota)

    def resume(self, kept: KeptKeyOutage, since: Since, settings: HealthSettings) -> None:
        """Takes what was kept."""
        longest = settings.authentication_out_max_seconds
        self._count = max(0, kept.count)
        self._counted_at = since.past(kept.counted_age)
        self._next_seconds = min(max(0.0, kept.next_seconds), longest)
        self.until = since.ahead(kept.wait, longest)

    def works(self) -> bool:
        """Takes a success, or a changed key; tells whether the credential had been out."""
        was_wrong = self.wrong
        self._count = 0
        self._next_seconds = 0.0
        self.until = 0.0
        return was_wrong


class CredentialOutage:
    """One credential, for all models."""

    __slots__ = ("key", "quota")

    def __init__(self) -> None:
        self.key = KeyOutage()
        self.quota = CoolDown()

    def keep(self, now: float) -> KeptKeyOutage:
        """Returns what is kept of it."""
        return self.key.keep(self.quota.keep(now), now)

    def resume(self, kept: KeptKeyOutage, since: Since, settings: HealthSettings) -> None:
        """Takes what was kept."""
        self.key.resume(kept, since, settings)
        self.quota.resume(kept.quota, since, settings)


class ModelOutage:
    """One credential for one model. `refusal` is PERMISSION_DENIED or MODEL_NOT_FOUND while it is out for that."""

    __slots__ = ("cool_down", "out_until", "refusal")

    def __init__(self) -> None:
        self.cool_down = CoolDown()
        self.out_until = 0.0
        self.refusal: FailureKind | None = None

    def refused(self, kind: FailureKind, now: float, settings: HealthSettings) -> bool:
        """Takes a refusal of this model; tells whether it is out from now on."""
        is_new = now >= self.out_until
        self.refusal = kind
        self.out_until = max(self.out_until, now + settings.permission_out_seconds)
        return is_new

    def keep(self, model: str, now: float) -> KeptModelOutage:
        """Returns what is kept of it."""
        from turnout_server.core.kept import KeptModelOutage  # noqa: PLC0415 - needed only where state outlives the process

        return KeptModelOutage(model, self.out_until - now, self.refusal, self.cool_down.keep(now))

    def resume(self, kept: KeptModelOutage, since: Since, settings: HealthSettings) -> None:
        """Takes what was kept."""
        self.out_until = since.ahead(kept.out_wait, settings.permission_out_seconds)
        self.refusal = kept.refusal
        self.cool_down.resume(kept.cool_down, since, settings)


class Outages:
    """What is known against every credential; one that was never refused takes no room."""

    __slots__ = ("_by_key", "_by_model", "_rng", "_settings")

    def __init__(self, settings: HealthSettings, rng: random.Random) -> None:
        self._settings = settings
        self._rng = rng
        self._by_key: dict[Key, CredentialOutage] = {}
        self._by_model: dict[ModelKey, ModelOutage] = {}

    def adopt(self, settings: HealthSettings, stays: Callable[[str, str, bool], bool]) -> None:
        """Takes other settings, and forgets the keys that do not stay, by provider, label and whether reported."""
        self._settings = settings
        self._by_key = {key: known for key, known in self._by_key.items() if stays(*key)}
        self._by_model = {key: known for key, known in self._by_model.items() if stays(*key[:3])}

    def keep(self, provider: str, label: str, now: float) -> CredentialLine:
        """Returns what is kept of one of our keys."""
        from turnout_server.core.kept import CredentialLine  # noqa: PLC0415 - needed only where state outlives the process

        known = self._by_key.get(Key(provider, label))
        models = tuple(
            outage.keep(key.model, now) for key, outage in self._by_model.items() if key[:3] == (provider, label, False)
        )
        return CredentialLine(provider, label, None if known is None else known.keep(now), models)

    def ours(self) -> list[Key]:
        """Returns those of our keys that anything is known against."""
        by_model = (Key(key.provider, key.label, key.reported) for key in self._by_model)
        return list({key: None for key in (*self._by_key, *by_model) if not key.reported})

    def resume(self, kept: CredentialLine, since: Since) -> None:
        """Takes what was kept of one of our keys."""
        key, settings = Key(kept.provider, kept.label), self._settings
        if kept.key is not None:
            self._of_key(key).resume(kept.key, since, settings)
        for model in kept.models:
            self._of_model(key, model.model).resume(model, since, settings)

    def __bool__(self) -> bool:
        """Whether any credential was ever refused."""
        return bool(self._by_key or self._by_model)

    def blocked(self, key: Key, model_key: ModelKey, now: float) -> Blocked | None:
        """Returns why the credential cannot be used for the model: what holds longest; None where it can."""
        found = self.blocked_for_all(key, now)
        of_model = self.blocked_for_model(model_key, now)
        return of_model if found is None or (of_model is not None and of_model.until > found.until) else found

    def blocked_for_all(self, key: Key, now: float) -> Blocked | None:
        """Returns why the credential cannot be used for any model."""
        whole = self._by_key.get(key)
        if whole is None:
            return None
        refused_until, cools_until = whole.key.until, whole.quota.until
        if now < refused_until and refused_until >= cools_until:
            return Blocked(RejectionReason.CREDENTIALS, refused_until, FailureKind.AUTHENTICATION, "credential refused")
        if now < cools_until:
            return Blocked(RejectionReason.COOLING_DOWN, cools_until, FailureKind.QUOTA_EXHAUSTED, "quota exhausted")
        return None

    def blocked_for_model(self, model_key: ModelKey, now: float) -> Blocked | None:
        """Returns why the credential cannot be used for this model, apart from what holds for all."""
        of_model = self._by_model.get(model_key)
        if of_model is None:
            return None
        out_until, cools_until = of_model.out_until, of_model.cool_down.until
        if now < out_until and out_until >= cools_until:
            missing = of_model.refusal is FailureKind.MODEL_NOT_FOUND
            what = "model not found with this credential" if missing else "credential may not use this model"
            return Blocked(RejectionReason.CREDENTIALS, out_until, of_model.refusal, what)
        if now < cools_until:
            return Blocked(RejectionReason.COOLING_DOWN, cools_until, FailureKind.RATE_LIMITED, "rate limited")
        return None

    def success(self, key: Key, model: str, began_at: float | None = None) -> bool:
        """Takes a complete answer to an attempt of then, None where unknown; tells whether the credential was out."""
        if began_at is not None and (self._by_key or self._by_model):
            # An answer may be complete without any content.
            self.answering(key, model, began_at)
        of_model = self._by_model.get(ModelKey(*key, model)) if self._by_model else None
        if of_model is not None:
            of_model.cool_down.success()
        whole = self._by_key.get(key) if self._by_key else None
        if whole is None:
            return False
        whole.quota.success()
        return whole.key.works()

    def started(self, key: Key, model: str, now: float) -> bool:
        """Takes an attempt that is sent now; tells whether it holds back others until it is answered."""
        seconds = self._settings.cooldown_trial_seconds
        held = [pause.started(now, seconds) for pause in self._pauses(key, model)]
        return any(held)

    def answering(self, key: Key, model: str, began_at: float) -> bool:
        """Takes the beginning of an answer to an attempt of then; tells whether others were held back for it."""
        ended = [pause.answering(began_at) for pause in self._pauses(key, model)]
        return any(ended)

    def _pauses(self, key: Key, model: str) -> list[CoolDown]:
        whole, of_model = self._by_key.get(key), self._by_model.get(ModelKey(*key, model))
        return [*([] if whole is None else [whole.quota]), *([] if of_model is None else [of_model.cool_down])]

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
        settings = self._settings
        if kind in MODEL_REFUSALS:
            of_model = self._of_model(key, model)
            is_new = of_model.refused(kind, now, settings)
            return Refused(kind, out=True, seconds=of_model.out_until - now) if is_new else None
        if kind is FailureKind.AUTHENTICATION:
            outage = self._of_key(key).key
            return Refused(kind, out=True, seconds=outage.until - now) if outage.refused(now, settings) else None
        quota = kind is FailureKind.QUOTA_EXHAUSTED
        cool_down = self._of_key(key).quota if quota else self._of_model(key, model).cool_down
        asked_seconds = refused_seconds(retry_after_seconds, reading)
        is_new = cool_down.refused(asked_seconds, now, settings, self._rng)
        return Refused(kind, out=False, seconds=cool_down.until - now) if is_new else None

    def key_changed(self, key: Key, now: float) -> bool:
        """Forgets what was known of a key: there is another secret behind the label. Tells whether it was blocked."""
        whole = self._by_key.pop(key, None)
        models = [each for each in self._by_model if each[:3] == key]
        blocked = [
            known for known in map(self._by_model.pop, models) if now < max(known.out_until, known.cool_down.until)
        ]
        return bool(blocked) or (whole is not None and (whole.key.wrong or now < whole.quota.until))

    def forget(self, stays: Callable[[Key, str | None], bool], now: float) -> list[Key]:
        """Forgets what is known of keys (model None) and of their use for a model, where it does not stay.

        Returns the keys for which something held that is over now.
        """
        keys = {key: known for key, known in self._by_key.items() if not stays(key, None)}
        models = {key: known for key, known in self._by_model.items() if not stays(Key(*key[:3]), key.model)}
        self._by_key = {key: known for key, known in self._by_key.items() if key not in keys}
        self._by_model = {key: known for key, known in self._by_model.items() if key not in models}
        held = [key for key, known in keys.items() if known.key.wrong or now < known.quota.until]
        held += [Key(*key[:3]) for key, known in models.items() if now < max(known.out_until, known.cool_down.until)]
        return list(dict.fromkeys(held))

    def _of_key(self, key: Key) -> CredentialOutage:
        found = self._by_key.get(key)
        if found is None:
            found = self._by_key[key] = CredentialOutage()
            if len(self._by_key) > CALLER_KEYS_MAXIMUM:
                _drop(self._by_key, next((k for k in self._by_key if k.reported), None))
        return found

    def _of_model(self, key: Key, model: str) -> ModelOutage:
        model_key = ModelKey(*key, model)
        found = self._by_model.get(model_key)
        if found is None:
            found = self._by_model[model_key] = ModelOutage()
            if len(self._by_model) > CALLER_KEYS_MAXIMUM:
                _drop(self._by_model, next((k for k in self._by_model if k.reported), None))
        return found


def _drop(table: dict[K, V], oldest: K | None) -> None:
    if oldest is not None:
        del table[oldest]
