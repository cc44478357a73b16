"""The providers of a trace in virtual time. What an attempt meets depends on the call, the target, the moment and how
often that call has tried that target: never on who asks, nor on what was asked before; so contenders can be compared.

Only a rate limit depends on the requests before, as rate limits do.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from itertools import repeat
from math import ceil
from zlib import crc32

from bench.decisions.calls import Planned
from bench.decisions.fates import REFUSED_AFTER_SECONDS, FailedError, Fate, Piece, draw, failing, fate_of
from bench.decisions.trace import MINUTE, Target, Trace, What, fleet
from tests.virtual_time import virtual_loop
from turnout_server.core.model import FailureKind

PIECES = 3
"""What an answer comes in at least; one that takes long comes in more, as streams do."""
PIECE_SECONDS_MAXIMUM = 5.0
LIMIT_MINUTE = 60.0
TRIAL_TOKENS = (8, 1)
"""In and out."""


@dataclass(slots=True)
class Attempt:
    """One attempt as the provider saw it. `call` is None for a trial that no caller waits for."""

    call: int | None
    sidecar: int
    target: str
    at: float
    dead: bool
    ended: float | None = None
    ok: bool = False
    cost_usd: float = 0.0


class Providers:
    """All providers; `share` is that of the trace's sidecars which call them, and get that part of the limits."""

    def __init__(self, trace: Trace, share: float = 1.0) -> None:
        self.trace = trace
        self.attempts: list[Attempt] = []
        self._share = share
        self._fleet = fleet()
        self.targets = self._fleet.targets
        self.prices_change = any(fault.what is What.PRICE for fault in trace.faults)
        self._targets = {target.name: target for target in self.targets}
        self._seeds = {name: crc32(f"{trace.name}/{name}".encode()) for name in self._targets}
        self._faults = {name: [fault for fault in trace.faults if fault.fits(name)] for name in self._targets}
        self._tried: Counter[tuple[int, str]] = Counter()
        # A vendor's limit is one for a model, wherever it is asked.
        served: dict[str, deque[float]] = {}
        self._served = {name: served.setdefault(name.split("@")[0], deque()) for name in self._targets}

    def target(self, name: str) -> Target:
        """Returns the target of a name."""
        return self._targets[name]

    def price_factor(self, name: str, now: float, *, as_known: bool = False) -> float:
        """Returns what the price is multiplied by; `as_known` to operators, whose tables follow later."""
        factor = 1.0
        for fault in self._faults[name]:
            if fault.what is What.PRICE and fault.holds(now - as_known * fault.known_after_minutes * MINUTE):
                factor *= fault.factor
        return factor

    def cost_usd(self, name: str, planned: Planned, now: float) -> float:
        """Returns what a whole answer costs."""
        target = self._targets[name]
        tokens_usd = (
            planned.input_tokens * target.input_usd_per_million + planned.output_tokens * target.output_usd_per_million
        )
        return tokens_usd * self.price_factor(name, now) / 1e6

    def fate(self, planned: Planned, name: str, now: float, *, tried: int = 0) -> Fate:
        """Returns what the next attempt of a call would meet at a target, if it began now; nothing changes by it."""
        rng = random.Random(self._seeds[name] + 7919 * planned.number + 104_729 * tried)
        faults = [fault for fault in self._faults[name] if fault.holds(now)]
        lots = draw(rng, self._fleet)
        fate = fate_of(lots, self._targets[name], faults, self._fleet, output_tokens=planned.output_tokens)
        for fault in faults:
            if fault.what is What.LIMIT and fate.answers:
                wait = self._wait(fault.requests_per_minute, name, now)
                if wait is not None:
                    told = wait if fault.tells else None
                    return failing(fate, FailedError(FailureKind.RATE_LIMITED, 429, told), REFUSED_AFTER_SECONDS)
        return fate

    async def answer(
        self, planned: Planned, name: str, *, connect_timeout_seconds: float, sidecar: int
    ) -> AsyncGenerator[Piece]:
        """Makes one attempt: yields the pieces as they come. Raises FailedError."""
        now = virtual_loop().time()
        tried = self._tried[planned.number, name]
        self._tried[planned.number, name] += 1
        fate = self.fate(planned, name, now, tried=tried)
        attempt = self._begin(planned.number, sidecar, name, now)
        try:
            if fate.black_hole:
                await asyncio.sleep(connect_timeout_seconds)
                raise FailedError(FailureKind.CONNECTION)
            if fate.silent:
                await virtual_loop().create_future()
            if fate.failure is not None:
                await asyncio.sleep(fate.failure_seconds)
                raise fate.failure
            self._served[name].append(now)
            price_usd = self.cost_usd(name, planned, now)
            rest = fate.answer_seconds - fate.first_token_seconds
            more = max(PIECES - 2, ceil(rest / PIECE_SECONDS_MAXIMUM))
            for n, piece in enumerate((Piece.FIRST, *repeat(Piece.MORE, more), Piece.LAST)):
                await asyncio.sleep(fate.first_token_seconds if n == 0 else rest / (more + 1))
                if piece is fate.cut_before:
                    raise FailedError(FailureKind.TRUNCATED, 200)
                # What has been written is charged, also where the rest breaks off or is given up.
                attempt.cost_usd = price_usd * (n + 1) / (more + 2)
                attempt.ok = piece is Piece.LAST
                yield piece
        finally:
            attempt.ended = virtual_loop().time()

    def trial(self, name: str, *, connect_timeout_seconds: float, sidecar: int) -> AsyncGenerator[Piece]:
        """Makes one attempt of a single token that no caller waits for, as `answer` does."""
        one = Planned(-1 - len(self.attempts), sidecar, virtual_loop().time(), *TRIAL_TOKENS, streamed=True)
        return self.answer(one, name, connect_timeout_seconds=connect_timeout_seconds, sidecar=sidecar)

    def _begin(self, number: int, sidecar: int, name: str, now: float) -> Attempt:
        call = number if number >= 0 else None
        attempt = Attempt(
            call=call,
            sidecar=sidecar,
            target=name,
            at=now,
            dead=any(fault.kills and fault.holds(now) for fault in self._faults[name]),
        )
        self.attempts.append(attempt)
        return attempt

    def _wait(self, requests_per_minute: float, name: str, now: float) -> float | None:
        """Returns how long to wait for room under a limit of a sliding minute, None where there is room."""
        served = self._served[name]
        while served and now - served[0] >= LIMIT_MINUTE:
            served.popleft()
        most = max(1, round(requests_per_minute * self.trace.sidecars * self._share))
        return None if len(served) < most else served[len(served) - most] + LIMIT_MINUTE - now
