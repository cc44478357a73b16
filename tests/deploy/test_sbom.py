"""The inventory of the image: every locked package with its version, its licence and who needs it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.deploy.locks import locked, project
from tests.tool_paths import ROOT


@pytest.mark.full
@pytest.mark.timeout(600)
def test_inventory_lists_exactly_what_is_locked_with_licences(tmp_path: Path) -> None:
    file = tmp_path / "turnout.cdx.json"
    subprocess.run([ROOT / "tools" / "sbom.sh", file], check=True, capture_output=True, timeout=500)  # noqa: S603 - ours
    found = json.loads(file.read_text())
    components = found["components"]

    assert found["bomFormat"] == "CycloneDX"
    assert (found["metadata"]["component"]["name"], found["metadata"]["component"]["version"]) == (
        "turnout",
        project()["version"],
    )
    assert {one["purl"] for one in components} == {f"pkg:pypi/{name.replace('==', '@')}" for name in locked()}
    # These two declare none in their metadata; 0007-libraries-outside-routing.md has them.
    assert {one["name"] for one in components if not one.get("licenses")} <= {"httpx-aiohttp", "protobuf"}
    assert str(ROOT) not in file.read_text()
