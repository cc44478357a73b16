"""What the process says that it takes is what the system says."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest

from turnout_server.telemetry.metrics.process_use import cpu_seconds, resident_bytes

MIB = 1024 * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_memory_that_is_touched_is_counted() -> None:
    before = resident_bytes()
    held = bytearray(b"x") * (64 * MIB)
    after = resident_bytes()

    assert before is not None
    assert after is not None
    assert 32 * MIB < after - before < 96 * MIB, len(held)
    # The most that was ever resident, in KiB.
    assert after <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + MIB


@pytest.mark.parametrize("text", ["", "12", "12 x 3"])
def test_memory_is_unknown_where_the_system_says_nothing_that_can_be_read(tmp_path: Path, text: str) -> None:
    file = tmp_path / "statm"
    assert resident_bytes(str(file)) is None

    file.write_text(text)
    assert resident_bytes(str(file)) is None


def test_cpu_time_grows_with_work() -> None:
    before = cpu_seconds()
    while cpu_seconds() - before < 0.01:
        sum(range(10_000))

    assert cpu_seconds() > before
