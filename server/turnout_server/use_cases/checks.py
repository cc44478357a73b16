"""What active checks ask of the state, and what becomes of their answers; `execution.checking` makes them.

Nothing of a list of models counts for health: it is told, counted, and may give an endpoint that could not be connected
to its trial early. A call of one token is a trial like any other, and ends where all attempts do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from turnout_server.core.checks import Allowance, Means, Phases, Question, Taken, call_cost_nano_usd
from turnout_server.core.events import Event, EventName
from turnout_server.core.model import FailureKind, Target

if TYPE_CHECKING:
    import random

    from turnout_server.core.fleet import TargetSpec
    from turnout_server.core.settings import CheckSettings
    from turnout_server.core.state import FleetState

OK, NOT_MADE = "ok", "not_made"
"""Results beside the kinds of failure."""
TOLD_AGAIN_SECONDS = 600.0
"""A result is told when it is another one than before, and now and then."""
COUNTED_MAXIMUM = 4096
"""Pairs of what was checked and its result; beyond it nothing new is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """How one check ended. `target` has no model where the endpoint as a whole was asked.

    `seconds` is None where it was not made, which is no failure of the target's; `cost_nano_usd` None is unknown.
    """

    target: Target
    means: Means
    failure: FailureKind | None = None
    seconds: float | None = None
    cost_nano_usd: int | None = None
    detail: str = ""
    unpaid: bool = False
    """It was not made since it has no known price, or the day's allowance is spent."""

    @property
    def ok(self) -> bool:
        """Whether it was made, and answered as it should be."""
        return self.failure is None and self.seconds is not None

    @property
    def result(self) -> str:
        """What came of it, in one word: ok, the kind of failure, or not_made."""
        if self.failure is not None:
            return self.failure.value
        return NOT_MADE if self.seconds is None else OK

    @property
    def name(self) -> str:
        """What was checked: "provider", "provider@endpoint", or a target."""
        return str(self.target) if self.target.model else _endpoint_name(self.target)


class Checks:
    """Over one state. `clock` is monotonic seconds; `tell` takes events; `expire` lets time take effect.

    `settings` returns those in force.
    """

    def __init__(
        self,
        state: FleetState,
        *,
        settings: Callable[[], CheckSettings],
        clock: Callable[[], float],
        wall: Callable[[], float],
        rng: random.Random,
        tell: Callable[[Iterable[Event]], None],
        expire: Callable[[], None],
    ) -> None:
        self._state = state
        self._settings = settings
        self._clock = clock
        self._wall = wall
        self._tell = tell
        self._expire = expire
        self._phases = Phases(rng)
        self._allowance = Allowance()
        self._asked_at = clock()
        self._told: dict[str, tuple[str, float]] = {}
        self._counts: Counter[tuple[str, str]] = Counter()

    def due(self) -> list[Question]:
        """Returns the checks whose turn has come since this was last asked: of endpoints in question alone."""
        settings, since, now = self._settings(), self._asked_at, self._clock()
        self._asked_at = now
        if not settings.enabled:
            return []
        questions = self._state.questions(now)
        self._phases.keep((each.provider, each.endpoint) for each in questions)
        return [
            each
            for each in questions
            if self._phases.due(
                (each.provider, each.endpoint), since=since, now=now, interval_seconds=settings.interval_seconds
            )
        ]

    def key_for(self, spec: TargetSpec) -> str | None:
        """Returns the label of the key to ask with, "" for none; None while all are out, or pause."""
        return self._state.credentials.next_credential(spec, frozenset(), tenant="", now=self._clock())

    def held_back(self, target: Target) -> str:
        """Returns in words why a target cannot be called at this moment."""
        index, now = self._state.fleet.index(target), self._clock()
        if index is None:
            return "it was removed"
        state = self._state.targets[index]
        if state.drained:
            return "it is drained"
        times = [at for at in (state.breaker.retry_at(now), state.endpoint.retry_at(now)) if at is not None]
        if times:
            return f"its breaker lets nothing through for {max(times) - now:.1f} s; a reset closes it"
        if not state.has_room():
            return "as many calls as it may have are under way"
        return self._state.credentials.verdict_for_anybody(state.spec, now).detail or "budgets leave no room for it"

    def pay(self, spec: TargetSpec, *, asked_for: bool) -> Taken | None:
        """Takes what a call of one token may cost out of the day's allowance; None where that has no room for it.

        What somebody has asked for is counted, and never refused.
        """
        limit = self._settings().max_nano_usd_per_day
        return self._allowance.take(call_cost_nano_usd(spec), limit, self._wall(), asked_for=asked_for)

    def paid(self, taken: Taken, cost_nano_usd: int | None) -> None:
        """Puts what the call did cost in the place of what was taken for it."""
        self._allowance.settle(taken, cost_nano_usd, self._wall())

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Returns how many checks there were, by what was checked and the result; what has gone is not told of."""
        targets = [spec.target for spec in self._state.fleet.specs]
        here = {str(target) for target in targets} | {_endpoint_name(target) for target in targets}
        for gone in [key for key in self._counts if key[0] not in here]:
            del self._counts[gone]
        return self._counts

    @property
    def spent_nano_usd(self) -> int:
        """What checks have cost on the present day, as far as is known."""
        return self._allowance.spent_nano_usd

    def ended(self, report: CheckReport, *, by: str = "") -> None:
        """Takes how a check ended; `by` is who asked for it, in words for people, "" for nobody."""
        now = self._clock()
        # What is over by now is over by itself.
        self._expire()
        where = report.target
        if report.means is Means.LIST:
            self._listed(report, now)
        else:
            index = self._state.fleet.index(where)
            if index is not None and report.seconds is not None:
                self._state.check_ended((index,), now)
        key = (report.name, report.result)
        if key in self._counts or len(self._counts) < COUNTED_MAXIMUM:
            self._counts[key] += 1
        before = self._told.get(report.name)
        if by or before is None or before[0] != report.result or now - before[1] >= TOLD_AGAIN_SECONDS:
            self._told[report.name] = (report.result, now)
            self._tell((_event(report, by, now),))
        self._forget(now)

    def _listed(self, report: CheckReport, now: float) -> None:
        provider, endpoint = report.target.provider, report.target.endpoint
        if report.seconds is None:
            return
        if report.failure is FailureKind.CONNECTION:
            self._state.looked_at_endpoint(provider, endpoint, report.detail)
        self._state.listed(provider, endpoint, now, ok=report.ok)
        # Told at once that it is half-open, and not with the next call.
        self._expire()

    def _forget(self, now: float) -> None:
        """Keeps no more names than there are targets: of the rest, and of results of long ago, nothing is known."""
        if len(self._told) > 2 * len(self._state.fleet.specs):
            self._told = {name: told for name, told in self._told.items() if now - told[1] < TOLD_AGAIN_SECONDS}


def _endpoint_name(target: Target) -> str:
    return f"{target.provider}@{target.endpoint}" if target.endpoint else target.provider


def _event(report: CheckReport, by: str, now: float) -> Event:
    where = report.target
    fields: dict[str, str | int | float] = {"result": report.result, "means": report.means.value}
    if report.seconds is not None:
        fields["latency_seconds"] = round(report.seconds, 3)
    if report.detail:
        fields["detail"] = report.detail
    if by:
        fields["by"] = by
    return Event(
        name=EventName.CHECKED,
        at=now,
        target=where if where.model else None,
        provider=where.provider,
        endpoint=where.endpoint,
        fields=fields,
    )
