"""Has the memory of large messages given back to the system as soon as they are gone."""

from __future__ import annotations

import ctypes

LARGE_BUFFER_BYTES = 1024 * 1024

_M_MMAP_THRESHOLD = -3
"""From malloc.h of the GNU C library."""


def give_back_large_buffers() -> bool:
    """Has each allocation from 1 MiB on mapped by itself; returns whether the C library was told.

    By default the library raises its threshold to the largest buffer that was ever freed (up to 32 MiB), and from then
    on keeps such buffers in a heap that shrinks only at its end: after a burst of images a process stays some hundreds
    of MiB larger. Where there is no such library there is nothing to set.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, LARGE_BUFFER_BYTES) == 1)
