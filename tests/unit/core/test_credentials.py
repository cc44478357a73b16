"""Which key can be used: cool-downs, outages, tenants, and the line between our keys and the callers'."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.fleets import spec
from turnout_server.core.credentials import Credentials, Verdict
from turnout_server.core.fleet import CredentialSpec, TargetSpec
from turnout_server.core.model import (
    CREDENTIAL_FAILURES,
    FailureKind,
    RateLimitBucket,
    RateLimitReading,
    RejectionReason,
)
from turnout_server.core.outage import CALLER_KEYS_MAXIMUM, Key, ModelKey, Refused
from turnout_server.core.settings import HealthSettings

T = 1000.0
KIND = FailureKind
NO_JITTER = HealthSettings(cooldown_jitter=0.0)


def keyed(*labels: str | CredentialSpec, name: str = "p/m", needs: bool = True) -> TargetSpec:
    credentials = tuple(CredentialSpec(label=each) if isinstance(each, str) else each for each in labels)
    return spec(name, credentials=credentials, needs_credential=needs)


M = keyed("k")
OTHER_MODEL = keyed("k", name="p/other")


def credentials(settings: HealthSettings = NO_JITTER, seed: int = 1) -> Credentials:
    return Credentials(settings, random.Random(seed))


def refuse(
    keys: Credentials,
    kind: FailureKind,
    at: float = T,
    *,
    label: str = "k",
    reported: bool = False,
    retry_after: float | None = None,
    reading: RateLimitReading | None = None,
) -> Refused | None:
    return keys.failure(Key("p", label, reported), "m", kind, retry_after_seconds=retry_after, reading=reading, now=at)


def ask(keys: Credentials, target: TargetSpec = M, at: float = T, **facts: Any) -> Verdict:
    return keys.verdict(target, **{"tenant": "", "executing": True, **facts}, now=at)


def test_time_told_is_that_of_the_last_thing_in_the_way() -> None:
    keys = credentials()
    refuse(keys, KIND.RATE_LIMITED, retry_after=5.0)
    reading = RateLimitReading(tokens=RateLimitBucket(limit=1000, remaining=10, reset_seconds=60.0))
    keys.read(Key("p", "k"), "m", reading, T)
    verdict = ask(keys, needed_tokens=500)

    assert (verdict.reason, verdict.retry_at) == (RejectionReason.COOLING_DOWN, T + 60.0)
    assert ask(keys, needed_tokens=5).retry_at == T + 5.0


def out_of_key(keys: Credentials, target: TargetSpec = M, at: float = T) -> bool:
    return ask(keys, target, at).reason is RejectionReason.CREDENTIALS


# Choosing.


def test_first_credential_in_file_order_is_used() -> None:
    assert ask(credentials(), keyed("b", "a")) == Verdict("b")


def test_credential_bound_to_the_tenant_comes_first() -> None:
    target = keyed("all", CredentialSpec(label="acme's", tenants=frozenset({"acme"})))

    assert ask(credentials(), target, tenant="acme").label == "acme's"
    assert ask(credentials(), target, tenant="other").label == "all"


def test_credential_for_other_models_is_not_used() -> None:
    target = keyed(CredentialSpec(label="small", models=frozenset({"small-model"})), "any")

    assert ask(credentials(), target).label == "any"


def test_no_credential_for_this_tenant_is_none_configured() -> None:
    target = keyed(CredentialSpec(label="acme's", tenants=frozenset({"acme"})))

    assert ask(credentials(), target, tenant="other").reason is RejectionReason.NO_CREDENTIAL


def test_executing_without_a_credential_that_is_needed_is_none_configured() -> None:
    assert ask(credentials(), keyed()).reason is RejectionReason.NO_CREDENTIAL


def test_provider_that_needs_no_credential_is_usable_without() -> None:
    assert ask(credentials(), keyed(needs=False)) == Verdict("")


def test_advising_needs_no_credential_here() -> None:
    assert ask(credentials(), keyed(), executing=False) == Verdict("")


def test_second_credential_is_used_while_the_first_cools_down() -> None:
    keys = credentials()
    refuse(keys, KIND.RATE_LIMITED, label="a", retry_after=30.0)

    assert ask(keys, keyed("a", "b")).label == "b"
    assert ask(keys, keyed("a", "b"), T + 30.0).label == "a"


def test_next_credential_is_the_first_usable_one_not_tried() -> None:
    keys = credentials()
    target = keyed("a", "b", "c")
    refuse(keys, KIND.QUOTA_EXHAUSTED, label="b")

    assert keys.next_credential(target, frozenset({"a"}), tenant="", now=T) == "c"
    assert keys.next_credential(target, frozenset({"a", "c"}), tenant="", now=T) is None


def test_of_blocked_credentials_the_one_that_is_free_first_speaks() -> None:
    keys = credentials()
    refuse(keys, KIND.MODEL_NOT_FOUND, label="a")
    refuse(keys, KIND.RATE_LIMITED, label="b", retry_after=30.0)
    verdict = ask(keys, keyed("a", "b"))

    assert verdict[:3] == (None, RejectionReason.COOLING_DOWN, T + 30.0)


def test_choices_of_one_target_are_not_taken_for_those_of_another() -> None:
    keys = credentials()
    # Made and dropped, so that the next may come to lie in the same place.
    labels = [ask(keys, keyed(f"k{n}")).label for n in range(200)]

    assert labels == [f"k{n}" for n in range(200)]


# RATE_LIMITED.


def test_rate_limit_cools_the_credential_for_this_model_only() -> None:
    keys = credentials()
    refuse(keys, KIND.RATE_LIMITED, retry_after=30.0)

    assert ask(keys) == Verdict(None, RejectionReason.COOLING_DOWN, T + 30.0, "rate limited; free in 30.0 s")
    assert ask(keys, OTHER_MODEL).label == "k"


def test_retry_after_is_the_least_that_is_waited() -> None:
    ends = set()
    for seed in range(200):
        keys = credentials(HealthSettings(), seed)
        refuse(keys, KIND.RATE_LIMITED, retry_after=30.0)
        ends.add(ask(keys).retry_at)

    known = sorted(end - T for end in ends if end is not None)

    assert 30.0 <= known[0] < 30.2
    assert 35.8 < known[-1] <= 36.0


def test_reset_of_a_used_up_bucket_is_the_least_that_is_waited() -> None:
    keys = credentials()
    reading = RateLimitReading(
        requests=RateLimitBucket(limit=9, remaining=0, reset_seconds=12.0),
        tokens=RateLimitBucket(limit=9, remaining=5, reset_seconds=50.0),
    )
    refuse(keys, KIND.RATE_LIMITED, retry_after=2.0, reading=reading)

    assert ask(keys).retry_at == T + 12.0


def test_no_cool_down_is_longer_than_an_hour() -> None:
    keys = credentials(HealthSettings())
    refuse(keys, KIND.RATE_LIMITED, retry_after=1e9)

    assert ask(keys).retry_at == T + 3600.0


@pytest.mark.parametrize("kind", [KIND.RATE_LIMITED, KIND.QUOTA_EXHAUSTED])
def test_without_a_time_it_is_five_seconds_doubling_to_sixty(kind: FailureKind) -> None:
    keys = credentials()
    at, spans = T, []
    for _ in range(6):
        refuse(keys, kind, at)
        retry_at = ask(keys, at=at).retry_at
        assert retry_at is not None
        spans.append(retry_at - at)
        at = retry_at

    assert spans == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]


def test_doubling_starts_anew_after_a_success() -> None:
    keys = credentials()
    refuse(keys, KIND.RATE_LIMITED, T)
    refuse(keys, KIND.RATE_LIMITED, T + 5.0)
    keys.success(Key("p", "k"), "m")
    refuse(keys, KIND.RATE_LIMITED, T + 20.0)

    assert ask(keys, at=T + 20.0).retry_at == T + 25.0


def test_refusals_of_concurrent_calls_do_not_double() -> None:
    keys = credentials()
    for _ in range(50):
        refuse(keys, KIND.RATE_LIMITED)

    assert ask(keys).retry_at == T + 5.0


def test_retry_after_of_nothing_is_no_leave_to_hammer() -> None:
    keys = credentials()
    refuse(keys, KIND.RATE_LIMITED, retry_after=0.0)

    assert ask(keys).retry_at == T + 5.0


def test_later_refusal_never_shortens_a_cool_down() -> None:
    keys = credentials()
    refuse(keys, KIND.RATE_LIMITED, T, retry_after=100.0)
    refuse(keys, KIND.RATE_LIMITED, T + 1.0, retry_after=2.0)

    assert ask(keys).retry_at == T + 100.0


def test_success_of_a_call_from_before_does_not_end_a_cool_down() -> None:
    keys = credentials()
    refuse(keys, KIND.RATE_LIMITED, retry_after=100.0)
    keys.success(Key("p", "k"), "m")

    assert ask(keys).reason is RejectionReason.COOLING_DOWN


def test_beginning_of_a_cool_down_is_news_once() -> None:
    keys = credentials()

    assert refuse(keys, KIND.RATE_LIMITED, retry_after=10.0) == Refused(KIND.RATE_LIMITED, out=False, seconds=10.0)
    assert refuse(keys, KIND.RATE_LIMITED, retry_after=20.0) is None


def test_after_a_cool_down_attempts_go_one_by_one_until_one_is_answered() -> None:
    keys = credentials()
    refuse(keys, KIND.RATE_LIMITED, retry_after=30.0)

    assert ask(keys, at=T + 30.0).label == "k"

    keys.started(M, "k", T + 30.0)

    assert ask(keys, at=T + 30.5) == Verdict(
        None, RejectionReason.COOLING_DOWN, T + 30.75, "rate limited; free in 0.2 s"
    )
    assert ask(keys, at=T + 30.75).label == "k"

    keys.started(M, "k", T + 30.75)
    keys.answering(M, "k", T + 30.0)

    assert ask(keys, at=T + 30.8).label == "k"

    keys.started(M, "k", T + 30.8)

    assert ask(keys, at=T + 30.8).label == "k"


def test_answer_to_an_attempt_from_before_the_cool_down_says_nothing_of_its_end() -> None:
    keys = credentials()
    refuse(keys, KIND.RATE_LIMITED, retry_after=30.0)
    keys.started(M, "k", T + 30.0)
    keys.answering(M, "k", T - 1.0)
    keys.success(Key("p", "k"), "m", T - 1.0)

    assert ask(keys, at=T + 30.5).retry_at == T + 30.75


def test_refusal_of_a_trial_doubles_though_others_are_held_back() -> None:
    keys = credentials()
    refuse(keys, KIND.RATE_LIMITED)
    keys.started(M, "k", T + 5.0)
    refuse(keys, KIND.RATE_LIMITED, T + 5.1)

    assert ask(keys, at=T + 5.1).retry_at == T + 15.1


def test_attempts_before_any_refusal_hold_back_nobody() -> None:
    keys = credentials()

    assert not keys.started(M, "k", T)
    assert ask(keys).label == "k"


# QUOTA_EXHAUSTED.


def test_exhausted_quota_cools_the_whole_credential() -> None:
    keys = credentials()
    refuse(keys, KIND.QUOTA_EXHAUSTED, retry_after=30.0)

    assert ask(keys).reason is RejectionReason.COOLING_DOWN
    assert ask(keys, OTHER_MODEL)[1:3] == (RejectionReason.COOLING_DOWN, T + 30.0)
    assert ask(keys, OTHER_MODEL, T + 30.0).label == "k"


# AUTHENTICATION.


def test_one_authentication_failure_takes_nothing_out() -> None:
    keys = credentials()

    assert refuse(keys, KIND.AUTHENTICATION) is None
    assert ask(keys).label == "k"


def test_two_authentication_failures_five_seconds_apart_take_the_credential_out_for_a_minute() -> None:
    keys = credentials()
    refuse(keys, KIND.AUTHENTICATION, T)

    assert refuse(keys, KIND.AUTHENTICATION, T + 4.9) is None
    assert ask(keys, at=T + 4.9).label == "k"
    assert refuse(keys, KIND.AUTHENTICATION, T + 5.0) == Refused(KIND.AUTHENTICATION, out=True, seconds=60.0)
    assert out_of_key(keys, OTHER_MODEL, T + 64.9)
    assert not out_of_key(keys, OTHER_MODEL, T + 65.0)


def test_success_between_two_authentication_failures_keeps_the_credential() -> None:
    keys = credentials()
    refuse(keys, KIND.AUTHENTICATION, T)
    keys.success(Key("p", "k"), "m")
    refuse(keys, KIND.AUTHENTICATION, T + 10.0)

    assert ask(keys, at=T + 10.0).label == "k"


def test_time_out_for_authentication_doubles_to_ten_minutes() -> None:
    keys = credentials()
    refuse(keys, KIND.AUTHENTICATION, T)
    at, spans = T + 5.0, []
    for _ in range(6):
        refused = refuse(keys, KIND.AUTHENTICATION, at)
        assert refused is not None
        spans.append(refused.seconds)
        at += refused.seconds

    assert spans == [60.0, 120.0, 240.0, 480.0, 600.0, 600.0]


def test_authentication_failures_of_calls_that_still_ran_do_not_double() -> None:
    keys = credentials()
    refuse(keys, KIND.AUTHENTICATION, T)
    refuse(keys, KIND.AUTHENTICATION, T + 5.0)
    for at in (6.0, 20.0, 60.0):
        assert refuse(keys, KIND.AUTHENTICATION, T + at) is None

    assert not out_of_key(keys, at=T + 65.0)


def test_changed_key_is_tried_at_once() -> None:
    keys = credentials()
    refuse(keys, KIND.AUTHENTICATION, T)
    refuse(keys, KIND.AUTHENTICATION, T + 5.0)

    assert keys.changed("p", "k", T + 5.0)
    assert ask(keys, at=T + 5.0).label == "k"
    assert not keys.changed("p", "k", T + 5.0)


def test_credential_that_works_again_is_news() -> None:
    keys = credentials()
    refuse(keys, KIND.AUTHENTICATION, T)
    refuse(keys, KIND.AUTHENTICATION, T + 5.0)

    assert keys.success(Key("p", "k"), "m")
    assert not keys.success(Key("p", "k"), "m")


# PERMISSION_DENIED and MODEL_NOT_FOUND.


@pytest.mark.parametrize("kind", [KIND.PERMISSION_DENIED, KIND.MODEL_NOT_FOUND])
def test_refused_model_is_out_for_ten_minutes_with_this_credential_only(kind: FailureKind) -> None:
    keys = credentials()

    assert refuse(keys, kind) == Refused(kind, out=True, seconds=600.0)
    assert refuse(keys, kind) is None
    assert out_of_key(keys, at=T + 599.9)
    assert not out_of_key(keys, at=T + 600.0)
    assert ask(keys, OTHER_MODEL).label == "k"
    assert ask(keys, keyed("k", "another")).label == "another"


# Rate-limit headroom.


def test_used_up_headroom_blocks_until_its_reset() -> None:
    keys = credentials()
    reading = RateLimitReading(requests=RateLimitBucket(limit=9, remaining=1, reset_seconds=20.0))
    keys.read(Key("p", "k"), "m", reading, T)

    assert ask(keys).label == "k"

    keys.started(M, "k", T)

    assert ask(keys)[:3] == (None, RejectionReason.RATE_LIMIT, T + 20.0)
    assert ask(keys, OTHER_MODEL).label == "k"
    assert ask(keys, at=T + 20.0).label == "k"


def test_headroom_in_tokens_must_hold_the_request() -> None:
    keys = credentials()
    reading = RateLimitReading(tokens=RateLimitBucket(limit=1000, remaining=100, reset_seconds=20.0))
    keys.read(Key("p", "k"), "m", reading, T)

    assert ask(keys, needed_tokens=100).label == "k"
    assert ask(keys, needed_tokens=101).reason is RejectionReason.RATE_LIMIT


def test_headroom_of_the_target_is_that_of_our_credential() -> None:
    keys = credentials()
    reading = RateLimitReading(requests=RateLimitBucket(limit=10, remaining=5, reset_seconds=20.0))
    keys.read(Key("p", "k", reported=True), "m", reading, T)

    assert keys.headroom(M) is None

    keys.read(Key("p", "k"), "m", reading, T)
    room = keys.headroom(M)

    assert room is not None
    assert room.share(T) == 0.5


# Our keys and the callers'.


@pytest.mark.parametrize("kind", sorted(CREDENTIAL_FAILURES))
def test_callers_failing_key_never_takes_out_ours(kind: FailureKind) -> None:
    keys = credentials()
    keys.seen(M, "k", T)
    for at in (T, T + 5.0, T + 10.0):
        refuse(keys, kind, at, reported=True, retry_after=100.0)

    assert ask(keys, at=T + 10.0).label == "k"


@pytest.mark.parametrize("kind", sorted(CREDENTIAL_FAILURES))
def test_our_failing_key_never_takes_out_the_callers(kind: FailureKind) -> None:
    keys = credentials()
    keys.seen(M, "k", T)
    for at in (T, T + 5.0, T + 10.0):
        refuse(keys, kind, at, retry_after=100.0)

    assert ask(keys, at=T + 10.0, executing=False).reason is None


def test_advice_is_blocked_when_all_keys_that_callers_use_are() -> None:
    keys = credentials()
    keys.seen(M, "x", T)
    keys.seen(M, "y", T)
    refuse(keys, KIND.RATE_LIMITED, label="x", reported=True, retry_after=30.0)

    assert ask(keys, executing=False).reason is None

    refuse(keys, KIND.RATE_LIMITED, label="y", reported=True, retry_after=20.0)

    assert ask(keys, executing=False)[1:3] == (RejectionReason.COOLING_DOWN, T + 20.0)


def test_callers_key_not_seen_for_ten_minutes_speaks_no_more() -> None:
    keys = credentials()
    keys.seen(M, "x", T)
    refuse(keys, KIND.RATE_LIMITED, label="x", reported=True, retry_after=3600.0)

    assert ask(keys, at=T + 599.0, executing=False).reason is RejectionReason.COOLING_DOWN
    assert ask(keys, at=T + 600.0, executing=False).reason is None


def test_where_no_caller_was_seen_ours_speak_for_them() -> None:
    keys = credentials()
    refuse(keys, KIND.RATE_LIMITED, retry_after=30.0)

    assert ask(keys, executing=False).reason is RejectionReason.COOLING_DOWN


def test_callers_labels_cannot_grow_without_bound_nor_push_ours_out() -> None:
    keys = credentials()
    refuse(keys, KIND.RATE_LIMITED, retry_after=3000.0)
    for n in range(CALLER_KEYS_MAXIMUM + 100):
        keys.seen(M, f"caller {n}", T)
        for kind in (KIND.RATE_LIMITED, KIND.QUOTA_EXHAUSTED):
            refuse(keys, kind, label=f"caller {n}", reported=True)
        reading = RateLimitReading(requests=RateLimitBucket(remaining=0))
        keys.read(Key("p", f"caller {n}", reported=True), "m", reading, T)

    tables = (keys._outages._by_key, keys._outages._by_model, keys._headroom)

    assert [len(table) <= CALLER_KEYS_MAXIMUM for table in tables] == [True, True, True]
    assert len(keys._seen[("p", "m")]) == 32
    assert ask(keys).reason is RejectionReason.COOLING_DOWN


# For people.


def test_status_names_what_each_credential_cannot_be_used_for() -> None:
    keys = credentials()
    keys.seen(M, "x", T)
    refuse(keys, KIND.MODEL_NOT_FOUND)
    refuse(keys, KIND.QUOTA_EXHAUSTED, label="x", reported=True, retry_after=30.0)
    ours, callers = keys.statuses([M, OTHER_MODEL], T)

    assert (ours.label, ours.reported, ours.usable, ours.failure, ours.models) == (
        "k",
        False,
        False,
        KIND.MODEL_NOT_FOUND,
        ("m",),
    )
    assert (callers.label, callers.reported, callers.usable, callers.retry_at, callers.models) == (
        "x",
        True,
        False,
        T + 30.0,
        (),
    )


def test_status_of_a_credential_that_works_is_usable() -> None:
    (status,) = credentials().statuses([M, OTHER_MODEL], T)

    assert (status.usable, status.failure, status.retry_at, status.models) == (True, None, None, ())


# What holds whatever happens.


@given(
    st.lists(
        st.tuples(
            st.floats(0.0, 700.0),
            st.sampled_from([None, *sorted(CREDENTIAL_FAILURES)]),
            st.sampled_from("ab"),
            st.none() | st.floats(0.0, 5000.0),
        ),
        max_size=60,
    ),
    st.integers(0, 100),
)
def test_every_credential_comes_back_within_an_hour_and_no_refusal_shortens_another(
    steps: list[tuple[float, FailureKind | None, str, float | None]], seed: int
) -> None:
    keys = credentials(HealthSettings(), seed)
    target = keyed("a", "b")
    now = T
    for passed, kind, label, retry_after in steps:
        now += passed
        before = keys._outages.blocked(Key("p", label), ModelKey("p", label, reported=False, model="m"), now)
        if kind is None:
            keys.success(Key("p", label), "m")
        else:
            refuse(keys, kind, now, label=label, retry_after=retry_after)
            after = keys._outages.blocked(Key("p", label), ModelKey("p", label, reported=False, model="m"), now)
            assert before is None or (after is not None and after.until >= before.until)
        verdict = ask(keys, target, now)

        assert (verdict.label is None) is (verdict.reason is not None)
        assert verdict.reason is None or verdict.retry_at is not None
        assert verdict.retry_at is None or now < verdict.retry_at <= now + 3600.0
        assert ask(keys, target, now + 3600.0).reason is None
