"""Where tests find the tools that are not Python packages."""

from pathlib import Path

import pytest

from tests.tool_paths import found, tool, working


def executable(folder: Path, name: str, script: str = "exit 0") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_named_folder_comes_before_the_repositorys_before_the_path(tmp_path: Path) -> None:
    named = executable(tmp_path / "named", "planer")
    ours = executable(tmp_path / ".tools", "planer")
    system = executable(tmp_path / "path", "planer")
    environment = {"PATH": str(system.parent)}

    assert found("planer", environment | {"TURNOUT_TOOLS": str(named.parent)}, tmp_path) == named
    assert found("planer", environment, tmp_path) == ours
    ours.unlink()
    assert found("planer", environment, tmp_path) == system
    assert found("planer", {}, tmp_path) is None


def test_missing_tool_skips_with_its_name() -> None:
    with pytest.raises(pytest.skip.Exception, match="planer is not on this machine"):
        tool("planer")


def test_tool_that_does_not_work_here_skips_with_what_it_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNOUT_TOOLS", str(tmp_path))
    executable(tmp_path, "planer", '[ "$1" = --works ] || { echo "no wood here" >&2; exit 3; }')

    assert working("planer", "--works") == tmp_path / "planer"
    with pytest.raises(pytest.skip.Exception, match="planer does not work on this machine: no wood here"):
        working("planer", "--probe")
