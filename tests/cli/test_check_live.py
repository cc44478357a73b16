"""`turnout check --live` as a process, against the simulated providers."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.processes import run, serving, simulated

NOBODY = "http://127.0.0.1:9"


def test_providers_that_answer_are_code_0(tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    with serving(["sim", "--port", "0", "--provider", "north=openai", "--provider", "south=anthropic"]) as sim:
        file.write_text(simulated({name: row["base_url"] for name, row in sim.line["providers"].items()}))
        ended = run("check", str(file), "--live")

    lines = ended.out.splitlines()
    assert 0 == ended.code
    assert f"{file}: ok, 2 providers, 2 targets" == lines[0]
    assert [["north", "-", "ok"], ["south", "-", "ok"]] == sorted(line.split()[:3] for line in lines[2:])


def test_provider_that_cannot_be_reached_is_code_1_and_named(tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text(simulated({"north": NOBODY}))

    ended = run("check", str(file), "--live", "--json")

    answer = json.loads(ended.out)
    (report,) = answer["live"]
    assert (1, False, "north", "unreachable", False) == (
        ended.code,
        answer["ok"],
        report["provider"],
        report["result"],
        report["ok"],
    )
    assert "the connection could not be made" in report["detail"]


def test_wrong_key_is_code_1_and_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    with serving(["sim", "--port", "0", "--provider", "north=openai", "--set", "north:api_key=right"]) as sim:
        text = simulated({"north": sim.line["providers"]["north"]["base_url"]})
        file.write_text(f"{text}    credentials: [{{name: main, api_key_env: NORTH_KEY}}]\n")
        ended = run("check", str(file), "--live", env={"NORTH_KEY": "planted-wrong"})

    assert 1 == ended.code
    assert ["north", "main", "key", "refused"] == ended.out.splitlines()[2].split()[:4]
    assert "planted-wrong" not in ended.out + ended.err


def test_right_key_is_code_0(tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    with serving(["sim", "--port", "0", "--provider", "north=openai", "--set", "north:api_key=right"]) as sim:
        text = simulated({"north": sim.line["providers"]["north"]["base_url"]})
        file.write_text(f"{text}    credentials: [{{name: main, api_key_env: NORTH_KEY}}]\n")
        ended = run("check", str(file), "--live", env={"NORTH_KEY": "right"})

    assert (0, ["north", "main", "ok"]) == (ended.code, ended.out.splitlines()[2].split()[:3])


def test_without_any_provider_there_is_none_to_ask(tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text("{}")

    assert (1, True) == ((ended := run("check", str(file), "--live")).code, "no provider is configured" in ended.err)


def test_without_live_no_provider_is_asked(tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text(simulated({"north": NOBODY}))

    assert 0 == run("check", str(file)).code


def test_server_whose_models_are_found_when_it_runs_is_counted_and_asked(tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    local = "providers: {{west: {{wire: ollama, base_url: {}, allow_insecure: true, allow_private: true}}}}"
    with serving(["sim", "--port", "0", "--provider", "west=ollama"]) as sim:
        file.write_text(local.format(sim.line["providers"]["west"]["base_url"]))
        there = run("check", str(file), "--live")
    file.write_text(local.format(NOBODY))
    gone = run("check", str(file), "--live")

    first = f"{file}: ok, 1 providers, 0 targets; the models of west are found when it runs"
    assert (there.code, gone.code) == (0, 1)
    assert (there.out.splitlines()[0], gone.out.splitlines()[0]) == (first, first)
    assert there.out.splitlines()[2].split()[:3] == ["west", "-", "ok"]
    assert "not on its list" not in there.out
    assert gone.out.splitlines()[2].split()[:3] == ["west", "-", "unreachable"]
