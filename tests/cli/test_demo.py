"""`turnout demo`, shortened, as a process: it must do what it shows, and say so with its exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from turnout_server.demo.play import Play
from turnout_server.demo.scene import Scene, Times, default_cast
from turnout_server.demo.show import NoShow
from turnout_server.demo.sidecar import Sidecar, SidecarError

COMMAND = [sys.executable, "-c", "from turnout_server.main import main; main()", "demo"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own command
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=115, check=False
    )


def test_demo_shows_failure_and_recovery_and_ends_with_code_0() -> None:
    ended = run("--seconds", "16", "--json")
    summary: dict[str, Any] = json.loads(ended.stdout)

    assert summary["problems"] == []
    assert ended.returncode == 0
    assert summary["requests"] > 40
    assert summary["answered"] == summary["requests"]
    assert set(summary["by_mode"]) == {"advise", "execute", "stream"}
    assert summary["failovers"] > 0
    assert summary["opened"]
    assert summary["closed_after_seconds"] is not None
    assert 0 < summary["spend_usd"] < summary["dearest_usd"]


@pytest.mark.full
def test_demo_prints_plain_lines_where_there_is_no_terminal() -> None:
    ended = run("--seconds", "30")

    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr
    assert "\x1b" not in ended.stdout
    assert "breaker.opened" in ended.stdout
    assert "PROBLEM" not in ended.stdout
    assert ended.stderr == ""


@pytest.mark.parametrize("seconds", ["1", "soon"])
def test_wrong_length_is_code_2(seconds: str) -> None:
    ended = run("--seconds", seconds)

    assert ended.returncode == 2
    assert "--seconds" in ended.stderr


@pytest.mark.full
async def test_demo_does_not_claim_success_where_nobody_else_could_answer() -> None:
    alone = Scene(cast=default_cast()[:1], times=Times.of(3.0))
    summary = await Play(scene=alone, show=NoShow(), seed=1).run()

    assert summary.answered < summary.requests
    assert "requests failed that should not have" in summary.problems[0]


async def test_sidecar_that_does_not_start_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text("providers: {nobody: {colour: red}}\n", encoding="utf-8")

    with pytest.raises(SidecarError, match="colour"):
        await Sidecar(file, {}, lambda _line: None).start()
