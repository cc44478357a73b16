"""What the contenders without a sidecar share: one attempt with the limits that their users get by default.

An attempt may take 30 s, as in Failover Bench: the SDKs' own default of 600 s would fail every call that meets a silent
provider. Connecting may take 5 s (openai-python, `DEFAULT_TIMEOUT`, which LiteLLM uses too).
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass

from bench.decisions.calls import DEADLINE_SECONDS, Planned
from bench.decisions.contender import End
from bench.decisions.fates import FailedError, Piece
from bench.decisions.providers import Providers
from tests.virtual_time import virtual_loop
from turnout_server.core.model import FailureKind

ATTEMPT_SECONDS = 30.0
CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Tried:
    """How an attempt ended: `failure` is None for an answer; `shown` says that the caller saw some of it."""

    seconds: float
    first_token_seconds: float | None = None
    failure: FailedError | None = None
    shown: bool = False


class Baseline:
    """Makes attempts, and ends every call by its deadline."""

    def __init__(self, providers: Providers, sidecar: int) -> None:
        self.providers = providers
        self.names = [target.name for target in providers.targets]
        self._sidecar = sidecar
        self._shown: set[int] = set()
        """The calls whose callers have seen something of the present attempt."""

    async def call(self, planned: Planned) -> End:
        """Carries out one call."""
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                return await self.carry_out(planned)
        except TimeoutError:
            return End.BROKEN if planned.number in self._shown else End.FAILED
        finally:
            self._shown.discard(planned.number)

    async def carry_out(self, planned: Planned) -> End:
        """Carries out one call, in whatever time it takes."""
        raise NotImplementedError

    async def attempt(self, planned: Planned, name: str) -> Tried:
        """Makes one attempt."""
        began_at, first = virtual_loop().time(), None
        failure: FailedError | None = None
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                answer = self.providers.answer(
                    planned, name, connect_timeout_seconds=CONNECT_SECONDS, sidecar=self._sidecar
                )
                async with aclosing(answer) as pieces:
                    async for piece in pieces:
                        if piece is Piece.FIRST:
                            first = virtual_loop().time() - began_at
                        if planned.streamed:
                            self._shown.add(planned.number)
        except FailedError as error:
            failure = error
        except TimeoutError:
            failure = FailedError(FailureKind.TIMEOUT, 408)
        seconds = virtual_loop().time() - began_at
        return Tried(seconds, first, failure, shown=failure is not None and planned.number in self._shown)

    async def aclose(self) -> None:
        """Has nothing running."""
