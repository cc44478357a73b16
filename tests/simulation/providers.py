"""Simulated providers in virtual time: what they are like when they are well, and all the ways in which they are not.

A trouble holds from one moment to another for the targets that it names. Everything drawn by chance comes from one
`random.Random`, so that a world is a function of its seed.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import exp

from tests.virtual_time import virtual_loop
from turnout_server.core.chat import Finished, Lifecycle, ResponseStarted, Text, TextDelta, UsageReported
from turnout_server.core.model import FailureKind, FinishReason, Usage
from turnout_server.ports import ResponseHead, UpstreamCall, UpstreamError, UpstreamEvent

BAD_REQUEST = "bad request"
"""A prompt of these words is refused by every provider: the caller's own fault."""
REFUSED_AFTER_SECONDS = 0.02
CONNECT_TIMEOUT_SECONDS = 2.0
PIECES = 4


class Trouble(StrEnum):
    """What can be wrong with a target."""

    DARK = "refuses connections"
    BLACK_HOLE = "does not answer connections"
    HANG = "takes requests and says nothing"
    BROWN_OUT = "fails some requests, and is slow"
    OVERLOAD = "says that it is overloaded, to some"
    LIMIT = "allows fewer requests, and says for how long"
    BARE_LIMIT = "allows fewer requests, and says nothing"
    QUOTA = "has used up its quota"
    CUT = "cuts some streams in the middle"
    STALL = "stops some streams in the middle"
    FALSE_401 = "calls some good keys wrong"
    SLOW = "takes four times as long"


DEADLY = frozenset({Trouble.DARK, Trouble.BLACK_HOLE, Trouble.HANG})
"""A target in one of these never answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spell:
    """A trouble from `start` to `end` (virtual seconds) at the targets whose names begin with `where`."""

    trouble: Trouble
    start: float
    end: float
    where: str
    share: float = 0.5
    """Of requests, for troubles that hit only some."""

    def holds(self, target: str, now: float) -> bool:
        return self.start <= now < self.end and target.startswith(self.where)


@dataclass(frozen=True, slots=True, kw_only=True)
class Temper:
    """How long a target takes when it is well: seconds, with a deviation that multiplies by up to e to the spread."""

    first_token_seconds: float = 0.5
    seconds_per_input_token: float = 0.00002
    seconds_per_output_token: float = 0.005
    spread: float = 0.3
    silent_thinking_seconds: float = 0.0


@dataclass(slots=True, kw_only=True)
class Served:
    """What a provider remembers of one request."""

    target: str
    at: float
    good: bool = False
    cost_tokens: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class Providers:
    """All providers of a world; every sidecar of it calls the same ones."""

    rng: random.Random
    spells: Sequence[Spell] = ()
    tempers: dict[str, Temper] = field(default_factory=dict)
    limit_count: int = 5
    limit_seconds: float = 10.0
    served: list[Served] = field(default_factory=list)
    _recent: dict[str, deque[float]] = field(default_factory=dict)

    def well(self, target: str, start: float, end: float) -> bool:
        """Whether nothing at all is wrong with a target in that time."""
        return not any(
            spell.start < end and spell.end > start and target.startswith(spell.where) for spell in self.spells
        )

    async def stream(self, call: UpstreamCall) -> AsyncGenerator[Sequence[UpstreamEvent]]:
        """Answers as `ports.Upstream` promises."""
        name = str(call.spec.target)
        served = Served(target=name, at=virtual_loop().time())
        self.served.append(served)
        await self._enter(name, call)
        temper = self.tempers.get(name, Temper())
        words = sum(len(p.content.text) for m in call.chat.messages for p in m.parts if isinstance(p.content, Text))
        tokens_in, tokens_out = max(1, words // 4), min(call.max_output_tokens or 120, self.rng.randrange(20, 200))
        slow = 4.0 if self._has(name, Trouble.SLOW) else 2.0 if self._has(name, Trouble.BROWN_OUT) else 1.0
        first = temper.first_token_seconds + temper.silent_thinking_seconds + temper.seconds_per_input_token * tokens_in
        await asyncio.sleep(first * slow * self._deviation(temper))
        yield (ResponseHead(http_status=200), ResponseStarted(model=call.spec.target.model), Lifecycle())
        broken_at = self._breaks(name)
        pause = temper.seconds_per_output_token * tokens_out / PIECES * slow * self._deviation(temper)
        for piece in range(PIECES):
            if piece == broken_at:
                if self._has(name, Trouble.STALL):
                    await virtual_loop().create_future()
                raise UpstreamError(FailureKind.TRUNCATED, "cut", http_status=200)
            yield (TextDelta(part_index=0, text="word " * 8),)
            await asyncio.sleep(pause)
        served.good, served.cost_tokens = True, (tokens_in, tokens_out)
        usage = Usage(input_tokens=tokens_in, output_tokens=tokens_out)
        yield (UsageReported(usage=usage), Finished(reason=FinishReason.STOP))

    async def complete(self, call: UpstreamCall) -> Sequence[UpstreamEvent]:
        """The same in one piece."""
        return [event async for events in self.stream(call) for event in events]

    async def _enter(self, name: str, call: UpstreamCall) -> None:
        """Raises what keeps the request from being worked on."""
        if self._has(name, Trouble.DARK):
            await asyncio.sleep(REFUSED_AFTER_SECONDS)
            raise UpstreamError(FailureKind.CONNECTION, "refused", possibly_billed=False)
        if self._has(name, Trouble.BLACK_HOLE):
            await asyncio.sleep(CONNECT_TIMEOUT_SECONDS)
            raise UpstreamError(FailureKind.CONNECTION, "no connection in time", possibly_billed=False)
        if self._has(name, Trouble.HANG):
            await virtual_loop().create_future()
        await asyncio.sleep(REFUSED_AFTER_SECONDS)
        if any(p.content == Text(text=BAD_REQUEST) for m in call.chat.messages for p in m.parts):
            raise self._refusal(FailureKind.INVALID_REQUEST, 400)
        if self._hit(name, Trouble.FALSE_401):
            raise self._refusal(FailureKind.AUTHENTICATION, 401)
        if self._has(name, Trouble.QUOTA):
            raise self._refusal(FailureKind.QUOTA_EXHAUSTED, 429)
        if self._hit(name, Trouble.OVERLOAD):
            raise self._refusal(FailureKind.OVERLOADED, 529)
        if self._hit(name, Trouble.BROWN_OUT):
            await asyncio.sleep(0.3)
            raise UpstreamError(FailureKind.SERVER_ERROR, "internal error", http_status=500)
        self._limit(name)

    def _limit(self, name: str) -> None:
        told, bare = self._has(name, Trouble.LIMIT), self._has(name, Trouble.BARE_LIMIT)
        if not (told or bare):
            return
        now = virtual_loop().time()
        recent = self._recent.setdefault(name, deque())
        while recent and now - recent[0] >= self.limit_seconds:
            recent.popleft()
        if len(recent) >= self.limit_count:
            wait = recent[0] + self.limit_seconds - now if told else None
            raise self._refusal(FailureKind.RATE_LIMITED, 429, wait)
        recent.append(now)

    def _refusal(self, kind: FailureKind, status: int, retry_after: float | None = None) -> UpstreamError:
        return UpstreamError(
            kind, "refused", http_status=status, retry_after_seconds=retry_after, possibly_billed=False
        )

    def _breaks(self, name: str) -> int:
        hit = self._hit(name, Trouble.CUT) or self._hit(name, Trouble.STALL)
        return self.rng.randrange(PIECES) if hit else PIECES

    def _has(self, name: str, trouble: Trouble) -> bool:
        now = virtual_loop().time()
        return any(spell.trouble is trouble and spell.holds(name, now) for spell in self.spells)

    def _hit(self, name: str, trouble: Trouble) -> bool:
        now = virtual_loop().time()
        shares = [spell.share for spell in self.spells if spell.trouble is trouble and spell.holds(name, now)]
        return bool(shares) and self.rng.random() < max(shares)

    def _deviation(self, temper: Temper) -> float:
        return exp(temper.spread * self.rng.uniform(-1.0, 1.0))
