"""What the parts are built from: fleet, keys, policies and failover settings follow from file and environment."""

from pathlib import Path

import pytest

from tests.unit.config.loading import loaded, parts
from turnout_server.config.build import build, policy_version
from turnout_server.config.load import load
from turnout_server.core.fleet import Prefill, TargetSpec
from turnout_server.core.model import Capability, Target
from turnout_server.core.settings import PRESETS, CacheSettings, FailoverSettings, Preset, QualityFloor

CUSTOM = """
providers:
  house-llm:
    wire: openai
    base_url: http://127.0.0.1:9000/v1/
    allow_insecure: true
    allow_private: true
    region: eu
    max_concurrency: 3
    models:
      - name: small
        context_window_tokens: 200000
        max_output_tokens: 8192
        price: {input_per_million_usd: 0.2, output_per_million_usd: 0.6, cached_input_per_million_usd: 0.05}
        capabilities: [streaming, TOOLS, VISION, DOCUMENTS]
        quality: 70
        latency_prior_seconds: 0.4
"""


def spec_of(specs: tuple[TargetSpec, ...], name: str) -> TargetSpec:
    return next(spec for spec in specs if spec.name == name)


def failover(folder: Path, text: str) -> FailoverSettings:
    return parts(folder, text).settings.failover


def test_key_in_the_environment_switches_its_provider_on_without_a_file() -> None:
    environ = {"ANTHROPIC_API_KEY": "planted"}

    built = build(load(None, environ).configuration, environ)

    assert built.fleet.providers == ("anthropic",)


def test_file_that_names_providers_has_the_last_word(tmp_path: Path) -> None:
    built = parts(tmp_path, "providers: {openai: {}}", {"ANTHROPIC_API_KEY": "planted"})

    assert built.fleet.providers == ("openai",)


def test_file_without_providers_leaves_them_to_the_environment(tmp_path: Path) -> None:
    built = parts(tmp_path, "drain_seconds: 1", {"OPENAI_API_KEY": "planted"})

    assert built.fleet.providers == ("openai",)


def test_known_provider_without_a_key_needs_one() -> None:
    built = build(load(None, {"TURNOUT_PROVIDERS": "{openai: {}}"}).configuration, {})

    assert [(True, ())] == list({(spec.needs_credential, spec.credentials) for spec in built.fleet.specs})


def test_custom_provider_is_built_from_its_rows(tmp_path: Path) -> None:
    (spec,) = parts(tmp_path, CUSTOM).fleet.specs

    assert spec.target == Target("house-llm", "small")
    assert spec.base_url == "http://127.0.0.1:9000/v1"
    assert (spec.region, spec.max_concurrency, spec.needs_credential) == ("eu", 3, False)
    assert (spec.context_window_tokens, spec.max_output_tokens) == (200_000, 8192)
    assert spec.price is not None
    assert (spec.price.input_per_million, spec.price.cached_input_per_million) == (200_000_000, 50_000_000)
    assert spec.price.cache_write_per_million is None
    assert Capability.LONG_CONTEXT in spec.capabilities
    assert spec.url_capabilities == {Capability.VISION}


def test_target_knows_whether_its_model_takes_a_prefill(tmp_path: Path) -> None:
    environ = {"ANTHROPIC_API_KEY": "a-key", "MISTRAL_API_KEY": "m-key", "GEMINI_API_KEY": "g-key"}
    specs = build(load(None, environ).configuration, environ).fleet.specs
    known = {spec.target.provider: set[Prefill]() for spec in specs}
    for spec in specs:
        known[spec.target.provider].add(spec.prefill)
    (own,) = parts(tmp_path, CUSTOM).fleet.specs

    assert {Prefill.REFUSED, Prefill.TAKEN_WITHOUT_THINKING} == known["anthropic"]
    assert {Prefill.REFUSED} == known["mistral"]
    assert {Prefill.REFUSED, Prefill.TAKEN} <= known["google"]
    assert Prefill.UNKNOWN is own.prefill


def test_media_that_a_wire_cannot_carry_are_no_capability(tmp_path: Path) -> None:
    text = CUSTOM.replace("wire: openai", "wire: anthropic").replace("DOCUMENTS", "AUDIO")

    (spec,) = parts(tmp_path, text).fleet.specs

    assert Capability.AUDIO not in spec.capabilities


def test_endpoints_replace_the_base_target_and_the_model_name_means_all_of_them(tmp_path: Path) -> None:
    fleet = parts(
        tmp_path,
        """
        providers:
          openai:
            enabled_models: [gpt-4o]
            endpoints:
              - {name: eu, region: eu, base_url: "https://eu.example.com/v1"}
              - {name: us, region: us}
        """,
    ).fleet

    assert [(spec.name, spec.region, spec.base_url) for spec in fleet.specs] == [
        ("openai/gpt-4o@eu", "eu", "https://eu.example.com/v1"),
        ("openai/gpt-4o@us", "us", "https://us.api.openai.com/v1"),
    ]
    assert len(fleet.resolve("openai/gpt-4o")) == 2


def test_own_row_is_laid_over_the_catalogs(tmp_path: Path) -> None:
    text = "providers: {openai: {models: [{name: gpt-4o, quality: 50}, {name: ft-mine, quality: 60}]}}"

    specs = parts(tmp_path, text).fleet.specs

    changed = spec_of(specs, "openai/gpt-4o")
    assert (changed.quality, changed.context_window_tokens) == (50, 128_000)
    assert spec_of(specs, "openai/ft-mine").quality == 60


def test_keys_are_used_in_the_order_pool_file_variable_usual_variable(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("planted")
    text = f"""
    providers:
      openai:
        api_key_file: {key}
        api_key_env: MY_KEY
        credentials:
          - {{name: main, api_key_file: {key}}}
          - {{name: acme, api_key_env: ACME_KEY, tenants: [acme], models: [gpt-4o]}}
          - {{name: unset, api_key_env: NOT_SET}}
    """
    environ = {"MY_KEY": "planted", "ACME_KEY": "planted", "OPENAI_API_KEY": "planted"}

    built = parts(tmp_path, text, environ)

    labels = [credential.label for credential in built.fleet.specs[0].credentials]
    assert labels == ["main", "acme", "api_key_file", "MY_KEY", "OPENAI_API_KEY"]
    assert list(built.connections[0].credentials) == labels
    assert built.fleet.specs[0].credentials[1].tenants == {"acme"}


def test_variable_that_is_not_set_is_no_key_and_warns(tmp_path: Path) -> None:
    found = loaded(tmp_path, "providers: {openai: {api_key_env: MY_KEY}}")

    assert any("MY_KEY is not set" in warning for warning in found.warnings)
    assert build(found.configuration, {}).fleet.specs[0].credentials == ()


def test_no_secret_stands_in_what_is_built(tmp_path: Path) -> None:
    text = CUSTOM.replace("region: eu", "proxy_url: http://user:planted@proxy.example.com\n    api_key_env: MY_KEY")
    environ = {"MY_KEY": "planted"}

    found = loaded(tmp_path, text, environ)

    assert "planted" not in repr(found)
    assert "planted" not in repr(build(found.configuration, environ))
    assert build(found.configuration, environ).connections[0].proxy_url == "http://user:planted@proxy.example.com"


def test_priority_order_is_the_operators_then_the_usual_one_then_custom_then_ollama(tmp_path: Path) -> None:
    custom = "{wire: openai, base_url: 'https://x.example.com/v1', models: [{name: m}]}"
    text = f"""
    providers:
      {{ollama: {{models: [{{name: m}}]}}, house: {custom}, groq: {{}}, openai: {{}}, anthropic: {{}}, other: {custom}}}
    routing: {{provider_order: [groq]}}
    """

    specs = parts(tmp_path, text).fleet.specs

    ranks = {spec.target.provider: spec.provider_rank for spec in specs}
    assert sorted(ranks, key=ranks.__getitem__) == ["groq", "anthropic", "openai", "house", "other", "ollama"]


def test_preset_fills_what_is_not_given(tmp_path: Path) -> None:
    breaker = failover(tmp_path, "failover: {preset: aggressive, open_seconds: 4}").breaker

    preset = PRESETS[Preset.AGGRESSIVE]
    assert (breaker.consecutive_failures, breaker.recovery_successes) == (
        preset.consecutive_failures,
        preset.recovery_successes,
    )
    assert (breaker.open_seconds, breaker.open_max_seconds) == (4, preset.open_max_seconds)


def test_opening_longer_than_the_presets_longest_lifts_it(tmp_path: Path) -> None:
    breaker = failover(tmp_path, "failover: {open_seconds: 100}").breaker

    assert breaker.open_max_seconds == 100


def test_every_failover_key_reaches_the_settings(tmp_path: Path) -> None:
    text = """
    failover:
      consecutive_failures: 7
      open_seconds: 8
      open_max_seconds: 9
      recovery_successes: 6
      failure_ratio: 0.6
      ramp_seconds: 11
      suspect: {attempts: 12, seconds: 13}
      max_attempts: 14
      retry_budget_ratio: 0.15
      backoff: {kind: linear, base_seconds: 0.16, max_seconds: 17}
      first_token_timeout_seconds: 18
      idle_timeout_seconds: 19
      connect_timeout_seconds: 20
      request_timeout_seconds: 21
      stream_max_seconds: 22
    routing: {metrics_window: 23}
    """

    found = failover(tmp_path, text)

    breaker, health = found.breaker, found.health
    assert (breaker.consecutive_failures, breaker.open_seconds, breaker.open_max_seconds) == (7, 8, 9)
    assert (breaker.recovery_successes, breaker.failure_ratio, breaker.ramp_seconds) == (6, 0.6, 11)
    assert (health.suspect_attempts, health.suspect_seconds, health.window_outcomes) == (12, 13, 23)
    assert (found.max_attempts, found.retry_budget_ratio) == (14, 0.15)
    assert (found.backoff.kind.value, found.backoff.base_seconds, found.backoff.max_seconds) == ("linear", 0.16, 17)
    assert (found.first_token_timeout_seconds, found.idle_timeout_seconds) == (18, 19)
    assert (found.connect_timeout_seconds, found.request_timeout_seconds, found.stream_max_seconds) == (20, 21, 22)


def test_policy_inherits_what_it_does_not_say_key_by_key(tmp_path: Path) -> None:
    text = """
    providers: {openai: {}}
    routing:
      policies:
        base: {strategy: COST, weights: {cost: 0.9, latency: 0.1}, preferences: [openai/gpt-4o], mid_stream: RESTART}
        fast: {inherits: base, strategy: LATENCY, weights: {cost: 0.2}}
        faster: {inherits: fast, mid_stream: FAIL}
    """

    policy = parts(tmp_path, text).settings.routing.policies["faster"]

    assert (policy.strategy.value, policy.mid_stream.value) == ("LATENCY", "FAIL")
    assert (policy.weights.cost, policy.weights.latency) == (0.2, 0.1)
    assert policy.preferences == ("openai/gpt-4o",)


def test_failover_of_a_policy_stands_in_for_the_global_block(tmp_path: Path) -> None:
    text = """
    failover: {max_attempts: 3, idle_timeout_seconds: 9}
    routing: {policies: {fast: {failover: {max_attempts: 2}}}}
    """

    policies = parts(tmp_path, text).settings.routing.policies

    assert policies["default"].failover is None
    fast = policies["fast"].failover
    assert fast is not None
    assert (fast.max_attempts, fast.idle_timeout_seconds) == (2, 9)


@pytest.mark.parametrize(
    ("text", "floor"),
    [
        ("auto", QualityFloor(auto=True)),
        ("none", QualityFloor(auto=False, value=None)),
        ("72.5", QualityFloor(auto=False, value=72.5)),
        ("0", QualityFloor(auto=False, value=0.0)),
    ],
)
def test_quality_floor_is_auto_none_or_a_number(tmp_path: Path, text: str, floor: QualityFloor) -> None:
    built = parts(tmp_path, f"routing: {{policies: {{default: {{quality_floor: {text}}}}}}}")

    assert built.settings.routing.policies["default"].quality_floor == floor


def test_selector_carries_its_conditions(tmp_path: Path) -> None:
    text = "routing: {select: [{when: {tenant: acme, label: team=core}, policy: default}]}"

    (selector,) = parts(tmp_path, text).settings.routing.select

    assert (selector.tenant, selector.label, selector.policy) == ("acme", ("team", "core"), "default")


def test_policy_version_changes_with_routing_and_failover_and_with_nothing_else(tmp_path: Path) -> None:
    versions = [
        policy_version(loaded(tmp_path, text).configuration)
        for text in (
            "",
            "drain_seconds: 3",
            "{providers: {openai: {}}, routing: {drained: [openai/gpt-4o]}}",
            "routing: {plan_valid_seconds: 6}",
            "failover: {max_attempts: 2}",
        )
    ]

    assert versions[0] == versions[1] == versions[2]
    assert len(set(versions)) == 3
    assert all(len(version) == 12 for version in versions)


def test_history_is_bounded_in_bytes(tmp_path: Path) -> None:
    assert parts(tmp_path, "history: {max_mib: 2}").settings.history_max_bytes == 2 * 1024 * 1024


def test_a_policy_keeps_answers_and_leaves_turns_out_only_where_it_says_so(tmp_path: Path) -> None:
    text = """
    routing:
      policies:
        plain: {}
        base: {cache: {enabled: true, max_entries: 5, ttl_seconds: 60, any_temperature: true}, trim: {enabled: true}}
        heir: {inherits: base, cache: {ttl_seconds: 7}}
        tuned: {cache: {max_entries: 5}}
    """
    policies = parts(tmp_path, text).settings.routing.policies

    assert {name: (policy.cache, policy.trim) for name, policy in policies.items()} == {
        "default": (None, False),
        "plain": (None, False),
        "base": (CacheSettings(max_entries=5, ttl_seconds=60.0, any_temperature=True), True),
        "heir": (CacheSettings(max_entries=5, ttl_seconds=7.0, any_temperature=True), True),
        "tuned": (None, False),
    }


def test_what_protects_targets_that_refuse_calls_can_be_changed_and_switched_off(tmp_path: Path) -> None:
    changed = parts(tmp_path, "failover: {throttle_multiplier: 1.5, adaptive_concurrency: false}").settings.failover
    off = parts(tmp_path, "failover: {throttle_multiplier: null}").settings.failover

    assert (changed.pressure.throttle_multiplier, changed.pressure.adaptive_concurrency) == (1.5, False)
    assert (off.pressure.throttle_multiplier, off.pressure.adaptive_concurrency) == (None, True)
