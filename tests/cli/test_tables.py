"""`turnout tables` and `turnout check --tables`: what comes first, for whom, and on whose word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from turnout_server.main import cli

TEXT = """
providers:
  openai: {enabled_models: [gpt-5.6-terra, gpt-5.6-luna]}
  anthropic: {enabled_models: [claude-sonnet-5-5]}
routing:
  tiers: {pro: {max_cost_usd: 0.1}, free: {max_cost_usd: 0.01}, staff: {}}
  policies:
    base:
      preferences: [openai/gpt-5.6-terra, xai/grok-4.7]
      tasks: {chat: {pro: [openai, mistral]}, planning: {any: []}, mine: {staff: [openai/gpt-5.6-terra]}}
    default: {inherits: base}
    cheap: {strategy: COST}
    bare: {built_in_tables: false}
"""


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, list(arguments))
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "turnout.yaml"
    path.write_text(TEXT)
    return str(path)


def table(file: str, *arguments: str) -> list[dict[str, Any]]:
    code, out, _ = run("tables", "-c", file, "--json", *arguments)

    assert code == 0
    found: list[dict[str, Any]] = json.loads(out)["tables"]
    return found


def rows(file: str, policy: str) -> dict[tuple[str, str], tuple[list[str], str]]:
    return {(row["task"], row["tier"]): (row["names"], row["from"]) for row in table(file, "--policy", policy)}


def test_rows_are_shown_by_policy_task_and_tier_with_where_they_come_from(file: str) -> None:
    sonnet, gpt, mini = "anthropic/claude-sonnet-5-5", "openai/gpt-5.6-terra", "openai/gpt-5.6-luna"
    base = "routing.policies.base"

    assert rows(file, "default") == {
        ("", "any"): ([gpt], f"{base}.preferences"),
        ("chat", "pro"): (["openai"], f"{base}.tasks.chat.pro"),
        ("chat", "any"): ([mini], "built in"),
        ("chat", "free"): ([mini], "built in"),
        ("planning", "any"): ([], f"{base}.tasks.planning.any"),
        ("mine", "staff"): ([gpt], f"{base}.tasks.mine.staff"),
        ("auto_fix", "any"): ([sonnet, gpt, mini], "built in"),
        ("code_review", "any"): ([sonnet, gpt], "built in"),
        ("multimodal", "any"): ([sonnet, gpt], "built in"),
        ("complex_analysis", "any"): ([], "built in"),
    }


def test_what_is_left_out_and_what_stands_in_is_told(file: str) -> None:
    found = {(row["task"], row["tier"]): row for row in table(file, "--policy", "default", "--task", "chat")}

    assert found["chat", "pro"]["left_out"] == ["mistral"]
    assert found["chat", "pro"]["targets"] == ["openai/gpt-5.6-terra", "openai/gpt-5.6-luna"]
    assert (found["chat", "free"]["left_out"], found["chat", "free"]["note"]) == (
        ["Claude Haiku"],
        "the row for any tier stands in",
    )
    assert found["", "any"]["left_out"] == ["xai/grok-4.7"]
    assert [0.01, 0.1, None] == [found["chat", tier]["max_cost_usd"] for tier in ("free", "pro", "any")]


def test_a_policy_with_a_strategy_of_its_own_has_no_built_in_rows_and_says_so(file: str) -> None:
    (row,) = table(file, "--policy", "cheap")

    assert (row["names"], row["note"]) == ([], "no built-in row holds: the policy's strategy is COST")
    assert [] == table(file, "--policy", "bare")


def test_people_get_columns(file: str) -> None:
    code, out, _ = run("tables", "-c", file, "--policy", "default", "--task", "code_review")
    heading, preferences, review = out.splitlines()

    assert (code, heading.split()) == (0, ["POLICY", "TASK", "TIER", "AT", "MOST", "FROM", "FIRST", "NOTE"])
    assert "every task" in preferences
    assert "  built in  " in review
    assert "  anthropic/claude-sonnet-5-5 > openai/gpt-5.6-terra  " in review
    assert review.endswith("not configured: codestral, Claude Opus")


def test_check_shows_the_same(file: str) -> None:
    code, out, _ = run("check", file, "--tables", "--json")
    _, text, _ = run("check", file, "--tables")
    _, columns, _ = run("tables", "-c", file)

    assert code == 0
    assert table(file) == json.loads(out)["tables"]
    assert columns == text.partition("\n")[2]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--policy", "nope"), "there is no policy nope; there are: bare, base, cheap, default"),
        (("--task", "chatt"), "there is no task chatt; there are: auto_fix, chat, code_review"),
    ],
)
def test_a_policy_or_task_that_is_not_there_is_told_with_those_that_are(
    file: str, arguments: tuple[str, ...], told: str
) -> None:
    result = CliRunner().invoke(cli, ["tables", "-c", file, *arguments])

    assert result.exit_code == 2
    assert told in result.output


def test_faults_of_the_file_are_told(tmp_path: Path) -> None:
    path = tmp_path / "turnout.yaml"
    path.write_text("routing: {policies: {default: {tasks: {chat: {any: [opnai/gpt-5.6-terra]}}}}}")
    result = CliRunner().invoke(cli, ["tables", "-c", str(path)], standalone_mode=False)

    assert 'there is no provider opnai; did you mean "openai"?' in str(result.exception)
