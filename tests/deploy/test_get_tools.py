"""`tools/get.sh`: what is there stays, what cannot be had is told with its reason, and the rest goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.tool_paths import ROOT


def got(folder: Path, *steps: str, path: str = os.environ["PATH"], prebuilt: str = "") -> tuple[int, str]:
    ended = subprocess.run(  # noqa: S603 - our own script
        ["/bin/sh", ROOT / "tools" / "get.sh", *steps],
        env={"PATH": path, "HOME": str(folder), "TURNOUT_TOOLS": str(folder), "TURNOUT_PREBUILT_TOOLS": prebuilt},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return ended.returncode, ended.stderr


def executable(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_what_is_there_is_not_got_again(tmp_path: Path) -> None:
    for name in ("ghz", "toxiproxy-server", "toxiproxy-cli"):
        executable(tmp_path / name, "exit 0")

    assert got(tmp_path, "ghz", "toxiproxy") == (0, "")


def test_what_cannot_be_had_is_told_with_its_reason_and_the_rest_goes_on(tmp_path: Path) -> None:
    # A system that has what the script itself needs, and no Go.
    for name in ("dirname", "mkdir", "mktemp", "rm", "chmod", "tail", "tr"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    code, said = got(tmp_path, "ghz", "grpcurl", path=str(tmp_path / "bin"))

    assert code == 1
    assert "tools: ghz: could not be had: needs go" in said
    assert "tools: grpcurl: could not be had: needs go" in said


def test_ready_made_ones_come_from_the_folder_that_is_named(tmp_path: Path) -> None:
    executable(tmp_path / "prebuilt" / "unpack", 'echo made > "$1/jaeger"; chmod +x "$1/jaeger"')

    assert got(tmp_path, "prebuilt", "jaeger", prebuilt=str(tmp_path / "prebuilt")) == (0, "")
    assert (tmp_path / "jaeger").read_text() == "made\n"


def test_unknown_step_is_refused(tmp_path: Path) -> None:
    code, said = got(tmp_path, "planer")

    assert code == 2
    assert "there is no step planer" in said
