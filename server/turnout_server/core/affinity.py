"""Which target last answered a key, kept for its prompt cache: what a provider has read before is cheap and quick.

A key is a caller's sticky key, else its session, of one tenant. The table holds no content: keys, targets, shares.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from turnout_server.core.model import Capability

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from turnout_server.core.fleet import Fleet, TargetSpec
    from turnout_server.core.model import Target, Usage
    from turnout_server.core.settings import AffinitySettings

PRIOR_CACHED_SHARE = 0.5
"""What part of the next prompt is expected to be cached before an answer has told: each turn of a conversation sends
all turns before it, and vendors cache in steps of some thousand tokens, for minutes."""
LEARNING_RATE = 0.5
"""How far one answer moves the share: conversations grow, so that what the last answers told says the most."""


class AffinityKey(NamedTuple):
    """Whose key it is: the same words of two tenants are two keys, and so are a sticky key and a session."""

    tenant: str
    sticky_key: str
    session_id: str


class Kept(NamedTuple):
    """The target that a key should stay at, by its place in the fleet.

    `cached_share` is the part of the prompt, 0 to 1, that it should have cached.
    """

    target_index: int
    cached_share: float


def affinity_key(*, tenant: str, sticky_key: str, session_id: str) -> AffinityKey | None:
    """Returns the key of a request, None where it has none; a sticky key goes before the session."""
    if sticky_key:
        return AffinityKey(tenant, sticky_key, "")
    return AffinityKey(tenant, "", session_id) if session_id else None


def caches(spec: TargetSpec) -> bool:
    """Whether a target is known to cache prompts: it says so, or charges less for what is cached."""
    if Capability.PROMPT_CACHING in spec.capabilities:
        return True
    return spec.price is not None and spec.price.cached_input_per_million is not None


class _Entry:
    __slots__ = ("at", "cached_share", "target")

    def __init__(self, target: Target, cached_share: float, at: float) -> None:
        self.target = target
        self.cached_share = cached_share
        self.at = at


class Affinity:
    """The targets of the keys that were answered last: `max_entries` of them, each for `ttl_seconds` after an answer.

    The one longest without an answer is forgotten first.
    """

    __slots__ = ("_entries", "_settings")

    def __init__(self, settings: AffinitySettings) -> None:
        self._settings = settings
        self._entries: OrderedDict[AffinityKey, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def adopt(self, settings: AffinitySettings, fleet: Fleet) -> None:
        """Takes other settings and another fleet: keys of targets that are gone are forgotten."""
        self._settings = settings
        self.keep_known(fleet)

    def keep_known(self, fleet: Fleet) -> None:
        """Forgets keys of targets that a fleet has not."""
        self._entries = OrderedDict(
            (key, entry) for key, entry in self._entries.items() if fleet.index(entry.target) is not None
        )
        self._shrink()

    def kept(self, key: AffinityKey, fleet: Fleet, now: float) -> Kept | None:
        """Returns the target that last answered the key; None where that is not known, or was too long ago."""
        self._expire(now)
        entry = self._entries.get(key)
        if entry is None:
            return None
        index = fleet.index(entry.target)
        return None if index is None else Kept(index, entry.cached_share)

    def answered(self, key: AffinityKey, spec: TargetSpec, usage: Usage | None, now: float) -> None:
        """Takes note of a complete answer. Another target than before starts with nothing known of its cache."""
        self._expire(now)
        entry = self._entries.get(key)
        if entry is None or entry.target != spec.target:
            # What the first answer says of the cache is of a prompt that nobody had read: it tells nothing.
            share = PRIOR_CACHED_SHARE if caches(spec) else 0.0
            self._entries[key] = _Entry(spec.target, share, now)
        else:
            told = _cached_share(usage)
            if told is not None and caches(spec):
                entry.cached_share += LEARNING_RATE * (told - entry.cached_share)
            entry.at = now
        self._entries.move_to_end(key)
        self._shrink()

    def keep(self, now: float, count: int) -> Iterator[list[tuple[AffinityKey, Target, float, float]]]:
        """Yields key, target, cached share and age of each entry, the one longest without an answer first.

        `count` of them at a time; the table may change in between.
        """
        self._expire(now)
        keys = list(self._entries)
        for begin in range(0, len(keys), count):
            found = ((key, self._entries.get(key)) for key in keys[begin : begin + count])
            yield [(key, each.target, each.cached_share, now - each.at) for key, each in found if each is not None]

    def resume(self, entries: Iterable[tuple[AffinityKey, Target, float, float]], now: float) -> None:
        """Takes what was kept: key, target, cached share, and the monotonic time of the last answer."""
        for key, target, share, at in sorted(entries, key=lambda entry: entry[3]):
            self._entries[key] = _Entry(target, min(1.0, max(0.0, share)), at)
        self._expire(now)
        self._shrink()

    def take(self, other: Affinity, now: float) -> None:
        """Takes what another one of the same fleet has in the place of its own, which is empty."""
        self._entries = other._entries
        self._expire(now)
        self._shrink()

    def _expire(self, now: float) -> None:
        # In the order of the last answer: the oldest is first.
        while self._entries:
            key, entry = next(iter(self._entries.items()))
            if now - entry.at < self._settings.ttl_seconds:
                return
            del self._entries[key]

    def _shrink(self) -> None:
        while len(self._entries) > self._settings.max_entries:
            self._entries.popitem(last=False)


def _cached_share(usage: Usage | None) -> float | None:
    """Returns the part of a prompt that was cached, None where the answer does not tell."""
    if usage is None or not usage.input_tokens or usage.cached_input_tokens is None or usage.input_tokens < 0:
        return None
    return min(1.0, max(0.0, usage.cached_input_tokens / usage.input_tokens))
