"""How much memory this process may use, so that limits can be shares of it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

MIB = 1024 * 1024

OWN_BYTES = 72 * MIB
"""What a sidecar uses without large messages: 55 MiB when it is ready, 15 more under load (docs/image.md)."""

INFLIGHT_SHARE = 0.25
"""Of what is left, for requests that run: one takes about four times its size while it is under way."""

LEAST_INFLIGHT_BYTES = 4 * MIB
"""Where next to nothing is left: no ordinary request is larger, and one at a time still fits."""

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


def inflight_limit_bytes(memory: int | None) -> int | None:
    """Returns how large the requests that run may be together, by the process's memory; None where that is unknown."""
    return None if memory is None else max(int((memory - OWN_BYTES) * INFLIGHT_SHARE), LEAST_INFLIGHT_BYTES)
