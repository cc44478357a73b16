"""Keys seen lately, so that a report counts once, and so that a decision of ours is known as ours."""

from __future__ import annotations

from collections import deque
from hashlib import blake2b

KEYS_MAXIMUM = 50_000
KEYS_SECONDS = 3600.0
DIGEST_BYTES = 16
"""Keys are callers' words of any length: a digest keeps each at the same size, and chance cannot make two the same."""


class SeenKeys:
    """The last 50,000 keys of the last hour."""

    __slots__ = ("_known", "_maximum", "_order", "_seconds")

    def __init__(self, *, maximum: int = KEYS_MAXIMUM, seconds: float = KEYS_SECONDS) -> None:
        self._maximum = maximum
        self._seconds = seconds
        self._known: set[bytes] = set()
        self._order: deque[tuple[float, bytes]] = deque()

    def __len__(self) -> int:
        return len(self._known)

    def add(self, *key: str, now: float) -> bool:
        """Takes note of a key; tells whether it is new."""
        digest = _digest(key)
        self._forget(now)
        if digest in self._known:
            return False
        self._known.add(digest)
        self._order.append((now, digest))
        if len(self._order) > self._maximum:
            self._known.discard(self._order.popleft()[1])
        return True

    def has(self, *key: str, now: float) -> bool:
        """Tells whether the key was seen lately."""
        self._forget(now)
        return _digest(key) in self._known

    def _forget(self, now: float) -> None:
        while self._order and self._order[0][0] <= now - self._seconds:
            self._known.discard(self._order.popleft()[1])


def _digest(key: tuple[str, ...]) -> bytes:
    # Surrogates can come in as escapes; they must not make a report fail.
    return blake2b("\0".join(key).encode(errors="surrogatepass"), digest_size=DIGEST_BYTES).digest()
