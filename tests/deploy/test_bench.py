"""The measurements run from beginning to end; what they measure is nobody's pass or fail."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.full
@pytest.mark.timeout(900)
def test_the_measurements_print_a_row_for_everything_they_promise() -> None:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "bench", "--quick"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=880,
    )
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in run.stdout.splitlines()]
    ratios = {row[0]: float(row[3]) for row in rows if row[3].replace(".", "").isdigit()}

    assert {
        f"{what}: {how}"
        for what in (
            *(f"Route, {count} targets, against a constant reply" for count in (8, 40, 400)),
            "Execute, against a bare relay",
            "ExecuteStream, against a bare relay",
        )
        for how in ("CPU", "p50")
    } | {f"A plan used again, 40 targets, against Route: {how}" for how in ("p50", "caller's CPU")} | {
        f"Route, {what}, against untraced: {how}" for what in ("traced", "sampled out") for how in ("CPU", "p95")
    } == set(ratios)
    assert all(ratio > 0 for ratio in ratios.values())
    assert {"Deciding over 400 targets", "From `turnout serve` to the first answer"} <= {row[0] for row in rows}
