"""How much memory this process may use, so that limits can be shares of it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

INFLIGHT_SHARE = 0.25
_CGROUP_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_limit_bytes(files: tuple[str, ...] = _CGROUP_FILES) -> int | None:
    """Returns the container's limit, or the machine's memory where that is less; None where neither is known."""
    found = []
    for name in files:
        try:
            text = Path(name).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if text.isdecimal():
            found.append(int(text))
    # AttributeError: Windows has no sysconf.
    with contextlib.suppress(AttributeError, OSError, ValueError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(found, default=None)
