"""What a stranger does: clones, runs the README's first command, and sees it work."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.full
@pytest.mark.timeout(600)
def test_fresh_clone_shows_the_product_working_with_one_command(tmp_path: Path) -> None:
    clone = tmp_path / "turnout"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)  # noqa: S603, S607 - our own tree
    # As on a machine that has never seen it: none of this environment's Python, no keys.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TURNOUT_", "VIRTUAL_ENV", "PYTHON")) and not name.endswith("_API_KEY")
    }

    ended = subprocess.run(
        ["make", "demo"],  # noqa: S607 - the README's words
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    assert "breaker.opened" in ended.stdout
    assert "breaker.closed" in ended.stdout
    assert "\x1b" not in ended.stdout
