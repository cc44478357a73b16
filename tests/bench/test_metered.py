"""What metrics cost can be measured: the three kinds of sidecars run, are asked, and are told of."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.full
def test_each_way_is_compared_with_none(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "bench.metered", "--turns", "1", "--seconds", "0.2", "--targets", "8"],
        cwd=Path(__file__).parents[2],
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    found = re.findall(r"8 targets, (\S+) +CPU +(\d+) us \((\S+)\)", ended.stdout)

    assert ended.returncode == 0, ended.stderr
    assert [mode for mode, _, _ in found] == ["none", "OTLP", "scraped"]
    assert all(int(used) > 0 for _, used, _ in found)
    assert found[0][2] == "1.00"
