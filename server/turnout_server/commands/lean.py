"""Loading a sidecar without what its libraries would load for looks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

FOR_LOOKS = ("rich", "pygments")
"""httpx loads both for a command line of its own, structlog the first for tracebacks in colour, wherever they are
installed: 3 MiB and a twentieth of a second that only `turnout demo` has a use for."""


@contextmanager
def without_looks() -> Iterator[None]:
    """Lets imports in the block go on as if those were not installed; what is loaded already stays."""
    hidden = [name for name in FOR_LOOKS if name not in sys.modules]
    for name in hidden:
        # How the import system is told that there is no such module.
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
