"""What this process takes: memory and CPU, as the machine counts them."""

from __future__ import annotations

import os
import time
from pathlib import Path

_STATM = "/proc/self/statm"


def resident_bytes(file: str = _STATM) -> int | None:
    """Returns the memory that is resident now, pages of files included; None where the system does not say."""
    try:
        return int(Path(file).read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return None


def cpu_seconds() -> float:
    """Returns the CPU time of all threads since the process began."""
    return time.process_time()
