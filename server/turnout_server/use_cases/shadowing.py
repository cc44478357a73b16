"""Shadow policies at work: which decisions are watched, when their shadows are asked, and what came of it.

On a call's path only what will be needed is put aside; the shadow decides when somebody calls `step`, after the answer
is on its way. What waits is bounded, and what does not fit is shed and counted: calls go before comparisons.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from turnout_server.core.chance import Recorded, Replayed
from turnout_server.core.comparison import Difference, Shadow
from turnout_server.core.errors import FieldViolation, InvalidRequestError
from turnout_server.core.model import Strategy
from turnout_server.core.moment import Moment, PreparedThen
from turnout_server.core.shadow import Watched, decide_beside, without_content

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from turnout_server.core.budget_ledger import Room
    from turnout_server.core.comparison import Comparison
    from turnout_server.core.decision import Decision
    from turnout_server.core.model import RouteQuery
    from turnout_server.core.prepared import Prepared
    from turnout_server.core.settings import Settings
    from turnout_server.core.state import FleetState

WAITING_MAXIMUM = 64
"""Decisions that wait for their shadows: each holds the columns of the state that it was made of, some 4 KB and 150
bytes a target where no other one shares them."""
DIFFERENCES_MAXIMUM = 1000
"""Differences that are listed; the oldest goes first. One takes some 1.5 KB, its two sentences included."""
SHADOW_SEED = 1
"""What a shadow draws for itself chooses nobody: every sidecar may draw alike."""


class Pair(NamedTuple):
    """A policy and its shadow."""

    policy: str
    shadow_policy: str


@dataclass(slots=True)
class Tally:
    """How often a shadow agreed with its policy since the start, how often not, and how often it was not asked."""

    agreed: int = 0
    differed: int = 0
    shed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferencePage:
    """Differences, newest first; `next_page_token` is "" on the last page."""

    differences: tuple[Difference, ...]
    next_page_token: str = ""


class Shadowing:
    """Over one state. `rng` is the router's own chance; `count` is told of each comparison.

    `wake` is called when there is something to be done by `step`.
    """

    def __init__(
        self,
        state: FleetState,
        settings: Settings,
        *,
        rng: random.Random,
        count: Callable[[Comparison], None],
        wake: Callable[[], None],
    ) -> None:
        self._state = state
        self._count = count
        self.active = False
        """Whether any policy has a shadow. Without, nothing here is asked."""
        self.recorded = Recorded(rng)
        """Chance for a decision that may be watched: the router's own, remembered."""
        self._replayed = Replayed(SHADOW_SEED)
        self._prepared: tuple[Prepared, PreparedThen] | None = None
        self._waiting: deque[Watched] = deque()
        self._turns: dict[str, int] = {}
        self._number = 0
        self._differences: deque[Difference] = deque(maxlen=DIFFERENCES_MAXIMUM)
        self._tallies: dict[Pair, Tally] = {}
        self._wake = wake
        self.follow(settings)

    def follow(self, settings: Settings) -> None:
        """Takes another configuration. What waits is decided under its own; pairs that are gone are not tallied."""
        policies = settings.routing.policies
        pairs = [Pair(name, each.shadow_policy) for name, each in policies.items() if each.shadow_policy]
        self.active = bool(pairs)
        self._tallies = {pair: self._tally(pair) for pair in pairs}
        self._turns = {name: turn for name, turn in self._turns.items() if name in policies}
        self._prepared = None

    def watch(
        self, decision: Decision, query: RouteQuery, settings: Settings, *, room: Room | None, turn: int, now: float
    ) -> Decision:
        """Has the shadow of a decision's policy asked about it later; returns the decision with its shadow to come.

        To be told of a decision before anything follows from it, in the same instant. `turn` is what ROUND_ROBIN
        counted from.
        """
        shadow_policy = settings.routing.policies[decision.policy].shadow_policy
        if not shadow_policy:
            return decision
        if len(self._waiting) >= WAITING_MAXIMUM:
            self._tally(Pair(decision.policy, shadow_policy)).shed += 1
            return decision
        if decision.strategy is not Strategy.ROUND_ROBIN:
            turn = self._turns[shadow_policy] = self._turns.get(shadow_policy, -1) + 1
        shadow = Shadow(shadow_policy)
        watched = replace(decision, shadow=shadow)
        self._waiting.append(
            Watched(
                decision=watched,
                shadow=shadow,
                query=without_content(query, decision),
                moment=Moment(self._state, query, self._prepared_then(), now),
                settings=settings,
                room=room,
                drawn=self.recorded.drawn,
                turn=turn,
            )
        )
        self._wake()
        return watched

    @property
    def waiting_count(self) -> int:
        """Decisions whose shadows are yet to be asked."""
        return len(self._waiting)

    def step(self) -> None:
        """Has the shadow of the decision that waits longest decide; nothing where none waits."""
        if not self._waiting:
            return
        watched = self._waiting.popleft()
        comparison, reason = decide_beside(watched, self._replayed)
        watched.shadow.comparison = comparison
        self._count(comparison)
        tally = self._tally(Pair(comparison.policy, comparison.shadow_policy))
        if comparison.agreed:
            tally.agreed += 1
            return
        tally.differed += 1
        self._number += 1
        made = watched.decision
        self._differences.append(
            Difference(
                number=self._number,
                decision_id=made.decision_id,
                at_wall=made.decided_at_wall,
                comparison=comparison,
                reason=made.reason,
                shadow_reason=reason,
            )
        )

    def differences(self, *, policy: str = "", page_size: int = 50, page_token: str = "") -> DifferencePage:
        """Returns the newest differences of a policy, of all with "", or those after a page.

        Raises InvalidRequestError for a page token that is not one of ours.
        """
        before = _number_of(page_token) if page_token else None
        found: list[Difference] = []
        for difference in reversed(self._differences):
            if before is not None and difference.number >= before:
                continue
            if policy not in ("", difference.comparison.policy):
                continue
            if len(found) >= page_size:
                return DifferencePage(differences=tuple(found), next_page_token=_token_of(found[-1].number))
            found.append(difference)
        return DifferencePage(differences=tuple(found))

    def tallies(self, policy: str = "") -> list[tuple[Pair, Tally]]:
        """Returns how often each shadow agreed, of one policy or with "" of all, by name."""
        return sorted((pair, tally) for pair, tally in self._tallies.items() if policy in ("", pair.policy))

    def clear(self, before_wall: float | None = None) -> None:
        """Forgets the differences of decisions made before a moment, all without one; the tallies stay."""
        kept = [each for each in self._differences if before_wall is not None and each.at_wall >= before_wall]
        self._differences = deque(kept, maxlen=DIFFERENCES_MAXIMUM)

    def _tally(self, pair: Pair) -> Tally:
        tally = self._tallies.get(pair)
        if tally is None:
            # As many as there are policies: what waited across a change of the configuration may add to them until
            # the next one.
            tally = self._tallies[pair] = Tally()
        return tally

    def _prepared_then(self) -> PreparedThen:
        prepared = self._state.prepared
        if self._prepared is None or self._prepared[0] is not prepared:
            self._prepared = (prepared, PreparedThen(prepared, self._state.fleet))
        return self._prepared[1]


def _token_of(number: int) -> str:
    return urlsafe_b64encode(f"difference {number}".encode()).decode()


def _number_of(token: str) -> int:
    try:
        word, _, number = urlsafe_b64decode(token.encode()).decode().partition(" ")
        if word == "difference" and number.isascii() and number.isdecimal():
            return int(number)
    except ValueError:
        pass
    raise InvalidRequestError(
        [FieldViolation(field="page_token", description="is not one that came with a page; begin without one")]
    )
