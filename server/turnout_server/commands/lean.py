"""Loading a sidecar at the least cost: a fifth of a core is all that some have, and a start is mostly imports."""

from __future__ import annotations

import gc
import ssl
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


@contextmanager
def without_default_authorities() -> Iterator[None]:
    """Has TLS contexts that imports in the block make for themselves trust nobody, instead of reading all authorities.

    aiohttp makes one when it is imported: 1 MiB and a twentieth of a start. None of our connections uses it: each
    brings a context of its own. One that did not would fail, not go on unverified.
    """
    usual = ssl.SSLContext.load_default_certs
    ssl.SSLContext.load_default_certs = _load_none  # type: ignore[method-assign]
    try:
        yield
    finally:
        ssl.SSLContext.load_default_certs = usual  # type: ignore[method-assign]


def _load_none(self: ssl.SSLContext, purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH) -> None:
    del self, purpose


def put_off_collection() -> None:
    """Has nothing collected while a sidecar starts: nearly all that is made then stays, and is looked at for nothing.

    `turnout_server.app` collects once and switches it on again when the sidecar is ready.
    """
    gc.disable()
