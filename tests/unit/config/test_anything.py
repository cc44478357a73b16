"""Whatever a file holds, the answer is a configuration or faults, and a configuration can be built from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from turnout_server.config.build import build
from turnout_server.config.faults import ConfigurationError
from turnout_server.config.load import load
from turnout_server.config.schema import Configuration
from turnout_server.config.yaml_file import read_yaml

NAMES = [
    "openai",
    "anthropic",
    "house",
    "default",
    "fast",
    "free",
    "any",
    "chat",
    "openai/gpt-4o",
    "name",
    "when",
    "models",
]
WORDS = st.sampled_from([*NAMES, "auto", "none", "HYBRID", "https://llm.example.com/v1", "127.0.0.1:0", "", "x/y@z"])
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-5, 10**9), st.floats(), WORDS, st.text(max_size=8))


def keys() -> list[str]:
    found: list[str] = []
    for definition in Configuration.model_json_schema()["$defs"].values():
        found += definition.get("properties", {})
    return [*found, *Configuration.model_fields, *NAMES]


KEYS = st.sampled_from(sorted(set(keys())))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)
SECTIONS = st.dictionaries(st.sampled_from(sorted(Configuration.model_fields)), VALUES, max_size=5)
PROVIDERS = st.dictionaries(st.sampled_from(["openai", "house"]), st.dictionaries(KEYS, VALUES, max_size=5), max_size=2)
POLICIES = st.dictionaries(st.sampled_from(["default", "fast"]), st.dictionaries(KEYS, VALUES, max_size=5), max_size=2)


@given(
    document=st.one_of(
        SECTIONS,
        st.builds(lambda found: {"providers": found}, PROVIDERS),
        st.builds(lambda found: {"routing": {"policies": found}}, POLICIES),
    )
)
@example(document={"routing": {"policies": {"default": {"inherits": "default"}}}})
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_document_is_loaded_or_answered_with_faults(tmp_path: Path, document: dict[str, Any]) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text(json.dumps(document))
    try:
        configuration = load(str(file), {"OPENAI_API_KEY": "planted"}).configuration
    except ConfigurationError as error:
        assert error.faults
        assert "planted" not in str(error)
    else:
        build(configuration, {})


@given(text=st.text(alphabet="{}[]:-&*!|>%@`\"'#,? \n\tab0<", max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_is_yaml_or_a_fault(text: str) -> None:
    try:
        read_yaml(text, "turnout.yaml")
    except ConfigurationError as error:
        assert error.faults


@pytest.mark.parametrize("text", ["[" * 5000, "a: " + "[" * 200_000 + "]" * 200_000, "{b: " * 500 + "}" * 500, "\x00"])
def test_hopeless_text_is_a_fault(text: str) -> None:
    with pytest.raises(ConfigurationError):
        read_yaml(text, "turnout.yaml")


def test_hopeless_variable_is_a_fault() -> None:
    with pytest.raises(ConfigurationError):
        load(None, {"TURNOUT_PROVIDERS": "[" * 3000 + "]" * 3000})


def test_aliases_multiplied_are_a_fault() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 8)]

    with pytest.raises(ConfigurationError, match="more than 100000 values"):
        read_yaml("\n".join(lines), "turnout.yaml")


def test_merged_block_gives_way_to_keys_of_its_own() -> None:
    found = read_yaml("base: &base {a: 1, b: 2}\nown: {<<: *base, b: 3}", "turnout.yaml")

    assert found.values["own"] == {"a": 1, "b": 3}


def test_file_that_is_not_utf_8_is_a_fault_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_bytes(b"drain_seconds: 3\n# caf\xe9\n")

    with pytest.raises(ConfigurationError, match=r"turnout.yaml:2:6: the file is not UTF-8 text"):
        load(str(file), {})


def test_directory_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(str(tmp_path), {})


@given(environ=st.dictionaries(KEYS.map(lambda key: f"TURNOUT_{key.upper()}"), st.text(max_size=6), max_size=3))
@settings(max_examples=100, deadline=None)
def test_any_environment_is_loaded_or_answered_with_faults(environ: dict[str, str]) -> None:
    environ.pop("TURNOUT_CONFIG", None)
    try:
        load(None, environ)
    except ConfigurationError as error:
        assert all(fault.origin or fault.path for fault in error.faults)
