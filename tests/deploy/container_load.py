"""Callers of a sidecar in a container: they decide, execute and stream without pause until they are refused."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TypeAlias

import grpc

from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc

Stub: TypeAlias = "router_pb2_grpc.RouterServiceAsyncStub"


@dataclass
class Ends:
    """How the calls of all callers ended.

    `refused` are those told UNAVAILABLE once the stop had begun, which any client may send elsewhere; that none of them
    had been taken is for the provider's own counts to say. `lost` is every other end, with what was said. `busy` is set
    once `enough` calls were answered.
    """

    enough: int
    busy: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: bool = False
    answered: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)

    @property
    def executed_count(self) -> int:
        """Answers that a provider gave and a caller has."""
        return self.answered["Execute"] + self.answered["ExecuteStream"]


def asked(text: str) -> pb.ChatInput:
    return pb.ChatInput(messages=[pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text=text)])])


class Callers:
    """Callers of one address over one connection."""

    def __init__(self, address: str, count: int, ends: Ends) -> None:
        self.ends = ends
        self._address = address
        self._count = count

    async def run(self) -> None:
        """Calls until every caller was refused, or had a call that failed."""
        async with grpc.aio.insecure_channel(self._address) as channel:
            stub: Stub = router_pb2_grpc.RouterServiceStub(channel)
            await asyncio.gather(*(self._caller(stub, number) for number in range(self._count)))

    async def _caller(self, stub: Stub, number: int) -> None:
        kinds = ("Route", "Execute", "ExecuteStream")
        turn = number
        while True:
            kind = kinds[turn % len(kinds)]
            turn += 1
            try:
                whole = await self._call(stub, kind, f"caller {number}, call {turn}")
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE and self.ends.stopping:
                    self.ends.refused[kind] += 1
                else:
                    self.ends.lost.append(f"{kind}: {error.code().name}: {error.details()}")
                return
            if whole:
                self.ends.answered[kind] += 1
                if self.ends.answered.total() >= self.ends.enough:
                    self.ends.busy.set()
            else:
                self.ends.lost.append(f"{kind}: ended without an answer")

    @staticmethod
    async def _call(stub: Stub, kind: str, text: str) -> bool:
        if kind == "Route":
            return bool((await stub.Route(pb.RouteRequest())).decision.candidates)
        if kind == "Execute":
            return bool((await stub.Execute(pb.ExecuteRequest(input=asked(text)))).output.parts)
        last = ""
        async for event in stub.ExecuteStream(pb.ExecuteStreamRequest(input=asked(text))):
            last = str(event.WhichOneof("event"))
        return last == "completion"
