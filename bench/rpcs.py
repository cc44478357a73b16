"""The calls that are measured, as a client of any language would make them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from bench.fleet import chat, route_requests
from bench.load import Call
from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc

CHURN_SECONDS = 0.1
"""How often an outcome is reported while Route is measured, so that decisions meet a state that changes."""


class Caller:
    """One channel to one server."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = router_pb2_grpc.RouterServiceStub(channel)
        self._requests = route_requests()

    async def route(self, n: int) -> pb.RouteResponse:
        """Asks for a decision, each time for another kind of request."""
        request = self._requests[n % len(self._requests)]
        answer: pb.RouteResponse = await self._stub.Route(request)
        return answer

    def execute(self, output_tokens: int) -> Call:
        """Returns the unary call for an answer of at most so many tokens."""
        request = pb.ExecuteRequest(input=chat(output_tokens))

        async def call(n: int) -> object:
            del n
            answer: pb.ExecuteResponse = await self._stub.Execute(request)
            assert answer.output.parts
            return answer

        return call

    def execute_stream(self, output_tokens: int) -> Call:
        """Returns the streamed call; it reads to the end."""
        request = pb.ExecuteStreamRequest(input=chat(output_tokens))

        async def call(n: int) -> object:
            del n
            pieces = [message async for message in self._stub.ExecuteStream(request)]
            assert pieces
            return pieces

        return call

    async def churn(self) -> None:
        """Reports for ever how targets did: each outcome changes what later decisions see."""
        decision = (await self.route(0)).decision
        for n in range(10**9):
            target = decision.candidates[n % len(decision.candidates)].target
            outcome = pb.Outcome(decision_id=decision.decision_id, attempt_id=f"churn-{n}", target=target, ok=True)
            outcome.latency.FromMilliseconds(800 + 10 * (n % 90))
            await self._stub.ReportOutcome(pb.ReportOutcomeRequest(outcomes=[outcome]))
            await asyncio.sleep(CHURN_SECONDS)


@asynccontextmanager
async def caller(address: str) -> AsyncIterator[Caller]:
    """Connects to a server."""
    async with grpc.aio.insecure_channel(address) as channel:
        yield Caller(channel)


@asynccontextmanager
async def churning(who: Caller) -> AsyncIterator[None]:
    """Lets outcomes come in while the block runs."""
    task = asyncio.create_task(who.churn())
    try:
        yield
    finally:
        if task.done():
            task.result()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
