"""What an operator changes while it runs: which targets get no new calls, and what is held against them.

Each change is checked whole before anything is changed, is one step, and is told as an event with who made it. It holds
until the next start; what the configuration says, it says again then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from turnout_server.core.drains import Drained
from turnout_server.core.errors import StaleEtagError, UnknownProviderError
from turnout_server.core.events import Event, EventName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout_server.core.fleet import TargetSpec
    from turnout_server.core.model import Target
    from turnout_server.core.state import FleetState

NAMES_TOLD = 20
"""Targets that one event names; it has the count of all."""

Fields = dict[str, str | int | float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderReport:
    """A provider as it is now: the facts of its targets, what of it is drained, and the etag of both."""

    provider: str
    specs: tuple[TargetSpec, ...]
    drained: Drained
    etag: str


class Administration:
    """Over one state. `clock` is monotonic seconds; `tell` takes events; `expire` lets time take effect.

    `by` is always who changes something, in words for people.
    """

    __slots__ = ("_clock", "_expire", "_state", "_tell")

    def __init__(
        self,
        state: FleetState,
        *,
        clock: Callable[[], float],
        tell: Callable[[Iterable[Event]], None],
        expire: Callable[[], None],
    ) -> None:
        self._state = state
        self._clock = clock
        self._tell = tell
        self._expire = expire

    def provider(self, name: str) -> ProviderReport:
        """Returns one provider. Raises UnknownProviderError."""
        fleet, drains = self._state.fleet, self._state.drains
        specs = tuple(spec for spec in fleet.specs if spec.target.provider == name)
        if not specs:
            known = ", ".join(fleet.providers) or "none"
            raise UnknownProviderError(f"there is no provider {name!r}; the providers are: {known}", name=name)
        return ProviderReport(provider=name, specs=specs, drained=drains.of(name), etag=drains.etag(name))

    def change_drains(self, name: str, drained: Drained, *, etag: str = "", by: str) -> ProviderReport:
        """Says anew what of a provider gets no new calls; calls that run go on. The targets are known to be its own.

        `etag` is that of the provider that was read, "" to change in any case. Raises UnknownProviderError or
        StaleEtagError.
        """
        before = self.provider(name)
        if etag and etag != before.etag:
            raise StaleEtagError(f"provider {name!r} was changed since it was read; read it again, then change it")
        if drained == before.drained:
            return before
        self._state.change_drains(name, drained)
        self._tell(self._drain_events(name, before.drained, drained, by))
        return self.provider(name)

    def reset_health(self, indexes: Sequence[int], *, by: str) -> tuple[Target, ...]:
        """Forgets what is held against the targets at these places of the fleet; returns them.

        Breakers close, pauses and outages of their keys end, windows of failures empty. What is learned of latency,
        lengths, spending and the past stays, and so do drains.
        """
        # What is over by now is over by itself.
        self._expire()
        now = self._clock()
        targets = tuple(self._state.fleet.specs[index].target for index in indexes)
        self._tell(self._state.reset_health(indexes, now))
        if targets:
            self._tell((self._event(EventName.HEALTH_RESET, targets, by),))
        return targets

    def credential_changed(self, provider: str, label: str) -> None:
        """Tells that there is another secret behind a label of ours: whatever was held against the old one is over."""
        self._tell(self._state.credential_changed(provider, label, self._clock()))

    def history_cleared(self, count: int, *, by: str) -> None:
        """Tells that so many past decisions were forgotten."""
        fields: Fields = {"by": by, "decision_count": count}
        self._tell((Event(name=EventName.HISTORY_CLEARED, at=self._clock(), fields=fields),))

    def _drain_events(self, provider: str, before: Drained, after: Drained, by: str) -> Iterable[Event]:
        """Yields what was drained, and what was taken back: the provider as a whole, and single targets together."""
        if before.whole is not after.whole:
            name = EventName.DRAINED if after.whole else EventName.UNDRAINED
            whole: Fields = {"by": by, "what": "the whole provider"}
            yield Event(name=name, at=self._clock(), provider=provider, fields=whole)
        for name, targets in (
            (EventName.DRAINED, after.targets - before.targets),
            (EventName.UNDRAINED, before.targets - after.targets),
        ):
            if targets:
                yield self._event(name, tuple(sorted(targets)), by)

    def _event(self, name: EventName, targets: Sequence[Target], by: str) -> Event:
        fields: Fields = {"by": by}
        now = self._clock()
        if len(targets) == 1:
            (where,) = targets
            return Event(
                name=name, at=now, target=where, provider=where.provider, endpoint=where.endpoint, fields=fields
            )
        told = ", ".join(map(str, targets[:NAMES_TOLD]))
        fields["what"] = told if len(targets) <= NAMES_TOLD else f"{told} and {len(targets) - NAMES_TOLD} more"
        fields["target_count"] = len(targets)
        providers = {target.provider for target in targets}
        return Event(name=name, at=now, provider=providers.pop() if len(providers) == 1 else "", fields=fields)
