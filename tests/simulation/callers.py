"""Applications of a simulated world: those who have calls made, and those who make them after a plan and report."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field

from tests.simulation.own_attempts import OwnAttempt
from tests.simulation.providers import Providers
from tests.simulation.sidecars import Sidecar
from tests.simulation.wishes import Mode, Reporting, Wish
from tests.virtual_time import virtual_loop
from turnout_server.core.call import AttemptRecord, Completed
from turnout_server.core.errors import CallError, TurnoutError
from turnout_server.core.model import CALLER_FAILURES, Outcome
from turnout_server.ports import UpstreamError

OWN_ATTEMPTS_MAXIMUM = 4
"""So many candidates of a plan an application tries."""


@dataclass(slots=True)
class Called:
    """One call and what became of it: `error` is None where it was answered."""

    sidecar: str
    started: float
    wish: Wish
    ended: float = 0.0
    end_count: int = 0
    error: TurnoutError | UpstreamError | None = None
    gone: bool = False
    """Its caller went away."""
    target: str = ""
    attempts: tuple[AttemptRecord, ...] = ()
    usable: tuple[str, ...] = ()
    """Targets that the sidecar had nothing against when the call came."""
    planned: tuple[str, ...] = ()
    """Targets of the plan, in advise mode."""
    own: dict[str, Outcome] = field(default_factory=dict)
    """What an application did itself, by attempt id, whether or not it told."""
    reported: list[str] = field(default_factory=list)
    """Attempt ids that were reported, each as often as it was."""

    def __str__(self) -> str:
        wish = self.wish
        return f"the call of {self.sidecar} at {self.started:.3f} s ({wish.mode}, deadline {wish.deadline})"


async def make(one: Sidecar, called: Called, providers: Providers) -> None:
    """Makes one call and writes down how it ended."""
    seconds = called.wish.gives_up_seconds
    scope = asyncio.timeout(seconds)
    try:
        async with scope:
            match called.wish.mode:
                case Mode.UNARY:
                    await _unary(one, called)
                case Mode.STREAM:
                    await _stream(one, called)
                case Mode.ADVISED:
                    await _advised(one, called, providers)
    except TimeoutError:
        called.gone = True
    except (TurnoutError, UpstreamError) as error:
        called.error = error
        called.attempts = error.report.attempts if isinstance(error, CallError) else ()
    called.ended = virtual_loop().time()
    called.end_count += 1


async def _unary(one: Sidecar, called: Called) -> None:
    result = await one.executor.execute(called.wish.query, called.wish.chat)
    called.target, called.attempts = str(result.target), result.attempts


async def _stream(one: Sidecar, called: Called) -> None:
    completed: Completed | None = None
    async with aclosing(one.executor.execute_stream(called.wish.query, called.wish.chat)) as events:
        async for event in events:
            assert completed is None, "nothing follows Completed"
            if isinstance(event, Completed):
                completed = event
    assert completed is not None, "a stream ends with Completed or with an error"
    called.target, called.attempts = str(completed.target), completed.attempts


async def _advised(one: Sidecar, called: Called, providers: Providers) -> None:
    """Asks for a plan, makes the call itself, tells how it went, and goes on with the plan after a failure."""
    loop, wish = virtual_loop(), called.wish
    decision = one.router.deciding.route(wish.query)
    called.planned = tuple(str(candidate.target) for candidate in decision.candidates)
    error: UpstreamError | None = None
    for number, candidate in enumerate(decision.candidates[:OWN_ATTEMPTS_MAXIMUM]):
        left = float("inf") if wish.deadline is None else called.started + wish.deadline - loop.time()
        if left <= 0.0:
            break
        attempt_id = f"{decision.decision_id}/{number}"
        own = OwnAttempt(one, providers, candidate, decision, attempt_id=attempt_id, wish=wish)
        error = await own.run(min(left, candidate.attempt_timeout_seconds))
        called.own[attempt_id] = own.outcome
        _tell(one, called, own.outcome)
        if error is None:
            called.target = str(candidate.target)
            return
        if error.kind in CALLER_FAILURES:
            break
    assert error is not None
    raise error


def _tell(one: Sidecar, called: Called, outcome: Outcome) -> None:
    times = {Reporting.NEVER: 0, Reporting.TWICE: 2}.get(called.wish.reporting, 1)

    def tell() -> None:
        for _ in range(times):
            called.reported.append(outcome.attempt_id)
            one.router.reports.take([outcome], [])

    if called.wish.reporting is Reporting.LATE:
        virtual_loop().call_later(10.0, tell)
    else:
        tell()
