"""Brings an answer to the client at the pace of the latency model, or fails on the way as a fault demands."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Iterable

from aiohttp import web

from turnout_server.providers.simulated.answers import Answer, Asked
from turnout_server.providers.simulated.faults import Fault, FaultKind, Problem, Refusal
from turnout_server.providers.simulated.provider import SimulatedProvider
from turnout_server.providers.simulated.wire import Piece, Stage

_PING_SECONDS = 1.0
_SLOW_SECONDS = 5.0
_LINGER_ON_RESET = struct.pack("ii", 1, 0)
_MALFORMED_EVENT = b'data: {"broken": \n\n'

_BREAKS_IN_CONTENT = frozenset(
    {FaultKind.STALL, FaultKind.CUT, FaultKind.CUT_CLEAN, FaultKind.MALFORMED, FaultKind.ERROR_EVENT}
)
_DROPPED_STAGES = {
    FaultKind.NO_END: frozenset({Stage.FINISH, Stage.END_MARKER}),
    FaultKind.NO_END_MARKER: frozenset({Stage.END_MARKER}),
    FaultKind.LINGER: frozenset({Stage.END_MARKER}),
}


def reset(request: web.BaseRequest) -> None:
    """Breaks the client's connection with a reset instead of a proper end."""
    transport = request.transport
    if transport is None:
        return
    found = transport.get_extra_info("socket")
    if found is not None:
        # A duplicate of the descriptor: event loops hand out sockets that refuse options, the kernel does not.
        with socket.socket(fileno=os.dup(found.fileno())) as own:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ON_RESET)
    transport.abort()


async def silence(seconds: float | None) -> None:
    """Waits so long, or until the client goes away, which cancels the request's task."""
    if seconds is None:
        await asyncio.Event().wait()
    else:
        await asyncio.sleep(seconds)


class Delivery:
    """One answer on its way to one client."""

    def __init__(
        self,
        request: web.Request,
        provider: SimulatedProvider,
        fault: Fault | None,
        *,
        request_id: str,
        headers: dict[str, str],
    ) -> None:
        self._request = request
        self._provider = provider
        self._wire = provider.wire
        self._latency = provider.settings.latency
        self._kind = fault.kind if fault else None
        self._fault = fault or Fault()
        self._request_id = request_id
        self._headers = headers
        self._started = self._now()

    async def stream(self, asked: Asked, answer: Answer) -> web.StreamResponse:
        """Sends the answer as server-sent events."""
        response = web.StreamResponse(headers=self._headers | {"cache-control": "no-cache"})
        response.content_type = self._wire.stream_type
        await response.prepare(self._request)
        dropped = _DROPPED_STAGES.get(self._kind, frozenset()) if self._kind else frozenset()
        due = self._first_token_due(answer)
        sent = 0
        for piece in self._wire.pieces(answer, asked):
            if piece.stage in dropped:
                continue
            if piece.stage is Stage.CONTENT:
                if self._kind is FaultKind.SILENT_STREAM:
                    await self._pings(response)
                    return response
                if self._kind in _BREAKS_IN_CONTENT and sent >= self._fault.after_pieces:
                    break
                await self._until(due)
                due += self._latency.for_output(piece.token_count, self._provider.rng)
                sent += 1
            await response.write(piece.data)
        if self._kind in _BREAKS_IN_CONTENT or self._kind is FaultKind.LINGER:
            await self._break(response, due)
        return response

    async def whole(self, asked: Asked, answer: Answer) -> web.StreamResponse:
        """Sends the answer in one body."""
        pieces: Iterable[Piece] = self._wire.pieces(answer, asked)
        if self._kind is FaultKind.SILENT_STREAM:
            await silence(self._fault.seconds)
        tokens = sum(piece.token_count for piece in pieces)
        await self._until(self._first_token_due(answer) + self._latency.for_output(tokens, self._provider.rng))
        body = self._wire.whole(answer, finished=self._kind is not FaultKind.NO_END)
        if self._kind not in _BREAKS_IN_CONTENT:
            return web.Response(body=body, headers=self._headers, content_type="application/json")
        if self._kind is FaultKind.ERROR_EVENT:
            body = self._wire.error(Refusal(self._fault.answers()), self._request_id)[1]
            return web.Response(body=body, headers=self._headers, content_type="application/json")
        half = body[: len(body) // 2]
        response = web.StreamResponse(headers=self._headers)
        response.content_type = "application/json"
        if self._kind in {FaultKind.STALL, FaultKind.CUT}:
            response.content_length = len(body)
        await response.prepare(self._request)
        await response.write(half)
        if self._kind is FaultKind.STALL:
            await silence(self._fault.seconds)
        if self._kind in {FaultKind.STALL, FaultKind.CUT}:
            self._cut()
        return response

    async def _break(self, response: web.StreamResponse, due: float) -> None:
        await self._until(due)
        match self._kind:
            case FaultKind.CUT:
                self._cut()
            case FaultKind.STALL | FaultKind.LINGER:
                await silence(self._fault.seconds)
            case FaultKind.MALFORMED:
                await response.write(_MALFORMED_EVENT)
            case FaultKind.ERROR_EVENT:
                problem = self._fault.problem or Problem.OVERLOADED
                await response.write(self._wire.error_event(Refusal(problem), self._request_id))
            case _:
                pass  # cut_clean: HTTP ends properly with the return of the response

    async def _pings(self, response: web.StreamResponse) -> None:
        end = None if self._fault.seconds is None else self._now() + self._fault.seconds
        while end is None or self._now() < end:
            await response.write(self._wire.ping)
            await asyncio.sleep(_PING_SECONDS if end is None else min(_PING_SECONDS, max(0.0, end - self._now())))

    def _first_token_due(self, answer: Answer) -> float:
        uncached = answer.tokens.input_count - answer.tokens.cached_count
        wait = self._latency.until_first_token(uncached, self._provider.rng)
        if self._kind is FaultKind.SLOW_FIRST_TOKEN:
            wait += _SLOW_SECONDS if self._fault.seconds is None else self._fault.seconds
        return self._started + wait

    async def _until(self, due: float) -> None:
        wait = due - self._now()
        if wait > 0:
            await asyncio.sleep(wait)

    def _cut(self) -> None:
        """Breaks the connection without the end of the body; what was written before still arrives."""
        if self._request.transport is not None:
            self._request.transport.close()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
