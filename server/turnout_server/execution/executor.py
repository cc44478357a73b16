"""Execute and ExecuteStream: decides, then carries the call out until it has an answer or an honest error."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

from turnout_server.core.call import AttemptDeltas, AttemptStarted, CallEvent, CallResult, Completed
from turnout_server.core.chat import ChatInput
from turnout_server.core.deadlines import call_times
from turnout_server.core.decision import Decision
from turnout_server.core.demands import agreed_input, demanded_profile
from turnout_server.core.hedging import wants_hedge
from turnout_server.core.model import RouteQuery, Target
from turnout_server.core.trimming import TrimReport
from turnout_server.execution.call import Call
from turnout_server.execution.checking import Checking
from turnout_server.execution.cut_calls import watched_call
from turnout_server.execution.facts import CallFacts
from turnout_server.execution.gather import Gatherer, result_of
from turnout_server.execution.hops import Hops
from turnout_server.execution.probing import Probing
from turnout_server.execution.running import Shell
from turnout_server.execution.shortening import Shortened, shortened
from turnout_server.execution.upstreams import Upstreams
from turnout_server.execution.waits import waits_of_call
from turnout_server.ports import AttemptTrace, Upstream
from turnout_server.router import Router

MAX_ANSWER_BYTES = 31 * 1024 * 1024
"""Default: what fits into a message of 32 MiB beside the decision and the attempts."""


class Executor:
    """Makes calls for callers. One per router; `upstreams` has the provider's caller under each provider's name.

    The upstreams are its own from then on. `clock` is monotonic seconds, the one that `router` uses; `wall` seconds
    since the epoch. `trace_headers` returns the W3C headers of the present call; `trace_attempt` begins an
    attempt's part of its trace, where it is recorded, `trace_hop` that of a further decision; `max_answer_bytes` bounds
    what `execute` gathers. Close it with `aclose` when no call runs any more.
    """

    def __init__(
        self,
        router: Router,
        upstreams: Mapping[str, Upstream],
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        rng: random.Random,
        new_id: Callable[[], str],
        trace_headers: Callable[[], tuple[tuple[str, str], ...]] = tuple,
        trace_attempt: Callable[[], AttemptTrace | None] = lambda: None,
        trace_hop: Callable[[str], Callable[[Decision], None] | None] = lambda _cause: None,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self._router = router
        self._clock = clock
        self._rng = rng
        self._new_id = new_id
        self._upstreams = Upstreams(upstreams)
        self._shell = Shell(
            router=router,
            upstreams=self._upstreams,
            clock=clock,
            wall=wall,
            trace_headers=trace_headers,
            trace_attempt=trace_attempt,
            trace_hop=trace_hop,
            max_answer_bytes=max_answer_bytes,
        )
        self._probing = Probing(self._shell)
        self.checking = Checking(self._shell, self._probing)
        """The active checks; whoever wants them in turn runs its `watch`."""
        self._waiting: set[Target] = set()

    async def execute(
        self, query: RouteQuery, chat: ChatInput, *, on_decision: Callable[[Decision], None] | None = None
    ) -> CallResult:
        """Returns a complete answer. Raises TurnoutError: CallError and its kinds say what was tried.

        `query.deadline_seconds` is what the caller's deadline leaves, None for no deadline; the profile may be empty,
        since the input says what is needed. `on_decision` is told the decision before anything is sent.
        """
        short = await self._shortened(query, chat, streaming=False) if self._router.configured.trims(query) else None
        facts = self._facts(query, chat, streaming=False, short=short)
        gathered = Gatherer()
        completed: Completed | None = None
        try:
            if on_decision is not None:
                on_decision(facts.decision)
            async with aclosing(self._run(facts)) as events:
                async for event in events:
                    match event:
                        case AttemptStarted():
                            gathered.clear()
                        case AttemptDeltas():
                            gathered.add(event.deltas)
                        case Completed():
                            completed = event
                        case _:
                            pass
        finally:
            self._upstreams.give_back(facts.connected)
        assert completed is not None, "a call ended without an answer and without an error"
        return result_of(completed, facts.decision, gathered)

    async def execute_stream(self, query: RouteQuery, chat: ChatInput) -> AsyncGenerator[CallEvent]:
        """Yields the decision, then what happens, Completed last; raises as `execute` does.

        To be closed (`aclosing`) by whoever iterates it: closing it closes the provider's connection.
        """
        short = await self._shortened(query, chat, streaming=True) if self._router.configured.trims(query) else None
        facts = self._facts(query, chat, streaming=True, short=short)
        try:
            yield facts.decision
            async with aclosing(self._run(facts)) as events:
                async for event in events:
                    yield event
        finally:
            self._upstreams.give_back(facts.connected)

    def adopt(self, upstreams: Mapping[str, Upstream]) -> None:
        """Has calls that begin from now on use these, in one step.

        Those that they replace are closed when the calls that began before have ended.
        """
        self._upstreams.adopt(upstreams)

    async def aclose(self) -> None:
        """Ends what runs in the background, and closes the upstreams."""
        await self.checking.aclose()
        await self._probing.aclose()
        await self._upstreams.aclose()

    async def _shortened(self, query: RouteQuery, chat: ChatInput, *, streaming: bool) -> Shortened | None:
        now = self._clock()
        times = call_times(query.deadline_seconds, self._router.configured.settings.failover, now=now)
        query = dataclasses.replace(query, executing=True, deadline_seconds=max(0.0, times.ends_at - now))
        return await shortened(self._router, query, chat, streaming=streaming, began_at=now)

    def _facts(
        self, query: RouteQuery, chat: ChatInput, *, streaming: bool, short: Shortened | None = None
    ) -> CallFacts:
        """Decides. Raises as `Deciding.for_call` does, and InvalidRequestError where profile and input disagree.

        `short` is what is sent in place of `chat`, which is too long.
        """
        now = self._clock()
        if short is not None:
            now, chat = short.began_at, short.chat
        given_seconds = query.deadline_seconds
        times = call_times(given_seconds, self._router.configured.settings.failover, now=now)
        query = dataclasses.replace(
            query,
            profile=demanded_profile(query.profile, chat, streaming=streaming),
            executing=True,
            deadline_seconds=max(0.0, times.ends_at - now),
        )
        configured, decision = self._router.configured, self._router.deciding.for_call(query)
        policy = configured.policy(decision)
        hedging = wants_hedge(policy, query.options) and len(decision.candidates) > 1
        if hedging:
            self._router.further_attempts.hedgeable_call()
        self._probing.start(decision.probes_wanted, query.caller.tenant)
        settings = configured.failover(decision)
        return CallFacts(
            call_id=self._new_id(),
            query=query,
            chat=agreed_input(chat, query.profile),
            decision=decision,
            under=configured.in_force,
            policy=policy,
            settings=settings,
            # Only now is the policy known, which may have a time limit of its own.
            times=call_times(given_seconds, settings, now=now),
            streaming=streaming,
            cap=configured.cost_cap(query, policy),
            hedging=hedging,
            trimming=None if short is None else self._report(short, decision),
            # Last, so that nothing can go wrong between here and whoever gives them back.
            connected=self._upstreams.take(),
        )

    def _report(self, short: Shortened, decision: Decision) -> TrimReport:
        return short.report(decision, self._router.targets.tokens_per_byte(decision.candidates[0].target))

    async def _run(self, facts: CallFacts) -> AsyncGenerator[CallEvent]:
        hops = Hops(
            facts,
            self._router,
            clock=self._clock,
            rng=self._rng,
            waiting=self._waiting,
            trace_hop=self._shell.trace_hop,
        )
        call = Call(self._shell, facts, hops)
        try:
            async with aclosing(call.events()) as events:
                async for event in events:
                    yield event
        except (asyncio.CancelledError, GeneratorExit):
            watched = watched_call.get()
            if watched is not None:
                watched.report, watched.decision_id = call.report(), facts.decision.decision_id
            raise
        finally:
            self._router.attempts.end_call(facts.call_id)
            waits = waits_of_call.get()
            if waits is not None:
                waits.seconds += call.outside_seconds
