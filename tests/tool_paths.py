"""Finds what tests use besides Python packages: in the folder TURNOUT_TOOLS names, in `.tools/`, on the PATH.

A test that asks for a tool that is missing, or that cannot work on this machine, is skipped and says why.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OF_THE_SYSTEM = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where a system keeps programs such as debootstrap and runc; not on everybody's PATH."""


def found(name: str, environment: Mapping[str, str] = os.environ, root: Path = ROOT) -> Path | None:
    """Returns where a tool is; None where there is none."""
    folders = [environment.get("TURNOUT_TOOLS", ""), str(root / ".tools"), environment.get("PATH", ""), OF_THE_SYSTEM]
    where = shutil.which(name, path=os.pathsep.join(folder for folder in folders if folder))
    return Path(where) if where else None


def tool(name: str) -> Path:
    """Returns where a tool is; skips the test that asks where there is none."""
    where = found(name)
    if where is None:
        pytest.skip(f"{name} is not on this machine: `make tools` gets it")
    return where


def working(name: str, *probe: str) -> Path:
    """Returns where a tool is if `name *probe` ends well; skips the test that asks where it does not."""
    where = tool(name)
    try:
        ended = subprocess.run([where, *probe], capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - a tool of ours
    except (OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"{name} does not work on this machine: {error}")
    if ended.returncode != 0:
        pytest.skip(f"{name} does not work on this machine: {(ended.stderr or ended.stdout).strip()[-300:]}")
    return where
