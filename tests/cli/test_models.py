"""`turnout models` lists and searches the catalog."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from turnout_server.main import cli


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["models", *arguments])
    return result.exit_code, result.output


def listed(*arguments: str) -> list[dict[str, object]]:
    result = CliRunner().invoke(cli, ["models", "--json", *arguments])
    found: list[dict[str, object]] = json.loads(result.stdout)["models"]
    return found


def test_models_of_every_vendor_are_listed_with_price_and_window() -> None:
    code, output = run()

    assert 0 == code
    for name in ("anthropic/claude-opus-5-5", "openai/gpt-4o", "google/gemini-2.5-pro", "groq/openai/gpt-oss-120b"):
        assert name in output
    assert "gpt-4-turbo" not in output


def test_counts_are_rounded_for_people_and_exact_in_json() -> None:
    _, output = run("google/gemini-2.5-pro")
    (exact,) = listed("google/gemini-2.5-pro")

    assert "1.05M" in output
    assert "65.5k" in output
    assert (1_048_576, 65_536) == (exact["context_window_tokens"], exact["max_output_tokens"])


def test_search_finds_any_part_of_a_name_and_all_shows_deprecated_ones() -> None:
    assert [] == [row for row in listed("turbo") if row["deprecated"]]
    assert ["gpt-4-turbo"] == [row["model"] for row in listed("GPT-4-TURBO", "--all")]


def test_provider_and_capability_narrow_the_list() -> None:
    rows = listed("--provider", "groq", "--capability", "vision")

    assert rows
    assert {"groq"} == {row["provider"] for row in rows}
    assert all("VISION" in row["capabilities"] for row in rows)  # type: ignore[operator]


def test_rows_of_a_configuration_are_laid_over(tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text("providers: {openai: {models: [{name: gpt-4o, quality: 7}]}}")

    assert [7.0] == [row["quality"] for row in listed("-c", str(file)) if row["model"] == "gpt-4o"]
    assert {"openai"} == {row["provider"] for row in listed("-c", str(file))}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--provider", "grok"), "there is no provider grok"),
        (("--capability", "flying"), "there is no capability flying"),
    ],
)
def test_name_that_does_not_exist_is_told_with_those_that_do(arguments: tuple[str, ...], told: str) -> None:
    code, output = run(*arguments)

    assert 2 == code
    assert told in output


def test_no_match_is_an_end_of_its_own() -> None:
    code, _ = run("no-such-model")

    assert 0 != code
