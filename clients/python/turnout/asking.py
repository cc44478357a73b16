"""Questions to the sidecar that are under way: of equal ones at one time one caller asks, and the others wait for it.

Pure: whoever is to wait does so by himself, and looks again when the other question has ended, however it did. Why
the rules are these is decision 58, "Joined questions".
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field

from turnout.plan_cache import Tokens, no_more_tokens
from turnout.v1 import router_pb2 as pb

MAX_WAIT_COUNT = 2
"""For how many questions of others a caller waits: after that he asks, whoever else does."""


@dataclass(slots=True, kw_only=True, eq=False)
class Asking:
    """A question to the sidecar, and how far it has come.

    `ends_at` is when its caller's time is over, on the clock of `now`. `falls_back`: without an answer there is
    something else to go by. `alone`: all others go on with stale plans meanwhile.
    """

    request: pb.RouteRequest
    key: bytes
    tokens: Tokens
    ends_at: float
    failure_count: int = 0
    falls_back: bool = False
    alone: bool = False
    sent_at: float = 0.0
    uninformed: bool = False
    """Whether the sidecar may not know of a failure yet: then its answer serves once only."""
    refused: bool = False
    """Whether it ended in an error, which is its caller's alone."""
    waits_for: Asking | None = None
    """An equal question that somebody else asks: to be waited for, until `wait_until` at most."""
    wait_until: float = 0.0
    waited_count: int = 0
    ended: Future[None] = field(default_factory=Future)
    """Done when the question has ended."""

    def retry_count(self, most: int) -> int:
        """Returns how often the question may be put again."""
        return 0 if self.falls_back else most


class Questions:
    """Those under way, by key: at most as many as there are callers who ask."""

    def __init__(self) -> None:
        self._asked: dict[bytes, Asking] = {}

    def __len__(self) -> int:
        return len(self._asked)

    def join(self, asking: Asking, now: float) -> None:
        """Finds a question to wait for; where there is none, this one is what later callers wait for.

        A caller waits for half of the time that he has left, and for no question that may end before that: neither the
        silence nor the deadline of another takes his own chance from him.
        """
        other, waited_for = self._asked.get(asking.key), asking.waits_for
        if waited_for is not None and waited_for.refused:
            asking.waited_count = MAX_WAIT_COUNT
        until = now + (asking.ends_at - now) / 2
        if (
            other is not None
            and other is not waited_for
            and other.ends_at >= until
            and asking.waited_count < MAX_WAIT_COUNT
            and no_more_tokens(asking.tokens, other.tokens)
        ):
            asking.waits_for, asking.wait_until = other, until
            asking.waited_count += 1
            return
        self.ask(asking)

    def ask(self, asking: Asking) -> None:
        """Takes a question that waits for no other; it is the one that later callers wait for."""
        asking.waits_for = None
        self._asked[asking.key] = asking

    def end(self, asking: Asking) -> None:
        """Forgets a question."""
        if self._asked.get(asking.key) is asking:
            del self._asked[asking.key]
