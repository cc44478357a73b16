"""Tells what happened, each event with what follows from it, and joins what goes on happening."""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout_server.core.troubles import Troubles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from turnout_server.core.events import Event
    from turnout_server.core.settings import AlertSettings


class Announcing:
    """Tells `on_event`. `troubles` knows what was told of failing calls; what it returns is to be told here."""

    __slots__ = ("_on_event", "troubles")

    def __init__(self, on_event: Callable[[Event], None], settings: AlertSettings) -> None:
        self._on_event = on_event
        self.troubles = Troubles(settings)

    def tell(self, events: Iterable[Event]) -> None:
        """Tells events in their order; one that ends an outage is followed by how long it was."""
        for event in events:
            self._on_event(event)
            for following in self.troubles.followed_by(event):
                self._on_event(following)
