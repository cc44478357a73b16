"""Simulated providers in virtual time: how they answer when they are well, and what they do when they are not.

Everything drawn by chance comes from one `random.Random`, so that a world is a function of its seed. What a provider
charges it writes into its own books (`bills`).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from math import exp

from tests.simulation.bills import Bill, PriceChange, price_at
from tests.simulation.marks import regions_marked
from tests.simulation.troubles import LIMITS, UNREACHABLE, Trouble, Weather
from tests.virtual_time import virtual_loop
from turnout_server.core.chat import Finished, Lifecycle, ResponseStarted, Text, TextDelta, UsageReported
from turnout_server.core.model import NANO_USD, FailureKind, FinishReason, RateLimitBucket, RateLimitReading, Usage
from turnout_server.ports import ResponseHead, UpstreamCall, UpstreamError, UpstreamEvent

BAD_REQUEST = "bad request"
"""A prompt of these words is refused by every provider: the caller's own fault."""
REFUSED_AFTER_SECONDS = 0.02
CONNECT_TIMEOUT_SECONDS = 2.0
PIECES = 3
BYTES_PER_TOKEN = 4
LONGEST_OUTPUT_TOKENS = 240

ATTEMPT: ContextVar[str] = ContextVar("attempt")
"""The attempt that is being made: a provider is not told, but its books have to be compared with ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Temper:
    """How a target answers when it is well.

    Times are seconds, with a deviation that multiplies by up to e to the spread; `tail_share` of the answers take five
    times as long. `silent_thinking_seconds` pass before the first token without a sign of life. `states_cost`: the
    provider says itself what an answer cost; `counts_early`: it counts the prompt at the beginning of the answer.
    """

    first_token_seconds: float = 0.5
    seconds_per_input_token: float = 0.00002
    seconds_per_output_token: float = 0.005
    spread: float = 0.3
    tail_share: float = 0.0
    silent_thinking_seconds: float = 0.0
    states_cost: bool = False
    counts_early: bool = False
    cached_share: float = 0.0
    """Of each prompt, as far as the provider had it in its cache."""


PLAIN = Temper()


class Providers:
    """All providers of a world; every pod of it calls the same ones."""

    def __init__(
        self,
        rng: random.Random,
        weather: Weather,
        *,
        ranks: Mapping[str, int],
        tempers: Mapping[str, Temper] | None = None,
        price_changes: Sequence[PriceChange] = (),
        limit_count: int = 5,
        limit_seconds: float = 10.0,
        crowd_count: int = 8,
    ) -> None:
        self.weather = weather
        self.bills: dict[str, Bill] = {}
        self._rng = rng
        self._ranks = ranks
        self._tempers = tempers or {}
        self._price_changes = price_changes
        self._limit_count = limit_count
        self._limit_seconds = limit_seconds
        self._crowd_count = crowd_count
        self.inside: Counter[str] = Counter()
        """Requests that are worked on, by target."""
        self._recent: dict[tuple[str, str], deque[float]] = {}
        self.outside: Counter[tuple[str, tuple[str, ...]]] = Counter()
        """Prompts that came where they must not be, by target and the regions that may see them."""

    async def stream(self, call: UpstreamCall, pod: str, attempt_id: str) -> AsyncGenerator[Sequence[UpstreamEvent]]:
        """Answers as `ports.Upstream` promises."""
        self.inside[call.spec.name] += 1
        try:
            async with aclosing(self._stream(call, pod, attempt_id)) as events:
                async for event in events:
                    yield event
        finally:
            self.inside[call.spec.name] -= 1

    async def _stream(self, call: UpstreamCall, pod: str, attempt_id: str) -> AsyncGenerator[Sequence[UpstreamEvent]]:
        name, began_at = call.spec.name, virtual_loop().time()
        price = price_at(name, self._ranks[name], self._price_changes, began_at)
        bill = Bill(attempt_id=attempt_id, pod=pod, target=name, at=began_at, price=price)
        assert attempt_id not in self.bills, "an attempt is sent once"
        self.bills[attempt_id] = bill
        self._look_where(call)
        wrong = self.weather.now(name, pod, began_at)
        reading = await self._enter(call, wrong) if wrong else None
        if call.chat.messages[-1].parts[-1].content == Text(text=BAD_REQUEST):
            await asyncio.sleep(REFUSED_AFTER_SECONDS)
            raise _refusal(FailureKind.INVALID_REQUEST, 400)
        temper = self._tempers.get(name, PLAIN)
        prompt_bytes = sum(
            len(p.content.text) for m in call.chat.messages for p in m.parts if isinstance(p.content, Text)
        )
        tokens_in = max(1, prompt_bytes // BYTES_PER_TOKEN)
        tokens_out = min(
            call.max_output_tokens or LONGEST_OUTPUT_TOKENS, self._rng.randrange(24, LONGEST_OUTPUT_TOKENS)
        )
        slow = 4.0 if Trouble.SLOW in wrong else 2.0 if Trouble.BROWN_OUT in wrong else 1.0
        first = temper.first_token_seconds + temper.silent_thinking_seconds + temper.seconds_per_input_token * tokens_in
        await asyncio.sleep(first * slow * self._deviation(temper))
        bill.input_tokens, bill.cached_tokens = tokens_in, int(temper.cached_share * tokens_in)
        usage = Usage(input_tokens=tokens_in, cached_input_tokens=bill.cached_tokens, output_tokens=1)
        head = ResponseHead(http_status=200, rate_limit=reading)
        early = (UsageReported(usage=usage),) if temper.counts_early else ()
        yield (head, ResponseStarted(model=call.spec.target.model), Lifecycle(), *early)
        broken_at = self._breaks(wrong) if wrong else PIECES
        pause = temper.seconds_per_output_token * tokens_out / PIECES * slow * self._deviation(temper)
        for piece in range(PIECES):
            if piece == broken_at:
                if Trouble.STALL in wrong:
                    await virtual_loop().create_future()
                raise UpstreamError(FailureKind.TRUNCATED, "cut", http_status=200)
            tokens = tokens_out * (piece + 1) // PIECES - tokens_out * piece // PIECES
            bill.output_tokens += tokens
            if tokens:
                yield (TextDelta(part_index=0, text="abc " * tokens),)
            await asyncio.sleep(pause)
        bill.complete = True
        usage = Usage(input_tokens=tokens_in, cached_input_tokens=bill.cached_tokens, output_tokens=tokens_out)
        cost_usd = bill.nano_usd / NANO_USD if temper.states_cost else None
        yield (UsageReported(usage=usage, cost_usd=cost_usd), Finished(reason=FinishReason.STOP))

    async def complete(self, call: UpstreamCall, pod: str, attempt_id: str) -> Sequence[UpstreamEvent]:
        """The same in one piece; an answer that does not come whole is not charged."""
        try:
            return [event async for events in self.stream(call, pod, attempt_id) for event in events]
        except BaseException:
            bill = self.bills[attempt_id]
            bill.input_tokens = bill.cached_tokens = bill.output_tokens = 0
            raise

    async def _enter(self, call: UpstreamCall, wrong: Mapping[Trouble, float]) -> RateLimitReading | None:
        """Raises what keeps the request from being worked on; returns what the headers of an answer will say."""
        inside = self.inside[call.spec.name]
        if not UNREACHABLE.isdisjoint(wrong):
            await asyncio.sleep(CONNECT_TIMEOUT_SECONDS if Trouble.BLACK_HOLE in wrong else REFUSED_AFTER_SECONDS)
            raise UpstreamError(FailureKind.CONNECTION, "no connection", possibly_billed=False)
        if Trouble.HANG in wrong:
            await virtual_loop().create_future()
        await asyncio.sleep(REFUSED_AFTER_SECONDS)
        if self._hit(wrong, Trouble.FALSE_401):
            raise _refusal(FailureKind.AUTHENTICATION, 401)
        if Trouble.QUOTA in wrong:
            raise _refusal(FailureKind.QUOTA_EXHAUSTED, 429)
        if self._hit(wrong, Trouble.OVERLOAD) or (Trouble.CROWD in wrong and inside > self._crowd_count):
            raise _refusal(FailureKind.OVERLOADED, 529)
        if self._hit(wrong, Trouble.BROWN_OUT):
            await asyncio.sleep(0.3)
            raise UpstreamError(FailureKind.SERVER_ERROR, "internal error", http_status=500)
        return None if LIMITS.isdisjoint(wrong) else self._limit(call.spec.name, call.credential, wrong)

    def _limit(self, name: str, credential: str, wrong: Mapping[Trouble, float]) -> RateLimitReading | None:
        """Counts a request of a key; raises once there were too many. Only HEADER_LIMIT tells how many are left."""
        now = virtual_loop().time()
        recent = self._recent.setdefault((name, credential), deque())
        while recent and now - recent[0] >= self._limit_seconds:
            recent.popleft()
        reset_seconds = recent[0] + self._limit_seconds - now if recent else self._limit_seconds
        full = len(recent) >= self._limit_count
        if not full:
            recent.append(now)
        reading = None
        if Trouble.HEADER_LIMIT in wrong:
            left = self._limit_count - len(recent)
            bucket = RateLimitBucket(limit=self._limit_count, remaining=left, reset_seconds=reset_seconds)
            reading = RateLimitReading(requests=bucket)
        if full:
            told = reset_seconds if Trouble.LIMIT in wrong else None
            raise _refusal(FailureKind.RATE_LIMITED, 429, told, reading)
        return reading

    def _breaks(self, wrong: Mapping[Trouble, float]) -> int:
        hit = self._hit(wrong, Trouble.CUT) or self._hit(wrong, Trouble.STALL)
        return self._rng.randrange(PIECES) if hit else PIECES

    def _look_where(self, call: UpstreamCall) -> None:
        target = call.spec.target
        for message in call.chat.messages:
            for part in message.parts:
                regions = regions_marked(part.content.text) if isinstance(part.content, Text) else ()
                if regions and target.endpoint not in regions:
                    self.outside[call.spec.name, regions] += 1

    def _hit(self, wrong: Mapping[Trouble, float], trouble: Trouble) -> bool:
        share = wrong.get(trouble)
        return share is not None and self._rng.random() < share

    def _deviation(self, temper: Temper) -> float:
        usual = exp(temper.spread * self._rng.uniform(-1.0, 1.0)) if temper.spread else 1.0
        return usual * 5.0 if temper.tail_share and self._rng.random() < temper.tail_share else usual


class ProviderOf:
    """The providers as one pod's sidecar calls them."""

    def __init__(self, providers: Providers, pod: str) -> None:
        self._providers = providers
        self._pod = pod

    def stream(self, call: UpstreamCall) -> AsyncGenerator[Sequence[UpstreamEvent]]:
        return self._providers.stream(call, self._pod, ATTEMPT.get())

    async def complete(self, call: UpstreamCall) -> Sequence[UpstreamEvent]:
        return await self._providers.complete(call, self._pod, ATTEMPT.get())

    async def aclose(self) -> None:
        pass


def _refusal(
    kind: FailureKind, status: int, retry_after: float | None = None, reading: RateLimitReading | None = None
) -> UpstreamError:
    return UpstreamError(
        kind, "refused", http_status=status, retry_after_seconds=retry_after, rate_limit=reading, possibly_billed=False
    )
