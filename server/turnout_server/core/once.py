"""Keys seen lately, so that a report counts once, and so that a decision of ours is known as ours."""

from __future__ import annotations

from collections import deque
from hashlib import blake2b

KEYS_MAXIMUM = 50_000
KEYS_SECONDS = 3600.0
DIGEST_BYTES = 15
"""Keys are callers' words of any length: a digest keeps each at the same size, and chance cannot make two the same. As
an object, one of 15 bytes takes 48 bytes in CPython and one of 16 takes 64."""
TIME_GRAIN_SECONDS = 1.0
"""Keys of one second are forgotten together: a time for each would take as much as the key."""


class SeenKeys:
    """The last 50,000 keys of the last hour, and of up to a second more: about 90 bytes each."""

    __slots__ = ("_known", "_maximum", "_order", "_seconds", "_times")

    def __init__(self, *, maximum: int = KEYS_MAXIMUM, seconds: float = KEYS_SECONDS) -> None:
        self._maximum = maximum
        self._seconds = seconds
        # A dictionary is half as large as a set of the same keys.
        self._known: dict[bytes, None] = {}
        self._order: deque[bytes] = deque()
        self._times: deque[_Counted] = deque()

    def __len__(self) -> int:
        return len(self._known)

    def add(self, *key: str, now: float) -> bool:
        """Takes note of a key; tells whether it is new."""
        digest = _digest(key)
        self._forget(now)
        if digest in self._known:
            return False
        self._known[digest] = None
        self._order.append(digest)
        if not self._times or now >= self._times[-1].since + TIME_GRAIN_SECONDS:
            self._times.append(_Counted(now))
        self._times[-1].last_at = now
        self._times[-1].count += 1
        if len(self._order) > self._maximum:
            self._forget_oldest()
        return True

    def has(self, *key: str, now: float) -> bool:
        """Tells whether the key was seen lately."""
        self._forget(now)
        return _digest(key) in self._known

    def _forget(self, now: float) -> None:
        while self._times and self._times[0].last_at <= now - self._seconds:
            for _ in range(self._times[0].count):
                self._forget_oldest()

    def _forget_oldest(self) -> None:
        del self._known[self._order.popleft()]
        times = self._times[0]
        times.count -= 1
        if not times.count:
            self._times.popleft()


class _Counted:
    """How many keys came from `since` on, the last of them at `last_at`."""

    __slots__ = ("count", "last_at", "since")

    def __init__(self, since: float) -> None:
        self.since = self.last_at = since
        self.count = 0


def _digest(key: tuple[str, ...]) -> bytes:
    # Surrogates can come in as escapes; they must not make a report fail.
    return blake2b("\0".join(key).encode(errors="surrogatepass"), digest_size=DIGEST_BYTES).digest()
