"""What became of a trace in one contender's hands, in numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from bench.decisions.calls import DEADLINE_SECONDS
from bench.decisions.contender import End
from bench.decisions.play import Played
from bench.decisions.providers import Attempt
from turnout_server.core.events import Event, EventName

OPENED = frozenset({EventName.BREAKER_OPENED, EventName.ENDPOINT_OPENED})
CLOSED = frozenset({EventName.BREAKER_CLOSED, EventName.ENDPOINT_CLOSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The numbers of one trace and contender. Seconds are over all calls but broken ones; a failed call counts as one
    that took all of its deadline, since its caller has waited and has nothing.
    """

    trace: str
    contender: str
    calls: int
    answerable: int
    """Calls that some target would have answered when they came."""
    answered: int
    answered_answerable: int
    broken: int
    """Streams that broke after the caller had seen some of it."""
    broken_answerable: int
    failed: int
    attempts: int
    trials: int
    """Attempts, counted among the others, that no caller waited for."""
    dead_attempts: int
    """Attempts at targets that answered nobody at that moment."""
    openings: int
    most_dead_in_an_opening: int
    """Of attempts at a dead target while its breaker was not closed, the most between one opening and the next."""
    p50_seconds: float
    p95_seconds: float
    p99_seconds: float
    cost_usd: float

    @property
    def success(self) -> float:
        """The share answered of the calls that somebody would have answered, broken streams aside."""
        return self.answered_answerable / max(1, self.answerable - self.broken_answerable)

    @property
    def attempts_per_success(self) -> float:
        """All attempts by the calls answered."""
        return self.attempts / max(1, self.answered)

    @property
    def cost_per_answer_usd(self) -> float:
        """Everything that the providers charge, by the calls answered."""
        return self.cost_usd / max(1, self.answered)


def account(played: Played) -> Account:
    """Returns the numbers of a trace that has been played."""
    calls, attempts = played.calls, played.attempts
    answered = [called for called in calls if called.end is End.ANSWERED]
    broken = [called for called in calls if called.end is End.BROKEN]
    failed = [called for called in calls if called.end is End.FAILED]
    seconds = sorted([called.ended - called.planned.at for called in answered] + [DEADLINE_SECONDS] * len(failed))
    windows = [
        count
        for sidecar, events in enumerate(played.events)
        for count in _dead_in_openings(events, [one for one in attempts if one.sidecar == sidecar and one.dead])
    ]
    return Account(
        trace=played.trace.name,
        contender=played.contender,
        calls=len(calls),
        answerable=sum(called.answerable for called in calls),
        answered=len(answered),
        answered_answerable=sum(called.answerable for called in answered),
        broken=len(broken),
        broken_answerable=sum(called.answerable for called in broken),
        failed=len(failed),
        attempts=len(attempts),
        trials=sum(attempt.call is None for attempt in attempts),
        dead_attempts=sum(attempt.dead for attempt in attempts),
        openings=len(windows),
        most_dead_in_an_opening=max(windows, default=0),
        p50_seconds=percentile(seconds, 0.50),
        p95_seconds=percentile(seconds, 0.95),
        p99_seconds=percentile(seconds, 0.99),
        cost_usd=sum(attempt.cost_usd for attempt in attempts),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Returns the nearest-rank percentile of values in order, 0 where there are none."""
    return ordered[ceil(share * len(ordered)) - 1] if ordered else 0.0


def _dead_in_openings(events: Sequence[Event], dead: Sequence[Attempt]) -> Iterable[int]:
    """Yields for each opening of a target's or an endpoint's breaker how many attempts at dead targets fell into it.

    An opening lasts until the next one, or until the breaker closes.
    """
    openings: list[tuple[str, float, float]] = []
    since: dict[str, float] = {}
    for event in events:
        if event.name not in OPENED | CLOSED:
            continue
        of_endpoint = event.name in {EventName.ENDPOINT_OPENED, EventName.ENDPOINT_CLOSED}
        key = f"{event.provider}/*@{event.endpoint}" if of_endpoint else str(event.target)
        began_at = since.pop(key, None)
        if began_at is not None:
            openings.append((key, began_at, event.at))
        if event.name in OPENED:
            since[key] = event.at
    openings += [(key, began_at, float("inf")) for key, began_at in since.items()]
    for key, began_at, ended_at in openings:
        # What began at the very moment of the opening had been let through before.
        yield sum(began_at < one.at <= ended_at and key in {one.target, _endpoint(one.target)} for one in dead)


def _endpoint(target: str) -> str:
    provider, _, rest = target.partition("/")
    return f"{provider}/*@{rest.partition('@')[2]}"
