"""Whether shadows decide beside policies: there is something that has them decide once any policy has had a shadow."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from turnout_server.core.comparison import Comparison
    from turnout_server.core.settings import Settings
    from turnout_server.core.state import FleetState
    from turnout_server.use_cases.shadowing import Shadowing


class Shadows:
    """Over one state. `rng` is the chance that decisions are made with; `count` is told of each comparison."""

    __slots__ = ("_count", "_rng", "_state", "shadowing", "wake")

    def __init__(self, state: FleetState, *, rng: random.Random, count: Callable[[Comparison], None]) -> None:
        self._state = state
        self._rng = rng
        self._count = count
        self.shadowing: Shadowing | None = None
        """What the shadows of policies make of decisions; None where no policy has had one."""
        self.wake: Callable[[], None] = _stay_asleep
        """Called when a shadow is to be asked, by `Shadowing.step`, once nobody waits for the decision any more."""

    def follow(self, settings: Settings) -> None:
        """Has shadows decide beside the policies that have one under these settings."""
        if self.shadowing is not None:
            self.shadowing.follow(settings)
        elif any(policy.shadow_policy for policy in settings.routing.policies.values()):
            from turnout_server.use_cases.shadowing import (  # noqa: PLC0415 - needed only where a policy has a shadow
                Shadowing,
            )

            self.shadowing = Shadowing(
                self._state,
                settings,
                rng=self._rng,
                count=self._count,
                # Whoever asks shadows may say so later.
                wake=lambda: self.wake(),  # noqa: PLW0108
            )


def _stay_asleep() -> None:
    """Nobody asks shadows by themselves: whoever wants comparisons calls `step`."""
