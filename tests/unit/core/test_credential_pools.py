"""Several keys of ours for one target: who gets which, how often, and what is never used for whom."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.fleets import spec
from turnout_server.core.credentials import Credentials
from turnout_server.core.fleet import CredentialSpec, TargetSpec
from turnout_server.core.model import FailureKind, RateLimitBucket, RateLimitReading, RejectionReason
from turnout_server.core.outage import Key
from turnout_server.core.settings import HealthSettings

T = 1000.0
KIND = FailureKind


def key(label: str, weight: float = 1.0, *tenants: str, models: frozenset[str] = frozenset()) -> CredentialSpec:
    return CredentialSpec(label=label, weight=weight, tenants=frozenset(tenants), models=models)


def pool(*keys: CredentialSpec, needs: bool = True) -> TargetSpec:
    return spec("p/m", credentials=keys, needs_credential=needs)


def credentials(seed: int = 1) -> Credentials:
    return Credentials(HealthSettings(cooldown_jitter=0.0), random.Random(seed))


def drawn(
    keys: Credentials, target: TargetSpec, *tried: str, tenant: str = "", at: float = T, needed_tokens: int = 0
) -> str | None:
    return keys.next_credential(target, frozenset(tried), tenant=tenant, now=at, needed_tokens=needed_tokens)


def counts(keys: Credentials, target: TargetSpec, *, count: int = 4000, tenant: str = "") -> Counter[str | None]:
    return Counter(drawn(keys, target, tenant=tenant) for _ in range(count))


def refuse(keys: Credentials, label: str, kind: FailureKind = KIND.RATE_LIMITED, at: float = T) -> None:
    keys.failure(Key("p", label), "m", kind, retry_after_seconds=60.0, reading=None, now=at)


# Shares.


def test_keys_get_calls_by_their_weights() -> None:
    found = counts(credentials(), pool(key("a", 3.0), key("b", 1.0)))

    assert 0.72 < found["a"] / 4000 < 0.78
    assert found["a"] + found["b"] == 4000


def test_draw_is_the_same_for_the_same_seed() -> None:
    target = pool(key("a"), key("b"), key("c"))
    one, other = credentials(5), credentials(5)

    assert [drawn(one, target) for _ in range(50)] == [drawn(other, target) for _ in range(50)]


def test_usable_keys_share_what_a_cooling_one_leaves() -> None:
    keys = credentials()
    refuse(keys, "a")
    found = counts(keys, pool(key("a", 8.0), key("b", 3.0), key("c", 1.0)))

    assert set(found) == {"b", "c"}
    assert 0.72 < found["b"] / 4000 < 0.78


def test_spare_is_used_only_where_no_other_key_can_be() -> None:
    keys = credentials()
    target = pool(key("spare", 0.0), key("a"), key("b"))

    assert "spare" not in counts(keys, target)

    refuse(keys, "a")

    assert set(counts(keys, target)) == {"b"}
    assert drawn(keys, target, "b") == "spare"


def test_spares_are_used_in_file_order() -> None:
    keys = credentials()
    target = pool(key("first", 0.0), key("second", 0.0))

    assert set(counts(keys, target, count=50)) == {"first"}
    assert drawn(keys, target, "first") == "second"


def test_single_key_takes_nothing_from_chance() -> None:
    chance = random.Random(1)
    before = chance.getstate()
    drawn(Credentials(HealthSettings(), chance), pool(key("only")))

    assert chance.getstate() == before


def test_key_for_other_models_is_never_drawn() -> None:
    target = pool(key("other", 100.0, models=frozenset({"other"})), key("a"))

    assert set(counts(credentials(), target, count=50)) == {"a"}


def test_key_whose_rate_limit_has_too_few_tokens_is_passed_by() -> None:
    keys = credentials()
    target = pool(key("a", 100.0), key("b"))
    reading = RateLimitReading(tokens=RateLimitBucket(limit=10_000, remaining=500, reset_seconds=30.0))
    keys.read(Key("p", "a"), "m", reading, T)

    assert drawn(keys, target, needed_tokens=501) == "b"
    assert "a" in counts(keys, target, count=50)


def test_key_with_too_few_tokens_is_still_better_than_none() -> None:
    keys = credentials()
    reading = RateLimitReading(tokens=RateLimitBucket(limit=10_000, remaining=500, reset_seconds=30.0))
    keys.read(Key("p", "a"), "m", reading, T)

    assert drawn(keys, pool(key("a")), needed_tokens=501) == "a"


# Tenants.


def test_keys_of_a_tenant_come_before_those_for_all() -> None:
    target = pool(key("all", 100.0), key("acme's", 1.0, "acme"))

    assert set(counts(credentials(), target, tenant="acme", count=50)) == {"acme's"}


def test_tenant_falls_back_to_the_keys_for_all() -> None:
    keys = credentials()
    refuse(keys, "acme's")

    assert drawn(keys, pool(key("all"), key("acme's", 1.0, "acme")), tenant="acme") == "all"


def test_spare_of_a_tenant_comes_before_the_keys_for_all() -> None:
    target = pool(key("all"), key("acme's", 0.0, "acme"))

    assert drawn(credentials(), target, tenant="acme") == "acme's"


def test_key_for_two_tenants_is_shared_by_them_alone() -> None:
    target = pool(key("both", 1.0, "acme", "bolt"))
    keys = credentials()

    assert [drawn(keys, target, tenant=tenant) for tenant in ("acme", "bolt", "", "cog")] == [
        "both",
        "both",
        None,
        None,
    ]


def test_target_that_needs_no_key_is_called_without_where_none_is_the_tenants() -> None:
    target = pool(key("acme's", 1.0, "acme"), needs=False)

    assert drawn(credentials(), target) == ""
    assert drawn(credentials(), target, "") is None


def test_target_with_keys_of_tenants_only_counts_as_usable_by_somebody() -> None:
    keys = credentials()
    target = pool(key("acme's", 1.0, "acme"))

    assert keys.verdict(target, tenant="", executing=True, now=T).reason is RejectionReason.NO_CREDENTIAL
    assert keys.verdict_for_anybody(target, T).reason is None

    refuse(keys, "acme's")

    assert keys.verdict_for_anybody(target, T).reason is RejectionReason.COOLING_DOWN


LABELS = "abcdef"
keys_strategy = st.lists(
    st.builds(
        key,
        st.sampled_from(LABELS),
        st.sampled_from([0.0, 0.5, 1.0, 7.0]),
    ).flatmap(
        lambda made: st.builds(
            lambda tenants: CredentialSpec(label=made.label, weight=made.weight, tenants=tenants),
            st.frozensets(st.sampled_from(["acme", "bolt"]), max_size=2),
        )
    ),
    max_size=6,
    unique_by=lambda made: made.label,
)


@given(
    made=keys_strategy,
    tenant=st.sampled_from(["", "acme", "bolt", "cog"]),
    tried=st.frozensets(st.sampled_from(LABELS)),
    cooling=st.frozensets(st.sampled_from(LABELS)),
    seed=st.integers(0, 99),
)
def test_drawn_key_is_one_the_tenant_may_use_now_and_there_is_one_if_any_could_be(
    made: list[CredentialSpec], tenant: str, tried: frozenset[str], cooling: frozenset[str], seed: int
) -> None:
    keys = credentials(seed)
    for label in sorted(cooling):
        refuse(keys, label)
    found = drawn(keys, pool(*made), *tried, tenant=tenant)
    fit = [k for k in made if (not k.tenants or tenant in k.tenants) and k.label not in tried | cooling]
    bound = [k for k in fit if k.tenants]
    best = bound or fit
    best = [k for k in best if k.weight > 0.0] or best[:1]

    assert (found in [k.label for k in best]) if best else found is None


@given(made=keys_strategy, tenant=st.sampled_from(["", "acme", "cog"]), cooling=st.frozensets(st.sampled_from(LABELS)))
def test_verdict_and_draw_agree_on_whether_there_is_a_key(
    made: list[CredentialSpec], tenant: str, cooling: frozenset[str]
) -> None:
    keys = credentials()
    for label in sorted(cooling):
        refuse(keys, label)
    target = pool(*made)
    verdict = keys.verdict(target, tenant=tenant, executing=True, now=T)

    assert (verdict.label is None) is (drawn(keys, target, tenant=tenant) is None)


# A new secret behind a label.


@pytest.mark.parametrize("kind", [KIND.QUOTA_EXHAUSTED, KIND.RATE_LIMITED, KIND.PERMISSION_DENIED])
def test_new_secret_ends_whatever_was_held_against_the_old_one(kind: FailureKind) -> None:
    keys = credentials()
    refuse(keys, "a", kind)

    assert drawn(keys, pool(key("a"))) is None
    assert keys.changed("p", "a", T)
    assert drawn(keys, pool(key("a"))) == "a"
    assert not keys.changed("p", "a", T)


def test_new_secret_has_a_rate_limit_of_its_own() -> None:
    keys = credentials()
    used_up = RateLimitReading(requests=RateLimitBucket(limit=9, remaining=0, reset_seconds=60.0))
    keys.read(Key("p", "a"), "m", used_up, T)
    keys.read(Key("p", "b"), "m", used_up, T)
    keys.changed("p", "a", T)

    assert drawn(keys, pool(key("a"), key("b"))) == "a"


def test_new_secret_of_one_label_leaves_the_other_cooling() -> None:
    keys = credentials()
    refuse(keys, "a")
    refuse(keys, "b")
    keys.changed("p", "a", T)

    assert drawn(keys, pool(key("b"))) is None


def test_callers_key_of_the_same_label_is_not_ours() -> None:
    keys = credentials()
    keys.failure(Key("p", "a", reported=True), "m", KIND.RATE_LIMITED, retry_after_seconds=9.0, reading=None, now=T)

    assert not keys.changed("p", "a", T)
    assert drawn(keys, pool(key("a"))) == "a"


def test_old_trouble_that_has_passed_is_no_news_when_the_secret_changes() -> None:
    keys = credentials()
    refuse(keys, "a")

    assert not keys.changed("p", "a", T + 61.0)
