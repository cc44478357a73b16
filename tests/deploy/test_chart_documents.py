"""What is made from values.yaml and the product's own schema says what they say."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from helm.documents.__main__ import CHART, made
from helm.documents.readme import MARK, readme
from helm.documents.values_file import Value, ValuesError, read_values
from helm.documents.values_schema import SECRETS

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())


def faults(values: dict[str, Any]) -> dict[str, str]:
    """Paths of what the schema refuses, with what it says, of values laid over the chart's as Helm does it.

    For `full` only: the library takes a second to import.
    """
    validator = pytest.importorskip("jsonschema").Draft202012Validator(SCHEMA)
    whole = {**yaml.safe_load((CHART / "values.yaml").read_text()), **values}
    return {".".join(map(str, fault.absolute_path)): fault.message for fault in validator.iter_errors(whole)}


def test_generated_files_are_in_step_with_values_and_product() -> None:
    stale = [file.name for file, text in made() if text != file.read_text()]

    assert [] == stale, "run `make generate`"


def test_a_value_is_told_with_its_default_section_and_whole_comment() -> None:
    text = "# About the file.\n\n## Part\n\nouter:\n  # What it is,\n  # and why.\n  inner: {a: [1]}\n"

    assert (Value(path=("outer", "inner"), default={"a": [1]}, comment="What it is, and why.", section="Part"),) == (
        read_values(text)
    )


def test_a_block_without_comments_inside_is_one_value() -> None:
    (value,) = read_values("## Part\n\n# All of it.\nouter:\n  inner: 1\n")

    assert (("outer",), {"inner": 1}) == (value.path, value.default)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("## Part\n\nbare: 1\n", "values.yaml:3: bare has no comment above it"),
        ("## Part\n\n# One.\nouter:\n  # Two.\n  a: 1\n  b: 2\n", "values.yaml:7: outer.b has no comment above it"),
        ("# Lost.\nlost: 1\n", "values.yaml:2: stands in no section"),
        ("[]", "a block of values is needed"),
    ],
)
def test_a_value_that_nobody_explains_is_named(text: str, words: str) -> None:
    with pytest.raises(ValuesError, match=re.escape(words)):
        read_values(text)


def test_a_text_without_a_place_for_the_values_is_refused() -> None:
    with pytest.raises(ValuesError, match=MARK):
        readme("# Title\n", ())


def test_bars_do_not_break_the_table() -> None:
    value = Value(path=("a",), default="x|y", comment="This | that.", section="Part")

    assert '| `a` | `"x\\|y"` | This \\| that. |' in readme(MARK, [value])


@pytest.mark.full
def test_defaults_are_values_that_are_taken() -> None:
    assert {} == faults(DEFAULTS)


def test_schema_and_values_have_the_same_keys() -> None:
    documented = {".".join(value.path) for value in read_values((CHART / "values.yaml").read_text())}

    def keys(node: dict[str, Any], path: str = "") -> Iterator[str]:
        for name, inner in node["properties"].items():
            if "properties" in inner and path + name not in documented:
                yield from keys(inner, f"{path}{name}.")
            else:
                yield path + name

    assert documented == set(keys(SCHEMA)) - {"global"}


@pytest.mark.full
@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"routing": {"polices": {}}}, "config.routing"),
        ({"providers": {"anthropic": {"api_key": "x"}}}, "config.providers.anthropic"),
        ({"providers": {"anthropic": {"max_concurrency": 0}}}, "config.providers.anthropic.max_concurrency"),
        ({"listen": {"address": "0.0.0.0:1"}}, "config.listen.address"),
        ({"health": {"address": "0.0.0.0:1"}}, "config.health"),
        (
            {"providers": {"anthropic": {"api_key_env": "sk-ant-api03-abcdefgh"}}},
            "config.providers.anthropic.api_key_env",
        ),
        ({"providers": {"x": {"proxy_url": "http://me:word@proxy:3128"}}}, "config.providers.x.proxy_url"),
    ],
)
def test_what_is_wrong_in_the_configuration_is_named_by_its_path(config: dict[str, Any], path: str) -> None:
    assert {path} == faults({"config": config}).keys()


@pytest.mark.full
def test_a_provider_that_is_only_named_is_taken() -> None:
    assert {} == faults({"config": {"providers": {"ollama": None, "openai": {}}}})


@pytest.mark.full
@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("sk-ant-api03-abcdefgh", True),
        ("gsk_abcdefgh1234", True),
        ("AIzaSyA1234567890abcdefghij", True),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.abc", True),
        ("Bearer abc", True),
        ("redis://:word@host:6379", True),
        ("-----BEGIN PRIVATE KEY-----", True),
        ("ANTHROPIC_API_KEY", False),
        ("/run/secrets/turnout/sk-file", False),
        ("anthropic/claude-sonnet-4-5", False),
        ("http://proxy:3128", False),
        ("http://user@proxy:3128", False),
        ("task-force", False),
    ],
)
def test_what_looks_like_a_key_is_told_from_what_names_one(text: str, refused: bool) -> None:  # noqa: FBT001 - a table
    assert refused == (re.search(SECRETS, text) is not None)
    assert ({"extraEnv.0.value"} if refused else set()) == faults({"extraEnv": [{"name": "A", "value": text}]}).keys()
