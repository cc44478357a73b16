"""Memory of large messages goes back to the system when they are gone."""

import platform
import subprocess
import sys

import pytest

GROWTH = """
import sys
from pathlib import Path
from turnout_server.large_buffers import give_back_large_buffers

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

assert give_back_large_buffers()
before = resident()
for _ in range(3):
    # What is freed last lies at the end: a heap could only shrink by that.
    kept = []
    large = [bytearray(20_000_000) for _ in range(4)]
    kept.append(bytearray(300_000))
    del large
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library is told")
def test_large_buffers_are_given_back_when_they_are_gone() -> None:
    grown = subprocess.run([sys.executable, "-c", GROWTH], check=True, capture_output=True, text=True).stdout  # noqa: S603

    assert int(grown) < 10_000_000
