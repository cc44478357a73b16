"""What a shadow policy would have done beside what was done, in numbers small enough to be kept with each decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turnout_server.core.model import Target

SHADOW_BYTES = 500
"""What a decision's shadow takes with its comparison in CPython 3.11, rounded up: two choices and their numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The first candidate of a decision. `target` is None where nothing could be chosen.

    `score` is 0 to 1; cost and latency are what was expected, None where that is unknown.
    """

    target: Target | None = None
    score: float = 0.0
    cost_nano_usd: int | None = None
    latency_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What was chosen, and what the shadow policy would have chosen at the same moment."""

    policy: str
    shadow_policy: str
    chosen: Choice
    shadow_chosen: Choice

    @property
    def agreed(self) -> bool:
        """Whether both chose the same target, or both none."""
        return self.chosen.target == self.shadow_chosen.target

    @property
    def cost_difference_nano_usd(self) -> int | None:
        """What the shadow's choice should cost more than the other; below 0: less. None where either is unknown."""
        mine, other = self.shadow_chosen.cost_nano_usd, self.chosen.cost_nano_usd
        return None if mine is None or other is None else mine - other

    @property
    def latency_difference_seconds(self) -> float | None:
        """How much longer the shadow's choice should take than the other; None where either is unknown."""
        mine, other = self.shadow_chosen.latency_seconds, self.chosen.latency_seconds
        return None if mine is None or other is None else mine - other


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A decision that a shadow policy would have made otherwise. `number` counts them; `at_wall` is when it was made.

    `reason` and `shadow_reason` are the one sentence of each of the two decisions.
    """

    number: int
    decision_id: str
    at_wall: float
    comparison: Comparison
    reason: str
    shadow_reason: str


class Shadow:
    """A decision's shadow: its policy, and what came of it once it has decided. The one thing of a decision that comes
    after it: nobody waits for it.
    """

    __slots__ = ("comparison", "policy")

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self.comparison: Comparison | None = None
