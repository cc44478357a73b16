"""Lets one suite drive both clients: the blocking one from a thread, the asyncio one directly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, Unpack

from turnout import Answer, AsyncClient, Client, Input, Plan
from turnout.attempt import PlanAttempt
from turnout.requests import ExecuteSettings, RouteSettings
from turnout.v1 import router_pb2 as pb


class Streamed:
    """What a caller saw of a stream."""

    def __init__(self) -> None:
        self.events: list[pb.ExecuteStreamResponse] = []
        self.pieces: list[str] = []
        self.restart_count = 0
        self.answer: Answer | None = None

    @property
    def kinds(self) -> list[str | None]:
        return [event.WhichOneof("event") for event in self.events]

    def restarted(self) -> None:
        self.restart_count += 1
        self.pieces.clear()


class Driver(Protocol):
    """The methods of both clients, as coroutines."""

    async def execute(self, chat: Input, **settings: Unpack[ExecuteSettings]) -> Answer: ...

    async def stream(self, chat: Input, seen: Streamed, **settings: Unpack[ExecuteSettings]) -> None: ...

    async def stream_text(self, chat: Input, seen: Streamed, *, tell_restart: bool) -> None: ...

    async def stream_first_event(self, chat: Input) -> pb.ExecuteStreamResponse: ...

    async def route(self, **settings: Unpack[RouteSettings]) -> pb.RouteResponse: ...

    async def plan(self, **settings: Unpack[RouteSettings]) -> Plan: ...

    async def status(self, *providers: str, window_seconds: float | None = None) -> pb.ProviderStatusResponse: ...

    async def watch(self, count: int) -> list[pb.WatchProviderStatusResponse]: ...

    async def report(self, *outcomes: pb.Outcome) -> pb.ReportOutcomeResponse: ...

    async def call(self, function: Callable[[PlanAttempt], str], **settings: Unpack[RouteSettings]) -> str: ...

    async def flush(self, timeout_seconds: float = 5.0) -> bool: ...

    def unreported_count(self) -> int: ...

    def pending_count(self) -> int: ...

    async def close(self) -> None: ...


class BlockingDriver:
    """Runs each call of the blocking client in a thread."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def execute(self, chat: Input, **settings: Unpack[ExecuteSettings]) -> Answer:
        return await asyncio.to_thread(lambda: self._client.execute(chat, **settings))

    async def stream(self, chat: Input, seen: Streamed, **settings: Unpack[ExecuteSettings]) -> None:
        def read() -> None:
            with self._client.stream(chat, **settings) as stream:
                for event in stream:
                    seen.events.append(event)
                seen.answer = stream.answer()

        await asyncio.to_thread(read)

    async def stream_text(self, chat: Input, seen: Streamed, *, tell_restart: bool) -> None:
        def read() -> None:
            with self._client.stream(chat) as stream:
                for piece in stream.text(seen.restarted if tell_restart else None):
                    seen.pieces.append(piece)
                seen.answer = stream.answer()

        await asyncio.to_thread(read)

    async def stream_first_event(self, chat: Input) -> pb.ExecuteStreamResponse:
        def read() -> pb.ExecuteStreamResponse:
            with self._client.stream(chat) as stream:
                return next(stream)

        return await asyncio.to_thread(read)

    async def route(self, **settings: Unpack[RouteSettings]) -> pb.RouteResponse:
        return await asyncio.to_thread(lambda: self._client.route(**settings))

    async def plan(self, **settings: Unpack[RouteSettings]) -> Plan:
        return await asyncio.to_thread(lambda: self._client.plan(**settings))

    async def status(self, *providers: str, window_seconds: float | None = None) -> pb.ProviderStatusResponse:
        return await asyncio.to_thread(lambda: self._client.status(*providers, window_seconds=window_seconds))

    async def watch(self, count: int) -> list[pb.WatchProviderStatusResponse]:
        def read() -> list[pb.WatchProviderStatusResponse]:
            watching = self._client.watch_status(resume_revision=7)
            return [next(watching) for _ in range(count)]

        return await asyncio.to_thread(read)

    async def report(self, *outcomes: pb.Outcome) -> pb.ReportOutcomeResponse:
        return await asyncio.to_thread(lambda: self._client.report(outcomes))

    async def call(self, function: Callable[[PlanAttempt], str], **settings: Unpack[RouteSettings]) -> str:
        return await asyncio.to_thread(lambda: self._client.call(function, **settings))

    async def flush(self, timeout_seconds: float = 5.0) -> bool:
        return await asyncio.to_thread(self._client.flush, timeout_seconds)

    def unreported_count(self) -> int:
        return self._client.unreported_count

    def pending_count(self) -> int:
        return self._client.pending_count

    async def close(self) -> None:
        await asyncio.to_thread(self._client.close)


class AsyncDriver:
    """Passes each call on to the asyncio client."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def execute(self, chat: Input, **settings: Unpack[ExecuteSettings]) -> Answer:
        return await self._client.execute(chat, **settings)

    async def stream(self, chat: Input, seen: Streamed, **settings: Unpack[ExecuteSettings]) -> None:
        async with self._client.stream(chat, **settings) as stream:
            async for event in stream:
                seen.events.append(event)
            seen.answer = await stream.answer()

    async def stream_text(self, chat: Input, seen: Streamed, *, tell_restart: bool) -> None:
        async with self._client.stream(chat) as stream:
            async for piece in stream.text(seen.restarted if tell_restart else None):
                seen.pieces.append(piece)
            seen.answer = await stream.answer()

    async def stream_first_event(self, chat: Input) -> pb.ExecuteStreamResponse:
        async with self._client.stream(chat) as stream:
            return await anext(stream)

    async def route(self, **settings: Unpack[RouteSettings]) -> pb.RouteResponse:
        return await self._client.route(**settings)

    async def plan(self, **settings: Unpack[RouteSettings]) -> Plan:
        return await self._client.plan(**settings)

    async def status(self, *providers: str, window_seconds: float | None = None) -> pb.ProviderStatusResponse:
        return await self._client.status(*providers, window_seconds=window_seconds)

    async def watch(self, count: int) -> list[pb.WatchProviderStatusResponse]:
        watching = self._client.watch_status(resume_revision=7)
        return [await anext(watching) for _ in range(count)]

    async def report(self, *outcomes: pb.Outcome) -> pb.ReportOutcomeResponse:
        return await self._client.report(outcomes)

    async def call(self, function: Callable[[PlanAttempt], str], **settings: Unpack[RouteSettings]) -> str:
        async def in_a_thread(attempt: PlanAttempt) -> str:
            return await asyncio.to_thread(function, attempt)

        return await self._client.call(in_a_thread, **settings)

    async def flush(self, timeout_seconds: float = 5.0) -> bool:
        return await self._client.flush(timeout_seconds)

    def unreported_count(self) -> int:
        return self._client.unreported_count

    def pending_count(self) -> int:
        return self._client.pending_count

    async def close(self) -> None:
        await self._client.close()
