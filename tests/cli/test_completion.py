"""`turnout completion` as a process: the script, and what the shell is told through it."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.cli.processes import run

SHELLS = ("bash", "zsh", "fish")


def completed(*words: str) -> list[str]:
    environment = {
        "_TURNOUT_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(("turnout", *words)),
        "COMP_CWORD": str(len(words)),
    }
    return [line.partition(",")[2] for line in run(env=environment).out.splitlines()]


@pytest.mark.parametrize("shell", SHELLS)
def test_script_of_every_shell_asks_turnout_itself(shell: str) -> None:
    ended = run("completion", shell)

    assert 0 == ended.code
    assert f"_TURNOUT_COMPLETE={shell}_complete" in ended.out
    assert "" == ended.err


@pytest.mark.parametrize("shell", SHELLS)
def test_script_is_valid_for_its_shell(shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")

    checked = subprocess.run([program, "-n"], input=run("completion", shell).out, text=True, check=False)  # noqa: S603 - a shell that only reads

    assert 0 == checked.returncode


def test_commands_are_completed_by_their_names() -> None:
    assert ["check"] == completed("ch")
    assert {"serve", "status", "ask", "completion"} <= set(completed(""))


def test_options_of_a_command_are_completed() -> None:
    assert ["--live"] == completed("check", "--li")


def test_choices_are_completed() -> None:
    assert list(SHELLS) == completed("completion", "")


def test_unknown_shell_is_wrong_usage() -> None:
    assert 2 == run("completion", "tcsh").code
