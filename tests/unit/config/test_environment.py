"""The environment beats the file, names providers in its own spelling, and never trips over what is not ours."""

from pathlib import Path

import pytest

from tests.unit.config.loading import loaded, parts
from turnout_server.config.faults import ConfigurationError
from turnout_server.config.load import load
from turnout_server.config.providers import resolved_providers
from turnout_server.core.model import Strategy

HOUSE = """
providers:
  house-llm:
    wire: openai
    base_url: https://llm.example.com/v1
    models: [{name: small}]
"""


def test_variable_beats_the_file(tmp_path: Path) -> None:
    found = loaded(tmp_path, "drain_seconds: 10", {"TURNOUT_DRAIN_SECONDS": "3.5"})

    assert found.configuration.drain_seconds == 3.5


def test_path_in_full_sets_a_value_deep_down() -> None:
    found = load(None, {"TURNOUT_ROUTING__POLICIES__DEFAULT__STRATEGY": "cost"})

    assert found.configuration.routing.policies["default"].strategy is Strategy.COST


@pytest.mark.parametrize(
    ("variable", "text", "path"),
    [
        ("TURNOUT_STRATEGY", "LATENCY", "routing.policies.default.strategy"),
        ("TURNOUT_COST_WEIGHT", "0.7", "routing.policies.default.weights.cost"),
        ("TURNOUT_LATENCY_WEIGHT", "0.7", "routing.policies.default.weights.latency"),
        ("TURNOUT_AVAILABILITY_WEIGHT", "0.7", "routing.policies.default.weights.availability"),
        ("TURNOUT_HEALTH_CHECK_INTERVAL", "15", "checks.interval_seconds"),
        ("TURNOUT_METRICS_WINDOW", "50", "routing.metrics_window"),
        ("TURNOUT_LOG_LEVEL", "debug", "telemetry.log_level"),
    ],
)
def test_short_form_sets_its_value(variable: str, text: str, path: str) -> None:
    value: object = load(None, {variable: text}).configuration
    for key in path.split("."):
        value = value[key] if isinstance(value, dict) else getattr(value, key)

    assert str(value).removesuffix(".0") == text


def test_short_form_of_a_policy_means_the_default_policy(tmp_path: Path) -> None:
    text = "routing: {default_policy: fast, policies: {fast: {}}}"

    found = loaded(tmp_path, text, {"TURNOUT_STRATEGY": "COST"}).configuration.routing.policies

    assert [Strategy.COST] == [found["fast"].strategy]


def test_short_form_does_not_make_a_default_policy_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match='no policy "fsat"'):
        loaded(tmp_path, "routing: {default_policy: fsat}", {"TURNOUT_STRATEGY": "COST"})


def test_path_in_full_beats_the_short_form() -> None:
    environ = {"TURNOUT_STRATEGY": "COST", "TURNOUT_ROUTING__POLICIES__DEFAULT__STRATEGY": "QUALITY"}

    assert load(None, environ).configuration.routing.policies["default"].strategy is Strategy.QUALITY


def test_underscore_stands_for_a_hyphen_in_names_of_providers(tmp_path: Path) -> None:
    found = loaded(tmp_path, HOUSE, {"TURNOUT_PROVIDERS__HOUSE_LLM__MAX_CONCURRENCY": "7"})

    assert found.configuration.providers["house-llm"].max_concurrency == 7


def test_whole_provider_can_come_from_the_environment() -> None:
    environ = {
        "TURNOUT_PROVIDERS__MY_LLM__WIRE": "openai",
        "TURNOUT_PROVIDERS__MY_LLM__BASE_URL": "https://llm.example.com/v1",
        "TURNOUT_PROVIDERS__MY_LLM__MODELS": "[{name: small, quality: 60}]",
    }

    assert load(None, environ).configuration.providers["my-llm"].models[0].quality == 60


def test_list_of_names_is_separated_by_commas() -> None:
    found = load(None, {"TURNOUT_ROUTING__PROVIDER_ORDER": "openai, anthropic"})

    assert found.configuration.routing.provider_order == ("openai", "anthropic")


def test_null_stands_for_no_value() -> None:
    found = load(None, {"TURNOUT_FAILOVER__OPEN_SECONDS": "null"})

    assert found.configuration.failover.open_seconds is None


def test_empty_text_is_a_value_where_text_is_wanted_and_nothing_elsewhere() -> None:
    found = load(None, {"TURNOUT_HEALTH__ADDRESS": "", "TURNOUT_DRAIN_SECONDS": ""}).configuration

    assert (found.health.address, found.drain_seconds) == ("", 25)


def test_unknown_variable_only_warns_and_names_the_nearest_key() -> None:
    warnings = load(None, {"TURNOUT_DRAIN_SECOND": "3"}).warnings

    assert any("TURNOUT_DRAIN_SECOND" in one and 'did you mean "drain_seconds"?' in one for one in warnings)


@pytest.mark.parametrize(
    "variable",
    [
        "TURNOUT_ADDRESS",
        "TURNOUT_TOKEN",
        "TURNOUT_TOKEN_FILE",
        "TURNOUT_CA_FILE",
        "TURNOUT_CERT_FILE",
        "TURNOUT_KEY_FILE",
        "TURNOUT_SERVER_NAME",
        "TURNOUT_TOOLS",
        "TURNOUT_PORT",
        "TURNOUT_PORT_50151_TCP_ADDR",
        "TURNOUT_SERVICE_HOST",
        "TURNOUT_SERVICE_PORT_GRPC",
    ],
)
def test_variable_that_is_never_configuration_is_passed_over_in_silence(variable: str) -> None:
    without, having = load(None, {}), load(None, {variable: "tcp://10.0.0.1:50151"})

    assert without == having


def test_fault_of_a_variable_names_the_variable() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(None, {"TURNOUT_FAILOVER__MAX_ATTEMPTS": "many"})

    (fault,) = caught.value.faults

    assert fault.origin == "TURNOUT_FAILOVER__MAX_ATTEMPTS"


def test_turnout_config_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text("drain_seconds: 1")

    assert load(None, {"TURNOUT_CONFIG": str(file)}).configuration.drain_seconds == 1


def test_missing_file_is_one_fault() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load("/nonexistent/turnout.yaml", {})

    assert ["/nonexistent/turnout.yaml: the file cannot be read: No such file or directory"] == [
        str(fault) for fault in caught.value.faults
    ]


USUAL_VARIABLES = {
    "ANTHROPIC_API_KEY": "anthropic",
    "OPENAI_API_KEY": "openai",
    "GEMINI_API_KEY": "google",
    "GOOGLE_AI_API_KEY": "google",
    "GROQ_API_KEY": "groq",
    "CEREBRAS_API_KEY": "cerebras",
    "MOONSHOT_API_KEY": "kimi",
    "MINIMAX_API_KEY": "minimax",
    "MISTRAL_API_KEY": "mistral",
    "XAI_API_KEY": "xai",
    "OPENROUTER_API_KEY": "openrouter",
    "OLLAMA_HOST": "ollama",
}


@pytest.mark.parametrize(("variable", "provider"), USUAL_VARIABLES.items())
def test_usual_variable_of_a_vendor_is_enough_to_start_with_it(variable: str, provider: str) -> None:
    environ = {variable: "127.0.0.1:11434" if variable == "OLLAMA_HOST" else "planted"}
    loaded = load(None, environ)
    (found,) = resolved_providers(loaded.configuration, environ)

    assert () == loaded.warnings
    assert (provider, True) == (found.name, bool(found.models) or found.finds_models)
    assert found.credentials or not found.needs_credential


def test_no_provider_at_all_is_said_plainly() -> None:
    assert any(warning.startswith("no provider is configured") for warning in load(None, {}).warnings)


def test_file_with_nothing_in_it_is_a_file_of_defaults(tmp_path: Path) -> None:
    assert loaded(tmp_path, "").configuration == load(None, {}).configuration


def test_empty_blocks_are_blocks_of_defaults(tmp_path: Path) -> None:
    built = parts(tmp_path, "providers:\n  openai:\nlisten:\nrouting:\n  policies:\n    default:\n")

    assert built.fleet.providers == ("openai",)
