"""Every key of the routing block arrives at what decides: none is read and then lost."""

from pathlib import Path

from tests.unit.config.loading import loaded, parts
from turnout_server.config.built_in_tables import BUILT_IN_TABLES
from turnout_server.core.model import MidStreamPolicy, Strategy, Weights
from turnout_server.core.settings import Limits, NearEqual, Policy, PolicySelector, QualityFloor, RoutingSettings

TEXT = """
providers:
  house-llm:
    wire: openai
    base_url: https://llm.example.com/v1
    models: [{name: small}, {name: large}]
routing:
  default_policy: house
  near_equal: {margin: 0.07, cold_margin: 0.22, cold_samples: 9}
  plan_valid_seconds: 3
  select: [{when: {tenant: acme, task: chat, tier: pro, label: team=blue}, policy: house}]
  policies:
    house:
      strategy: WEIGHTED
      weights: {cost: 1, latency: 2, availability: 3, quality: 4, priority: 5}
      preferences: [house-llm/large]
      shares: {house-llm/small: 9, house-llm/large: 1}
      tasks: {chat: {pro: [house-llm/small], any: [house-llm/large]}}
      limits: {max_cost_usd: 0.5, max_latency_seconds: 6, min_availability: 0.7, min_quality: 8}
      failover_on_refusal: true
      wait_for_preferred_seconds: 11
      quality_floor: 12
      mid_stream: RESTART
      hedge: {enabled: true}
      shadow_policy: default
  tiers: {pro: {max_cost_usd: 0.2}, staff: {max_cost_usd: null}}
"""


def routing(folder: Path) -> RoutingSettings:
    return parts(folder, TEXT).settings.routing


def test_keys_of_the_routing_block_arrive(tmp_path: Path) -> None:
    found = routing(tmp_path)

    assert (found.default_policy, found.plan_valid_seconds) == ("house", 3.0)
    assert found.near_equal == NearEqual(margin=0.07, cold_margin=0.22, cold_samples=9)
    assert found.select == (
        PolicySelector(
            policy="house",
            tenant="acme",
            task="chat",
            tier="pro",
            label=("team", "blue"),
            rule="routing.select[0] (tenant acme, task chat, tier pro, label team=blue)",
        ),
    )
    assert dict(found.tiers) == {"pro": 0.2, "staff": None}


def test_keys_of_a_policy_arrive(tmp_path: Path) -> None:
    assert routing(tmp_path).policies["house"] == Policy(
        name="house",
        strategy=Strategy.WEIGHTED,
        weights=Weights(cost=1, latency=2, availability=3, quality=4, priority=5),
        preferences=("house-llm/large",),
        shares={"house-llm/small": 9, "house-llm/large": 1},
        tasks={"chat": {"pro": ("house-llm/small",), "any": ("house-llm/large",)}},
        built_in_tables=BUILT_IN_TABLES,
        limits=Limits(max_cost_usd=0.5, max_latency_seconds=6, min_availability=0.7, min_quality=8),
        quality_floor=QualityFloor(auto=False, value=12),
        failover_on_refusal=True,
        wait_for_preferred_seconds=11,
        mid_stream=MidStreamPolicy.RESTART,
        hedge=True,
        shadow_policy="default",
    )


def test_what_is_drained_arrives(tmp_path: Path) -> None:
    text = TEXT.replace("routing:\n", "routing:\n  drained: [house-llm/small]\n")

    assert parts(tmp_path, text).settings.drained == ("house-llm/small",)


def test_a_drained_vendor_that_is_not_set_up_is_warned_of(tmp_path: Path) -> None:
    text = TEXT.replace("routing:\n", "routing:\n  drained: [anthropic]\n")

    assert "routing.drained: anthropic is passed over: no provider anthropic is configured" in (
        loaded(tmp_path, text).warnings
    )


def test_an_order_that_names_nobody_is_warned_of_and_vendors_that_are_not_set_up_are_not(tmp_path: Path) -> None:
    text = TEXT.replace("routing:\n", "routing:\n  provider_order: [anthropic, house-lmm, house-llm]\n")
    told = [warning for warning in loaded(tmp_path, text).warnings if "provider_order" in warning]

    assert told == ['routing.provider_order: no provider "house-lmm"; did you mean "house-llm"?']
