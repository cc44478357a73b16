"""Calls of policies that keep answers: an equal request gets the answer that is there, all others are executed.

Arrow line: request -> its place in the cache -> kept? -> that answer; else: execute, and keep what is whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

from turnout_server.core.asking import check_query
from turnout_server.core.call import AttemptDeltas, CallEvent, CallResult, Completed, Restarted
from turnout_server.core.deadlines import with_less_time
from turnout_server.core.decision import Decision
from turnout_server.core.preferences import select_policy
from turnout_server.execution.accounting import delta_bytes
from turnout_server.execution.answer_cache import AnswerCache
from turnout_server.execution.fingerprint import chat_digest, request_digest
from turnout_server.execution.gather import Gatherer, result_of
from turnout_server.execution.replay import replayed

if TYPE_CHECKING:
    from turnout_server.core.chat import ChatInput
    from turnout_server.core.fleet import Fleet
    from turnout_server.core.model import RouteQuery
    from turnout_server.core.settings import CacheSettings, RoutingSettings
    from turnout_server.execution.executor import Executor
    from turnout_server.router import Router


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where the answer to a request belongs in the cache, by what was in force when the request came."""

    policy: str
    settings: CacheSettings
    digest: bytes
    fleet: Fleet
    routing: RoutingSettings


class CachedCalls:
    """Stands before an executor. `clock` is the monotonic one of both.

    `principal` is who asks; `digest` the `chat_digest` of the request where it is known already, else None.
    """

    def __init__(
        self, executor: Executor, router: Router, *, clock: Callable[[], float], cache: AnswerCache | None = None
    ) -> None:
        self._executor = executor
        self._router = router
        self._clock = clock
        self.cache = AnswerCache() if cache is None else cache
        self._fleet: Fleet | None = None
        self._routing: RoutingSettings | None = None
        self._any = False

    def active(self) -> bool:
        """Whether any policy keeps answers. What was kept under other rules, or for another fleet, is forgotten."""
        configured = self._router.configured
        if configured.settings.routing is not self._routing or configured.fleet is not self._fleet:
            self._routing, self._fleet = configured.settings.routing, configured.fleet
            self._any = any(policy.cache is not None for policy in self._routing.policies.values())
            self.cache.clear()
        return self._any

    async def execute(
        self,
        query: RouteQuery,
        chat: ChatInput,
        principal: str,
        digest: bytes | None,
        on_decision: Callable[[Decision], None] | None = None,
    ) -> CallResult:
        """Returns a complete answer; raises as `Executor.execute` does."""
        came_at = self._clock()
        place = await self._place(query, chat, principal, digest)
        query = with_less_time(query, self._clock() - came_at)
        if place is None:
            return await self._executor.execute(query, chat, on_decision=on_decision)
        kept = self._kept(query, place)
        if kept is not None:
            if on_decision is not None:
                on_decision(kept.decision)
            return kept
        result = await self._executor.execute(query, chat, on_decision=on_decision)
        self._keep(place, result)
        return result

    async def execute_stream(
        self, query: RouteQuery, chat: ChatInput, principal: str, digest: bytes | None
    ) -> AsyncGenerator[CallEvent]:
        """Yields the decision, then what happens, Completed last; raises as `execute` does. To be closed."""
        came_at = self._clock()
        place = await self._place(query, chat, principal, digest)
        query = with_less_time(query, self._clock() - came_at)
        kept = None if place is None else self._kept(query, place)
        if kept is not None:
            for event in replayed(kept):
                yield event
            return
        gathering = _Gathering(self.cache.largest_bytes)
        async with aclosing(self._executor.execute_stream(query, chat)) as events:
            async for event in events:
                if place is not None:
                    gathering.add(event)
                    result = gathering.result() if isinstance(event, Completed) else None
                    if result is not None:
                        self._keep(place, result)
                yield event

    async def _place(self, query: RouteQuery, chat: ChatInput, principal: str, digest: bytes | None) -> _Place | None:
        """Returns where the answer belongs, None where it is not to be kept. Raises UnknownPolicyError."""
        routing, fleet = self._router.configured.settings.routing, self._router.configured.fleet
        policy = select_policy(query, routing)
        if policy.cache is None or not (chat.temperature == 0 or policy.cache.any_temperature):
            return None
        digest = digest or await chat_digest(chat)
        return _Place(
            policy=policy.name,
            settings=policy.cache,
            digest=request_digest(digest, principal, *_answer_facts(query, chat)),
            fleet=fleet,
            routing=routing,
        )

    def _kept(self, query: RouteQuery, place: _Place) -> CallResult | None:
        # A caller's nonsense is told to it, whether or not an answer is there.
        check_query(query)
        if not self._in_force(place):
            return None
        now = self._clock()
        kept = self.cache.get(place.policy, place.digest, now)
        if kept is None:
            return None
        decision = self._router.deciding.answered_before(
            kept.decision, kept.target, query, age_seconds=now - kept.kept_at
        )
        return CallResult(
            output=kept.output,
            target=kept.target,
            decision=decision,
            attempts=(),
            usage=kept.usage,
            cost_nano_usd=0,
            cached=True,
            notices=self._router.budgets.notices(decision, query, kept.target),
        )

    def _keep(self, place: _Place, result: CallResult) -> None:
        # The answer to a prompt that was shortened is another one than a larger window would have given.
        trimmed = result.notices is not None and result.notices.trimming is not None
        if trimmed or not self._in_force(place):
            return
        self.cache.keep(
            place.policy,
            place.digest,
            place.settings,
            output=result.output,
            target=result.target,
            usage=result.usage,
            decision=dataclasses.replace(result.decision, candidates=(), rejections=()),
            now=self._clock(),
        )

    def _in_force(self, place: _Place) -> bool:
        """Whether neither rules nor fleet were replaced since the request came."""
        self.active()
        return place.routing is self._routing and place.fleet is self._fleet


class _Gathering:
    """What a stream has brought, while it is not too much to be kept."""

    def __init__(self, largest_bytes: int) -> None:
        self._largest_bytes = self._left = largest_bytes
        self._gathered = Gatherer()
        self._decision: Decision | None = None
        self._completed: Completed | None = None

    def add(self, event: CallEvent) -> None:
        match event:
            case Decision():
                self._decision = event
            case Restarted():
                self._gathered.clear()
                self._left = self._largest_bytes
            case AttemptDeltas() if self._left > 0:
                self._left -= sum(map(delta_bytes, event.deltas))
                self._gathered.add(event.deltas)
                if self._left <= 0:
                    self._gathered.clear()
            case Completed():
                self._completed = event
            case _:
                pass

    def result(self) -> CallResult | None:
        """Returns the whole answer; None where there is none, or it is too large."""
        completed, decision = self._completed, self._decision
        if completed is None or decision is None or self._left <= 0:
            return None
        return result_of(completed, decision, self._gathered)


def _answer_facts(query: RouteQuery, chat: ChatInput) -> tuple[object, ...]:
    """Returns what of a query decides which model answers, and how; not who is in a hurry, or what it may cost."""
    profile, options = query.profile, query.options
    return (
        profile.max_output_tokens if chat.max_output_tokens is None else chat.max_output_tokens,
        profile.reasoning_effort if chat.reasoning_effort is None else chat.reasoning_effort,
        profile.task,
        profile.complexity,
        profile.capabilities,
        profile.custom_capabilities,
        profile.preferred_capabilities,
        options.strategy,
        options.weights,
        options.min_quality,
        options.force_target,
        sorted(set(options.include)),
        sorted(set(options.exclude)),
        sorted(set(options.regions)),
        query.caller.tier,
    )
