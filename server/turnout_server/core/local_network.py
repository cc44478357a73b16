"""Tells our own network's fault from the providers': when several cannot be reached at once, none is to blame."""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from turnout_server.core.settings import HealthSettings

if TYPE_CHECKING:
    from collections.abc import Collection

FAILURES_REMEMBERED = 4096
"""Failures that can be taken back; more within 5 s than this have long opened a breaker."""


class Blame(Enum):
    """Whose fault a CONNECTION failure is taken to be."""

    PROVIDER = "provider"
    LOCAL_BEGINS = "local, from now on"
    LOCAL = "local"


P = TypeVar("P")


class Unreached(NamedTuple, Generic[P]):
    """A CONNECTION failure that was blamed on its provider, and may have to be forgiven."""

    at: float
    target: P


class LocalNetwork(Generic[P]):
    """Watches CONNECTION failures of all providers: at 2 or more within 5 s and no success meanwhile, it is local.

    From then on they count for nobody, until any provider answers or 5 s pass without one.
    """

    __slots__ = ("_blamed", "_last_failure_at", "_local", "_needed", "_unreached_at", "window_seconds")

    def __init__(self, settings: HealthSettings) -> None:
        self.follow(settings)
        self._blamed: deque[Unreached[P]] = deque(maxlen=FAILURES_REMEMBERED)
        self._unreached_at: dict[str, float] = {}
        self._last_failure_at = 0.0
        self._local = False

    def follow(self, settings: HealthSettings) -> None:
        """Takes other settings; what was counted stays."""
        self.window_seconds = settings.local_network_seconds
        self._needed = settings.local_network_providers

    def success(self) -> None:
        """Takes a complete answer of any provider: the network is well."""
        self._local = False
        self._blamed.clear()
        self._unreached_at.clear()

    def failure(self, provider: str, target: P, now: float) -> Blame:
        """Takes a CONNECTION failure at a target, by whatever the caller finds it again by."""
        window = self.window_seconds
        if self._local and now - self._last_failure_at < window:
            self._last_failure_at = now
            return Blame.LOCAL
        self._local = False
        self._last_failure_at = now
        self._unreached_at[provider] = now
        if sum(now - at <= window for at in self._unreached_at.values()) < self._needed:
            self._blamed.append(Unreached(now, target))
            return Blame.PROVIDER
        self._local = True
        self._unreached_at.clear()
        return Blame.LOCAL_BEGINS

    def forget(self, providers: Collection[str], targets: Collection[P]) -> None:
        """Forgets failures of some providers, and which were blamed on these targets."""
        self._blamed = deque((each for each in self._blamed if each.target not in targets), maxlen=FAILURES_REMEMBERED)
        self._unreached_at = {name: at for name, at in self._unreached_at.items() if name not in providers}

    def take_forgiven(self, now: float) -> list[P]:
        """Returns, once, the targets of the failures of this window that were blamed on providers."""
        targets = [unreached.target for unreached in self._blamed if now - unreached.at <= self.window_seconds]
        self._blamed.clear()
        return targets
