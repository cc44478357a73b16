"""What can be wrong with providers, where and when: the weather of a world, told in spells.

A spell holds from one moment to another for the targets that it names, or for one pod's network. Asking what is wrong
with a target now is cheap, as every world does it with every request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Trouble(StrEnum):
    """What can be wrong with a target, or (NETWORK_LOSS) with the way to all of them."""

    DARK = "refuses connections"
    BLACK_HOLE = "does not answer connections"
    NETWORK_LOSS = "the pod reaches nobody"
    HANG = "takes requests and says nothing"
    BROWN_OUT = "fails some requests, and is slow"
    OVERLOAD = "says that it is overloaded, to some"
    LIMIT = "allows fewer requests, and says for how long"
    HEADER_LIMIT = "allows fewer requests, and counts them in its headers"
    BARE_LIMIT = "allows fewer requests, and says nothing"
    QUOTA = "has used up its quota"
    CUT = "cuts some streams in the middle"
    STALL = "stops some streams in the middle"
    FALSE_401 = "calls some good keys wrong"
    SLOW = "takes four times as long"
    CROWD = "refuses what is more than it copes with at once"


UNREACHABLE = frozenset({Trouble.DARK, Trouble.BLACK_HOLE, Trouble.NETWORK_LOSS})
"""Nobody can be connected to."""
LIMITS = frozenset({Trouble.LIMIT, Trouble.HEADER_LIMIT, Trouble.BARE_LIMIT})
DRAWN = tuple(trouble for trouble in Trouble if trouble is not Trouble.CROWD)
"""What worlds are drawn from; a crowd is a matter of traffic, and has worlds of its own."""
OF_A_KEY = frozenset({Trouble.QUOTA, Trouble.FALSE_401})
OF_A_PROVIDER = frozenset({Trouble.DARK, Trouble.BLACK_HOLE}) | OF_A_KEY
"""Troubles of an address or of a key, which all models of a provider share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spell:
    """A trouble from `start` to `end`, in virtual seconds.

    `where` is "" for everything, a provider, "provider@endpoint", or a target. `share` is of requests, for troubles
    that hit only some. With `every_seconds` it flaps: it holds in the first half of each such period. `pod` is the
    sidecar that NETWORK_LOSS is about.
    """

    trouble: Trouble
    start: float
    end: float
    where: str = ""
    share: float = 0.5
    every_seconds: float = 0.0
    pod: str = ""

    def names(self, target: str) -> bool:
        """Whether the spell is about the target of this name."""
        provider, _, rest = target.partition("/")
        _, _, endpoint = rest.partition("@")
        return self.where in {"", provider, f"{provider}@{endpoint}", target}

    def touches(self, target: str) -> bool:
        """Whether a target may be held to be in trouble for it: a key's refusal at one is its refusal at others too."""
        if self.names(target):
            return True
        provider = target.partition("/")[0]
        place = self.where.partition("@")[0]
        if self.trouble in OF_A_KEY:
            return place.partition("/")[0] == provider
        return self.trouble in LIMITS and place in {provider, target.partition("@")[0]}

    def holds(self, now: float) -> bool:
        """Whether it holds now."""
        if not self.start <= now < self.end:
            return False
        return not self.every_seconds or (now - self.start) % self.every_seconds < self.every_seconds / 2


class Weather:
    """All spells of a world, by target."""

    def __init__(self, spells: Sequence[Spell], targets: Sequence[str]) -> None:
        self.spells = tuple(spells)
        self._by_target = {target: tuple(spell for spell in spells if spell.names(target)) for target in targets}
        self._touching = {target: tuple(spell for spell in spells if spell.touches(target)) for target in targets}

    def now(self, target: str, pod: str, now: float) -> dict[Trouble, float]:
        """Returns what is wrong with a target as one pod sees it, with the largest share of requests that each hits."""
        found: dict[Trouble, float] = {}
        for spell in self._by_target[target]:
            if spell.holds(now) and spell.pod in {"", pod}:
                found[spell.trouble] = max(spell.share, found.get(spell.trouble, 0.0))
        return found

    def well(self, target: str, pod: str, start: float, end: float) -> bool:
        """Whether nothing at all is wrong with a target in that time, as one pod sees it."""
        return not any(
            spell.start < end and spell.end > start and spell.pod in {"", pod} for spell in self._touching[target]
        )

    def well_since(self, target: str, pod: str, now: float) -> float | None:
        """Returns since when nothing has been wrong with a target, None where something is now."""
        since = 0.0
        for spell in self._touching[target]:
            if spell.pod in {"", pod} and spell.start <= now:
                if spell.end > now:
                    return None
                since = max(since, spell.end)
        return since
