"""`make protos` as it is, in a repository of its own: what would break callers of what is served is refused."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.tool_paths import ROOT, working

VENV = ROOT / ".venv"
FIELD = {
    "router": ("string request_id = 4;", "string request_name = 4;"),
    "admin": ("string etag = ", "string e_tag = "),
    "session": ("string etag = ", "string e_tag = "),
}

pytestmark = pytest.mark.full


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the contract on its branch main."""
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    shutil.copy(ROOT / "buf.yaml", tmp_path / "buf.yaml")
    git = str(working("git", "--version"))
    who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.com", "-c", "commit.gpgsign=false"]
    for arguments in ("init -q -b main", "add .", "commit -q -m contract"):
        subprocess.run([git, *who, *arguments.split()], cwd=tmp_path, check=True, timeout=60)  # noqa: S603 - our own arguments
    return tmp_path


def checked(repository: Path) -> subprocess.CompletedProcess[str]:
    make = str(working("make", "--version"))
    command = [make, "-f", str(ROOT / "Makefile"), "-o", str(VENV / ".dev"), f"VENV={VENV}", "protos"]
    return subprocess.run(  # noqa: S603 - our own Makefile
        command, cwd=repository, capture_output=True, text=True, check=False, timeout=100
    )


def rename_a_field(repository: Path, name: str) -> None:
    file = repository / "protos" / "turnout" / "v1" / f"{name}.proto"
    old, new = FIELD[name]
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))


def test_the_contract_as_it_is_passes(repository: Path) -> None:
    ended = checked(repository)

    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("name", ["router", "admin"])
def test_what_is_served_does_not_break(repository: Path, name: str) -> None:
    rename_a_field(repository, name)
    ended = checked(repository)

    assert ended.returncode != 0
    assert f"protos/turnout/v1/{name}.proto:" in ended.stdout + ended.stderr
    assert "changed name from" in ended.stdout + ended.stderr


def test_what_is_not_served_yet_may_still_change(repository: Path) -> None:
    rename_a_field(repository, "session")
    ended = checked(repository)

    assert ended.returncode == 0, ended.stdout + ended.stderr
