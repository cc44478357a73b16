"""The audit of the locks never takes silence for health: what was not compared is told, and fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What pip-audit 2.10 writes, shortened to what is read.
CLEAN = {"name": "click", "version": "8.5.1", "vulns": []}
KNOWN = {"name": "h11", "version": "0.14.0", "vulns": [{"id": "PYSEC-2025-1", "fix_versions": ["0.16.0"]}]}
SKIPPED = {"name": "rich", "skip_reason": "Dependency not found on PyPI and could not be audited: rich (15.0.0)"}


def audited(folder: Path, said: str) -> subprocess.CompletedProcess[str]:
    """Runs the audit with something in pip-audit's place that says what pip-audit would."""
    (folder / "pip_audit.py").write_text(f"import sys; sys.stdout.write({said!r})")
    return subprocess.run(
        [sys.executable, "-m", "tools.audit", "requirements.lock"],
        env=os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("dependencies", "code", "line"),
    [
        ([CLEAN], 0, "1 packages, 0 with advisories, 0 not compared"),
        ([CLEAN, KNOWN], 1, "h11 0.14.0: PYSEC-2025-1; fixed in: 0.16.0"),
        ([CLEAN, SKIPPED], 2, "rich: not compared: Dependency not found"),
        ([SKIPPED], 2, "not audited, as no advisory database could be reached"),
    ],
    ids=["clean", "known", "some skipped", "none known there"],
)
def test_exit_code_and_words_follow_from_what_was_compared(
    tmp_path: Path, dependencies: list[object], code: int, line: str
) -> None:
    ended = audited(tmp_path, json.dumps({"dependencies": dependencies, "fixes": []}))

    assert (ended.returncode, line in ended.stdout) == (code, True), ended.stdout + ended.stderr


def test_network_that_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    ended = audited(tmp_path, "")

    assert ended.returncode == 2
    assert "requirements.lock: not audited, as no advisory database could be reached" in ended.stdout
