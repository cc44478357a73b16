"""What is said at run time and what files say, in any order: for each value the latest word holds."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.config.check import check, warnings_of
from turnout_server.config.run_time import RunTime
from turnout_server.config.schema import Configuration
from turnout_server.core.changing import ModelFacts, ProviderFacts, RoutingChange
from turnout_server.core.model import Strategy
from turnout_server.core.settings import Preset

STRATEGIES = (Strategy.COST, Strategy.LATENCY, Strategy.QUALITY)
PRESETS = (Preset.AGGRESSIVE, Preset.BALANCED, Preset.CONSERVATIVE)
FIELDS = ("strategy", "failover_preset", "default_policy")


def file(
    strategy: Strategy | None, preset: Preset, default_policy: str, *, open_seconds: float | None = None
) -> Configuration:
    own: dict[str, Any] = {} if strategy is None else {"strategy": strategy}
    return Configuration.model_validate(
        {
            "providers": {},
            "routing": {"default_policy": default_policy, "policies": {"default": own, "other": {}}},
            "failover": {"preset": preset, "open_seconds": open_seconds},
        }
    )


FILES = st.builds(
    file, st.sampled_from((None, *STRATEGIES)), st.sampled_from(PRESETS), st.sampled_from(("default", "other"))
)
CHANGES = st.builds(
    RoutingChange,
    policy=st.just("default"),
    strategy=st.sampled_from((None, *STRATEGIES)),
    failover_preset=st.sampled_from((None, *PRESETS)),
    default_policy=st.sampled_from(("", "default", "other")),
)
UNDONE = st.builds(RoutingChange, policy=st.just("default"), given_back=st.frozensets(st.sampled_from(FIELDS)))


def values(configuration: Configuration) -> dict[str, object]:
    return {
        "strategy": configuration.routing.policies["default"].strategy,
        "failover_preset": configuration.failover.preset,
        "default_policy": configuration.routing.default_policy,
    }


def said(configuration: Configuration) -> dict[str, object]:
    """What a file says, and of the strategy whether it says anything: a policy may inherit it."""
    policy = configuration.routing.policies["default"]
    return {**values(configuration), "strategy": policy.strategy if "strategy" in policy.model_fields_set else None}


@given(first=FILES, steps=st.lists(FILES | CHANGES | UNDONE, max_size=12))
def test_the_latest_word_on_each_value_holds(first: Configuration, steps: list[Configuration | RoutingChange]) -> None:
    present, run_time, own = first, RunTime(), dict[str, object]()
    for step in steps:
        if isinstance(step, Configuration):
            before, after = said(present), said(step)
            own = {name: value for name, value in own.items() if before[name] == after[name]}
            run_time, present = run_time.following(step, {}), step
        else:
            run_time = run_time.with_routing(step, present)
            given_now = {name: getattr(step, name) for name in FIELDS if getattr(step, name)}
            own = {name: value for name, value in own.items() if name not in step.given_back} | given_now
        in_force = run_time.laid_over(present, {})

        assert values(in_force) == {**values(present), **own}
        # It is the file itself again where nothing is left.
        assert own or in_force == present


def test_a_file_that_gives_a_breaker_s_value_of_its_own_has_the_later_word_on_the_preset() -> None:
    before = file(None, Preset.BALANCED, "default")
    changed = RunTime().with_routing(RoutingChange(policy="default", failover_preset=Preset.AGGRESSIVE), before)
    after = file(None, Preset.BALANCED, "default", open_seconds=7.0)
    later = changed.following(after, {})

    assert later.laid_over(after, {}) == after
    assert changed.undone_in(later) == (("failover", "preset"),)
    assert changed.laid_over(after, {}).failover.open_seconds is None


def test_a_change_of_a_policy_that_is_gone_is_gone() -> None:
    before = file(None, Preset.BALANCED, "default")
    changed = RunTime().with_routing(RoutingChange(policy="other", strategy=Strategy.COST), before)
    after = Configuration.model_validate({"providers": {}, "routing": {"policies": {}}})

    assert changed.following(after, {}).is_empty


HOUSE = ProviderFacts(
    name="house", wire="openai", base_url="https://llm.example.com/v1", models=(ModelFacts(name="m"),), credential="key"
)
LEAVE: dict[str, Any] = {
    "allow_register": True,
    "allowed_hosts": ["LLM.example.com"],
    "credentials": [{"name": "key", "api_key_env": "KEY"}],
}


@pytest.mark.parametrize(
    ("admin", "providers", "environ", "stays"),
    [
        (LEAVE, {}, {"KEY": "k"}, True),
        ({**LEAVE, "allowed_hosts": ["llm.example.com:443"]}, {}, {"KEY": "k"}, True),
        ({**LEAVE, "allowed_hosts": ["llm.example.com:8443"]}, {}, {"KEY": "k"}, False),
        ({**LEAVE, "allowed_hosts": ["example.com"]}, {}, {"KEY": "k"}, False),
        ({**LEAVE, "credentials": []}, {}, {"KEY": "k"}, False),
        ({**LEAVE, "allow_register": False}, {}, {"KEY": "k"}, False),
        (LEAVE, {"house": {"wire": "openai"}}, {"KEY": "k"}, False),
        (LEAVE, {}, {"KEY": " "}, False),
    ],
)
def test_a_registration_stays_as_long_as_the_file_allows_it(
    admin: dict[str, Any],
    providers: dict[str, Any],
    environ: dict[str, str],
    stays: bool,  # noqa: FBT001 - a row's value
) -> None:
    configuration = Configuration.model_validate({"admin": admin, "providers": providers})
    registered = RunTime().with_provider(HOUSE)

    assert bool(registered.following(configuration, environ).providers) is stays


def test_a_port_that_is_none_is_not_the_usual_one() -> None:
    admin = {**LEAVE, "allowed_hosts": ["llm.example.com:443"]}
    configuration = Configuration.model_validate({"admin": admin, "providers": {}})
    nowhere = dataclasses.replace(HOUSE, base_url="https://llm.example.com:0/v1")

    assert RunTime().with_provider(HOUSE).following(configuration, {"KEY": "k"}).providers
    assert not RunTime().with_provider(nowhere).following(configuration, {"KEY": "k"}).providers


def test_without_a_block_of_providers_those_of_the_environment_stay_beside_it() -> None:
    configuration = Configuration.model_validate({"admin": LEAVE})
    environ = {"KEY": "k", "OPENAI_API_KEY": "planted"}
    laid = RunTime().with_provider(HOUSE).laid_over(configuration, environ)

    assert list(laid.providers) == ["openai", "house"]
    assert not list(check(laid, environ, files=False))


@pytest.mark.parametrize(
    ("admin", "path"),
    [
        ({"allow_register": True}, ("admin", "allowed_hosts")),
        ({"allowed_hosts": ["https://a.example"]}, ("admin", "allowed_hosts", 0)),
        ({"allowed_hosts": ["*.a.example"]}, ("admin", "allowed_hosts", 0)),
        ({"allowed_hosts": ["a.example:99999"]}, ("admin", "allowed_hosts", 0)),
        ({"credentials": [{"name": "a"}]}, ("admin", "credentials", 0)),
        ({"credentials": [{"name": "a", "api_key_env": "A"}] * 2}, ("admin", "credentials", 1, "name")),
    ],
)
def test_faults_of_the_admin_block_are_told_by_their_path(admin: dict[str, Any], path: tuple[str | int, ...]) -> None:
    configuration = Configuration.model_validate({"providers": {}, "admin": admin})

    assert [where for where, _ in check(configuration, {}, files=False)] == [path]


def test_registering_without_tokens_is_warned_of() -> None:
    without = Configuration.model_validate({"admin": LEAVE})
    tokens = {"auth": {"tokens": [{"token_env": "ADMIN", "role": "admin"}]}}
    with_tokens = Configuration.model_validate({"admin": LEAVE, "listen": tokens})

    assert [each for each in warnings_of(without, {}) if "everybody on this machine can register" in each]
    assert not [each for each in warnings_of(with_tokens, {}) if "register" in each]
