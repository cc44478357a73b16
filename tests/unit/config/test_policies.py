"""Policies that inherit, have shadows and are selected: what of it arrives at what decides, and what is warned of."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.config.loading import loaded, parts
from turnout_server.core.settings import Limits

PROVIDERS = """
providers:
  house:
    wire: openai
    base_url: https://llm.example.com/v1
    endpoints: [{name: eu, base_url: https://eu.example.com/v1}, {name: us, base_url: https://us.example.com/v1}]
    models: [{name: small, quality: 60}, {name: large, quality: 90}]
"""
EVERYTHING = """
  strategy: WEIGHTED
  weights: {cost: 1, latency: 2, availability: 3, quality: 4, priority: 5}
  preferences: [house/large]
  shares: {house/small: 9, house/large: 1}
  tasks: {chat: {pro: [house/small], any: [house/large]}}
  limits: {max_cost_usd: 0.5, max_latency_seconds: 6, min_availability: 0.7, min_quality: 8}
  regions: [eu]
  failover_on_refusal: true
  wait_for_preferred_seconds: 11
  quality_floor: 12
  mid_stream: RESTART
  hedge: {enabled: true}
  trim: {enabled: true}
  cache: {enabled: true, ttl_seconds: 9}
  built_in_tables: false
  failover: {max_attempts: 2, idle_timeout_seconds: 7}
"""


def with_policies(text: str) -> str:
    indented = "\n".join(f"    {line}" for line in text.strip("\n").splitlines())
    return f"{PROVIDERS}\nrouting:\n  policies:\n{indented}"


def warned(folder: Path, policies: str) -> list[str]:
    told = loaded(folder, f"{PROVIDERS}\nrouting: {{policies: {{{policies}}}}}").warnings
    return [warning for warning in told if warning.startswith("routing.policies")]


def test_a_policy_that_says_nothing_is_in_everything_as_the_one_it_inherits_from(tmp_path: Path) -> None:
    text = f"base:{EVERYTHING}heir: {{inherits: base}}\nheirs_heir: {{inherits: heir}}"
    policies = parts(tmp_path, with_policies(text)).settings.routing.policies
    base = policies["base"]

    assert base.failover is not None
    assert (base.failover.max_attempts, base.limits.min_quality, base.mid_stream.value) == (2, 8, "RESTART")
    assert policies["heir"] == replace(base, name="heir")
    assert policies["heirs_heir"] == replace(base, name="heirs_heir")


def test_blocks_are_laid_over_key_by_key_and_tables_and_lists_whole(tmp_path: Path) -> None:
    own = "heir: {inherits: base, limits: {min_quality: 50}, failover: {max_attempts: 5}, shares: {house/large: 1}, "
    own += "tasks: {planning: {any: [house/large]}}}"
    heir = parts(tmp_path, with_policies(f"base:{EVERYTHING}{own}")).settings.routing.policies["heir"]

    assert heir.limits == Limits(max_cost_usd=0.5, max_latency_seconds=6, min_availability=0.7, min_quality=50)
    assert heir.failover is not None
    assert (heir.failover.max_attempts, heir.failover.idle_timeout_seconds) == (5, 7)
    assert (dict(heir.shares), list(heir.tasks)) == ({"house/large": 1}, ["planning"])


def test_a_shadow_is_of_the_policy_that_names_it_alone(tmp_path: Path) -> None:
    text = "default: {shadow_policy: next}\nnext: {inherits: default, strategy: COST}\nother: {inherits: default}"
    policies = parts(tmp_path, with_policies(text)).settings.routing.policies

    assert {name: policy.shadow_policy for name, policy in policies.items()} == {
        "default": "next",
        "next": "",
        "other": "",
    }


@pytest.mark.parametrize(
    ("policies", "told"),
    [
        ("default: {limits: {min_quality: 90}}", []),
        (
            "default: {limits: {min_quality: 91}}",
            ["limits.min_quality: nobody has 91; the best is house/large with 90"],
        ),
        ("default: {limits: {min_quality: 61}, preferences: [house/large]}", []),
        (
            "default: {limits: {min_quality: 61}, preferences: [house/small@eu, house/large]}",
            ["default: house/small@eu is never used, since its quality is 60 and limits.min_quality is 61"],
        ),
        ("p: {limits: {min_quality: 61}}, q: {inherits: p, shares: {house/small: 1}}", ["policies.q: house/small is"]),
        ("default: {limits: {min_quality: 61}, preferences: [house, anthropic/claude-haiku-4-5]}", []),
    ],
)
def test_what_a_policys_least_quality_rules_out_by_mistake_is_warned_of(
    tmp_path: Path, policies: str, told: list[str]
) -> None:
    warnings = [warning for warning in warned(tmp_path, policies) if "passed over" not in warning]

    assert len(told) == len(warnings)
    assert all(words in warning for words, warning in zip(told, warnings, strict=True))


def test_rows_that_are_each_reached_are_no_fault(tmp_path: Path) -> None:
    rows = "{when: {tenant: a, task: x}, policy: default}, {when: {tenant: a}, policy: default}, "
    rows += "{when: {label: k=v}, policy: default}, {when: {label: k=w}, policy: default}, {policy: default}"

    assert len(parts(tmp_path, f"routing: {{select: [{rows}]}}").settings.routing.select) == 5


def test_rows_that_bind_come_first_whatever_their_place_and_say_it(tmp_path: Path) -> None:
    rows = "{when: {tenant: a, task: x}, policy: default, binding: true}, {when: {task: y}, policy: default}, "
    rows += "{when: {tenant: a}, policy: default, binding: true}"
    select = parts(tmp_path, f"routing: {{select: [{rows}]}}").settings.routing.select

    assert [each.rule for each in select if each.binding] == [each.rule for each in select[:2]]
    assert [each.task for each in select] == ["x", "", "y"]


def test_row_that_binds_by_what_callers_say_as_they_like_is_warned_of(tmp_path: Path) -> None:
    rows = "{when: {tenant: a}, policy: default, binding: true}, "
    rows += "{when: {task: x, label: k=v}, policy: default, binding: true}, {when: {task: y}, policy: default}"
    told = [each for each in loaded(tmp_path, f"routing: {{select: [{rows}]}}").warnings if "routing.select" in each]

    assert len(told) == 1
    assert told[0].startswith("routing.select[1]: binds by task and label, which callers say as they like")


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ("{name: small}", ".limits.min_quality: nobody has 50; the quality of none is known"),
        (
            "{name: small}, {name: large, quality: 90}",
            ": house/small is never used, since its quality is unknown and limits.min_quality is 50",
        ),
    ],
)
def test_a_quality_that_is_not_known_is_not_told_as_0(tmp_path: Path, models: str, told: str) -> None:
    text = (
        f"providers: {{house: {{wire: openai, base_url: 'https://llm.example.com/v1', models: [{models}]}}}}\n"
        "routing: {policies: {default: {limits: {min_quality: 50}, preferences: [house/small]}}}"
    )
    warnings = [warning for warning in loaded(tmp_path, text).warnings if "quality" in warning]

    assert f"routing.policies.default{told}" in warnings
