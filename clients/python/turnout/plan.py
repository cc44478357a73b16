"""A plan: the targets of a Route decision, to be called by the application itself, best first.

    for attempt in client.plan(task="chat"):
        with attempt:
            reply = call_provider(attempt.model)
            attempt.usage(input_tokens=..., output_tokens=...)

A `with` block that ends without an exception is a success and ends the loop; a failure of the target's is noted and the
loop goes on; every end is reported. Nothing here waits or speaks to the network, so sync and asyncio code share it.

Where the targets come from, and in which order, is told by a `Choice` of planning.py.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from turnout.answer import target_name
from turnout.attempt import PlanAttempt, Report
from turnout.errors import ErrorDetails, PlanExhaustedError
from turnout.planning import Choice
from turnout.v1 import router_pb2 as pb

Result = TypeVar("Result")


class Plan:
    """The targets of one decision in order; iterate to call them.

    The iteration ends after the first success. It raises PlanExhaustedError where no target was used with success and
    the last failure was no exception (with one, that exception comes out of the last `with` block).
    """

    def __init__(
        self,
        choice: Choice,
        report: Report,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        options = choice.request.options
        # The first alone where the request wants no other.
        only_first = options.HasField("allow_fallback") and not options.allow_fallback
        self.decision = choice.decision
        self.candidates: tuple[pb.Candidate, ...] = choice.candidates[:1] if only_first else choice.candidates
        """The targets with their scores and reasons, in the order in which they are offered."""
        self.reused = choice.reused
        """Whether it is an earlier plan, used again without asking the sidecar."""
        self.stale_reason = choice.stale_reason
        """Why the sidecar was not asked or did not answer, and what this is instead; "" where it did."""
        self._about = _about(choice)
        self._restart = options.mid_stream == pb.MID_STREAM_POLICY_RESTART
        self._report = report
        self._clock = clock
        self._wall = wall
        self._new_id = new_id

    @property
    def decision_id(self) -> str:
        """The decision's id; "" for a plan that no sidecar made."""
        return self.decision.decision_id

    @property
    def stale(self) -> bool:
        """Whether the sidecar is away, and this is what is left to go by."""
        return bool(self.stale_reason)

    def __iter__(self) -> Iterator[PlanAttempt]:
        yield from self._attempts(last_comes_out=True)

    def run(self, function: Callable[[PlanAttempt], Result]) -> Result:
        """Calls the function with each target in turn and returns what the first success returns.

        An exception that speaks of the target is noted, and the next target is tried; after the last one
        PlanExhaustedError is raised from it. Every other exception comes out at once.
        """
        for attempt in self._attempts(last_comes_out=False):
            with attempt:
                result = function(attempt)
                if attempt.told() is None:
                    return result
        raise AssertionError("the attempts end with a success or an error")

    async def run_async(self, function: Callable[[PlanAttempt], Awaitable[Result]]) -> Result:
        """Does the same as `run` with a coroutine function."""
        for attempt in self._attempts(last_comes_out=False):
            with attempt:
                result = await function(attempt)
                if attempt.told() is None:
                    return result
        raise AssertionError("the attempts end with a success or an error")

    def _attempts(self, *, last_comes_out: bool) -> Iterator[PlanAttempt]:
        attempt: PlanAttempt | None = None
        for place, candidate in enumerate(self.candidates, start=1):
            attempt = PlanAttempt(
                candidate,
                about=self._about,
                swallow=not last_comes_out or place < len(self.candidates),
                restart=self._restart,
                report=self._report,
                clock=self._clock,
                wall=self._wall,
                new_id=self._new_id,
            )
            yield attempt
            if attempt.succeeded:
                return
            told = attempt.told()
            if told is not None and not attempt.may_go_on(told):
                break
        names = ", ".join(target_name(candidate.target) for candidate in self.candidates)
        msg = f"no target of the plan was used with success: {names or 'it has none'}"
        error = PlanExhaustedError(msg, ErrorDetails(decision_id=self.decision_id))
        raise error from (None if attempt is None else attempt.error)


def _about(choice: Choice) -> pb.Outcome:
    """Returns what every outcome of a plan says of it.

    The sidecar adds the rest from its history, but not for a decision that it does not know: one of the time before it
    was started anew, or none.
    """
    about = pb.Outcome(decision_id=choice.decision.decision_id)
    if choice.stale_reason:
        request = choice.request
        about.task, about.session_id = request.profile.task, request.session_id
        if request.HasField("caller"):
            about.caller.CopyFrom(request.caller)
    return about
