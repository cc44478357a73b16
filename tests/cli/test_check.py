"""`turnout check` and `turnout schema` as processes: what they print, and the codes they end with."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.processes import run

FAULTS = Path(__file__).parents[1] / "unit" / "config" / "faults"


def test_good_file_is_code_0(tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text("providers: {openai: {enabled_models: [gpt-4o]}}")

    ended = run("check", str(file), env={"OPENAI_API_KEY": "planted"})

    assert (ended.code, ended.out) == (0, f"{file}: ok, 1 providers, 1 targets\n")


def test_faults_are_printed_one_a_line_with_code_1() -> None:
    file = FAULTS / "many-faults-at-once.yaml"

    ended = run("check", str(file))

    assert ended.code == 1
    assert len(ended.out.splitlines()) == 6
    assert all(line.startswith(f"{file}:") for line in ended.out.splitlines())


def test_faults_as_json_have_path_line_and_column() -> None:
    ended = run("check", str(FAULTS / "unknown-key.yaml"), "--json")

    answer = json.loads(ended.out)
    assert (ended.code, answer["ok"]) == (1, False)
    assert [("providers.openai.max_concurency", 4, 5)] == [
        (fault["path"], fault["line"], fault["column"]) for fault in answer["faults"]
    ]


def test_good_file_as_json_lists_the_targets(tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text("providers: {openai: {enabled_models: [gpt-4o]}}")

    answer = json.loads(run("check", str(file), "--json").out)

    assert (answer["ok"], answer["targets"]) == (True, ["openai/gpt-4o"])


def test_without_files_a_missing_key_file_is_no_fault() -> None:
    file = str(FAULTS / "key-file-missing.yaml")

    assert [1, 0] == [run("check", file).code, run("check", file, "--no-files").code]


def test_schema_is_json() -> None:
    schema = json.loads(run("schema").out)

    assert "providers" in schema["properties"]


def test_unknown_command_and_option_are_code_2() -> None:
    assert [2, 2] == [run("serv").code, run("check", "--nope").code]


def test_overview_names_every_command_and_every_exit_code() -> None:
    text = run("--help").out

    for word in ("serve", "check", "schema", "status", "route", "ask", "decisions", "explain", "demo", "sim"):
        assert f"\n  {word} " in text
    for code in ("0 ", "1 ", "2 ", "3 ", "4 ", "130 "):
        assert f"\n    {code}" in text
