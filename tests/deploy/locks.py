"""What the lock and the project say of themselves."""

from __future__ import annotations

import tomllib
from typing import Any

from tests.tool_paths import ROOT


def locked() -> set[str]:
    """The sidecar's dependencies as "name==version"."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return {line.split(" ")[0].lower() for line in lines if "==" in line and not line.startswith((" ", "#"))}


def project() -> dict[str, Any]:
    """The table `project` of pyproject.toml."""
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found
