"""Requests that were made before: each gets the answer that there is, and all others are executed.

Arrow line: request id known? -> that call's answer; equal request's answer kept? -> that one; else: execute, keep.
What is not configured and not asked for costs a comparison: the executor is called as if there were nothing before it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

from turnout_server.core.call import CallEvent, CallResult, Completed
from turnout_server.core.deadlines import call_times, with_less_time
from turnout_server.core.decision import Decision
from turnout_server.execution.answer_cache import AnswerCache
from turnout_server.execution.cached import CachedCalls
from turnout_server.execution.fingerprint import asked, chat_digest, request_digest
from turnout_server.execution.once import Once
from turnout_server.execution.replay import replayed

if TYPE_CHECKING:
    from turnout_server.core.chat import ChatInput
    from turnout_server.core.model import RouteQuery
    from turnout_server.execution.executor import Executor
    from turnout_server.router import Router

OnDecision = Callable[[Decision], None]


class Answering:
    """Stands before an executor, with the same two ways to call. `clock` is the monotonic one of both.

    `principal` is who asks, as far as the listener can tell callers apart: answers of one are never given to another.
    """

    def __init__(
        self,
        executor: Executor,
        router: Router,
        *,
        clock: Callable[[], float],
        once: Once | None = None,
        cache: AnswerCache | None = None,
    ) -> None:
        self._executor = executor
        self._router = router
        self._clock = clock
        self.once = Once(clock) if once is None else once
        self._cached = CachedCalls(executor, router, clock=clock, cache=cache)
        self.cache = self._cached.cache

    def execute(
        self, query: RouteQuery, chat: ChatInput, *, principal: str, on_decision: OnDecision | None = None
    ) -> Awaitable[CallResult]:
        """Returns a complete answer; raises as `Executor.execute` does, and RequestIdReusedError."""
        if query.request_id:
            return self._execute_once(query, chat, principal, on_decision)
        if self._cached.active():
            return self._cached.execute(query, chat, principal, None, on_decision)
        return self._executor.execute(query, chat, on_decision=on_decision)

    def execute_stream(self, query: RouteQuery, chat: ChatInput, *, principal: str) -> AsyncGenerator[CallEvent]:
        """Yields the decision, then what happens, Completed last; raises as `execute` does. To be closed."""
        if query.request_id:
            return self._stream_once(query, chat, principal)
        if self._cached.active():
            return self._cached.execute_stream(query, chat, principal, None)
        return self._executor.execute_stream(query, chat)

    def expire(self) -> None:
        """Forgets what was kept long enough, and what another fleet or other rules have made void."""
        self.once.expire()
        self._cached.active()
        self.cache.expire(self._clock())

    async def _execute_once(
        self, query: RouteQuery, chat: ChatInput, principal: str, on_decision: OnDecision | None
    ) -> CallResult:
        came_at = self._clock()
        digest = await chat_digest(chat)

        async def make(decided: OnDecision) -> CallResult:
            left = with_less_time(query, self._clock() - came_at)
            if self._cached.active():
                return await self._cached.execute(left, chat, principal, digest, decided)
            return await self._executor.execute(left, chat, on_decision=decided)

        result, joined = await self.once.answer(
            (principal, query.request_id),
            _whole_digest(query, chat, digest),
            make,
            on_decision=on_decision,
            ends_at=self._ends_at(query, came_at),
        )
        return dataclasses.replace(result, joined=True) if joined else result

    async def _stream_once(self, query: RouteQuery, chat: ChatInput, principal: str) -> AsyncGenerator[CallEvent]:
        came_at = self._clock()
        digest = await chat_digest(chat)
        key, whole = (principal, query.request_id), _whole_digest(query, chat, digest)
        earlier = await self.once.earlier(key, whole, ends_at=self._ends_at(query, came_at))
        if earlier is not None:
            for event in replayed(dataclasses.replace(earlier, joined=True)):
                yield event
            return
        with self.once.stream(key, whole) as completed:
            query = with_less_time(query, self._clock() - came_at)
            if self._cached.active():
                events = self._cached.execute_stream(query, chat, principal, digest)
            else:
                events = self._executor.execute_stream(query, chat)
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, Completed):
                        completed()
                    yield event

    def _ends_at(self, query: RouteQuery, came_at: float) -> float:
        return call_times(query.deadline_seconds, self._router.configured.settings.failover, now=came_at).ends_at


def _whole_digest(query: RouteQuery, chat: ChatInput, digest: bytes) -> bytes:
    return request_digest(digest, chat.max_output_tokens, chat.reasoning_effort, *asked(query))
