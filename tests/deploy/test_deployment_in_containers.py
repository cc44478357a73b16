"""The section of docs/deployment.md on containers, command by command, with podman for docker."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.deploy.containers import ULIMITS, Engine, engine, host_mounts
from tests.deploy.document import blocks
from tests.tool_paths import ROOT

pytestmark = [pytest.mark.full, pytest.mark.timeout(1200)]

BLOCKS = blocks(ROOT / "docs/deployment.md")
SHOWN = [line for block in BLOCKS if (block.section, block.language) == ("Container", "sh") for line in block.commands]
FILE = next(block.text for block in BLOCKS if (block.section, block.language) == ("Process", "yaml"))
(BUILT,) = (block for block in BLOCKS if (block.section, block.language) == ("", "sh"))
WAIT_SECONDS = 120

Shell = Callable[[str], str]


@contextmanager
def shell(containers: Engine, folder: Path) -> Iterator[Shell]:
    """Runs commands in a folder where `docker` is this machine's podman; in the end its containers are removed."""
    docker = folder / "bin/docker"
    docker.parent.mkdir()
    more = f'[ "$what" != run ] || set -- {" ".join(ULIMITS)} "$@"'
    docker.write_text(f'#!/bin/sh\nwhat=$1; shift\n{more}\nexec {" ".join(containers.podman)} "$what" "$@"\n')
    docker.chmod(0o755)
    env = {**containers.environment, "PATH": f"{docker.parent}:{os.environ['PATH']}"}
    env.pop("ANTHROPIC_API_KEY", None)

    def sh(command: str) -> str:
        ended = subprocess.run(  # noqa: S602 - the document's words
            command, shell=True, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=WAIT_SECONDS
        )
        assert 0 == ended.returncode, f"{command}: {ended.stderr[-2000:]}"
        return ended.stdout + ended.stderr

    try:
        yield sh
    finally:
        for name in ("turnout", "answers"):
            containers._run([*containers.podman, "rm", "--force", "--time=0", "--ignore", name], seconds=120)


def build(containers: Engine, folder: Path) -> None:
    """Runs the document's `make image`, from the base that the tests make and by this machine's package index."""
    (command,) = (line for line in BUILT.commands if line.startswith("make "))
    flags = " ".join(("--pull-never", "--layers", *host_mounts(folder)))
    ended = subprocess.run(  # noqa: S603 - the document's words
        # The environment of the tests is there already.
        [*shlex.split(command), "--assume-old=.venv/.run", f"IMAGE_FLAGS={flags}"],
        cwd=ROOT,
        env=containers.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert 0 == ended.returncode, ended.stderr[-3000:]


def until(true: Callable[[], bool], said: Callable[[], str]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < end, said()
        time.sleep(0.1)


def test_a_container_is_run_as_shown_changed_and_stopped(tmp_path: Path) -> None:
    containers = engine()
    build(containers, tmp_path)
    (tmp_path / "turnout.yaml").write_text(FILE)
    # A folder that everybody may enter, as a home is: the program is another user.
    tmp_path.chmod(0o755)
    answer = ""

    with shell(containers, tmp_path) as sh:
        for command in SHOWN:
            if command.startswith("docker logs"):
                until(lambda: '"listening"' in sh("docker logs turnout"), lambda: sh("docker logs turnout"))
            elif command.startswith("install ") and os.geteuid() != 0:
                pytest.skip("the folder of another user is for root to make")
            else:
                answer = sh(command)
        mounted = tmp_path / "turnout/turnout.yaml"
        other = tmp_path / "turnout/other.yaml"
        other.write_text(re.sub("max_output_tokens: 8192", "max_output_tokens: 4096", mounted.read_text()))
        shutil.move(other, mounted)
        until(lambda: '"config.reloaded"' in sh("docker logs turnout"), lambda: sh("docker logs turnout"))
        sh("docker stop turnout")
        code = sh("docker inspect --format '{{.State.ExitCode}}' turnout").strip()
        sh("docker rm turnout")
        sh(next(command for command in SHOWN if "--name turnout" in command))
        until(lambda: '"state.resumed"' in sh("docker logs turnout"), lambda: sh("docker logs turnout"))

    assert "[simulated/medium, " in answer
    assert "0" == code
