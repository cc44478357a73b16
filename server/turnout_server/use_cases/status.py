"""How everything is doing now, for those who watch: reports, gauges, and what changed since somebody looked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from turnout_server.core.status_report import finished

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from turnout_server.core.model import Target
    from turnout_server.core.state import FleetState
    from turnout_server.core.status import StatusReport, TargetGauges
    from turnout_server.core.status_report import Steps
    from turnout_server.use_cases.configured import Configured


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusChanges:
    """Which targets changed since a revision, by their place in the fleet, and the revision that this leads to."""

    revision: int
    changed: tuple[int, ...]
    removed: tuple[Target, ...] = ()
    """Targets that are gone since then."""


class Status:
    """Over one state. `clock` is monotonic, `wall` seconds since the epoch; `expire` lets time take effect."""

    __slots__ = ("_clock", "_configured", "_expire", "_state", "_wall")

    def __init__(
        self,
        state: FleetState,
        configured: Configured,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        expire: Callable[[], None],
    ) -> None:
        self._state = state
        self._configured = configured
        self._clock = clock
        self._wall = wall
        self._expire = expire

    def report(self, providers: Sequence[str] = (), window_seconds: float = 300.0) -> StatusReport:
        """Tells the state of the providers named, of all without names. Raises UnknownProviderError."""
        return finished(self.steps(providers, window_seconds))

    def steps(self, providers: Sequence[str] = (), window_seconds: float = 300.0) -> Steps[StatusReport]:
        """Does the same piece by piece, for whoever has others to let have their turn. Raises at once."""
        self._configured.check_providers(providers)
        now = self._clock()
        self._expire()
        return self._state.status_steps(
            providers=tuple(providers), window_seconds=window_seconds, now=now, now_wall=self._wall()
        )

    def gauges(self) -> Iterator[TargetGauges]:
        """Tells what is measured of all targets, one by one, for whoever has others to let have their turn."""
        self._expire()
        return self._state.gauges(self._clock())

    def changes(self, revision: int) -> StatusChanges:
        """Tells which targets changed since `revision`; 0 is before everything."""
        self._expire()
        return StatusChanges(
            revision=self._state.revision,
            changed=tuple(self._state.changed_since(revision)),
            removed=tuple(self._state.removed_since(revision)),
        )

    def looked_at_endpoint(self, provider: str, endpoint: str, unreachable: str) -> None:
        """Takes note of a look whether an endpoint can be connected to: why it cannot, "" where it can.

        For the status only: what calls meet is what counts.
        """
        self._state.looked_at_endpoint(provider, endpoint, unreachable)
