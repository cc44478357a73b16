"""LiteLLM's Router by its rules, with its defaults, as of version 1.109 (November 2026); none of its code.

All targets are one model group. Sources are its documentation (docs.litellm.ai/docs/routing) and, where that is silent,
what its modules do: `router_utils/cooldown_handlers`, `router_strategy/lowest_latency` and `lowest_cost`, `constants`.

* A target cools for 5 s (or for what Retry-After says, up to 60 s) at once after 429 or an error that should not be
  retried, or after more than half of at least 5 calls in a minute failed. Connection errors never cool it. While it
  cools, a second deadline is ignored. The minute of each count begins with its first call.
* A call is tried three times, each time at whatever is best among those that do not cool, the target that has just
  failed included; without a pause while any target does not cool.
* Latency: the mean of the last 10 samples: seconds to the first token for streams, else seconds per output token. A
  time-out counts as 1000 s. A target without samples counts as 0, so each is tried. The samples live for an hour.
* Cost: the lowest sum of the two prices. Shuffle, its default: by chance.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from enum import Enum, auto
from statistics import fmean

from bench.decisions.baseline import Baseline, Tried
from bench.decisions.calls import Planned
from bench.decisions.contender import End
from bench.decisions.fates import FailedError
from bench.decisions.providers import Providers
from tests.virtual_time import virtual_loop
from turnout_server.core.model import FailureKind

COOLDOWN_SECONDS = 5.0
RETRY_AFTER_MAXIMUM_SECONDS = 60.0
FAILURE_SHARE = 0.5
FAILURE_MINIMUM_CALLS = 5
COUNT_SECONDS = 60.0
ALL_FAILED_MINIMUM_CALLS = 1000
TRIES = 3
PAUSE_SECONDS, PAUSE_MAXIMUM_SECONDS, PAUSE_JITTER_SECONDS = 0.5, 8.0, 0.75
SAMPLES = 10
SAMPLES_SECONDS = 3600.0
TIMEOUT_SAMPLE_SECONDS = 1000.0
TOO_MANY_REQUESTS, REQUEST_TIMEOUT = 429, 408
BAD_REQUEST, SERVER_ERROR = 400, 500


class Choice(Enum):
    """How to choose among those that do not cool."""

    SHUFFLE = auto()
    LATENCY = auto()
    COST = auto()


class _Count:
    """Calls of a minute that begins with the first of them."""

    def __init__(self) -> None:
        self._count = 0
        self._until = 0.0

    def add(self, now: float) -> None:
        if now >= self._until:
            self._count, self._until = 0, now + COUNT_SECONDS
        self._count += 1

    def read(self, now: float) -> int:
        return self._count if now < self._until else 0


class _Deployment:
    """What is remembered of one target."""

    def __init__(self) -> None:
        self.succeeded = _Count()
        self.failed = _Count()
        self.cools_until = 0.0
        self.seconds_per_token: deque[float] = deque(maxlen=SAMPLES)
        self.first_seconds: deque[float] = deque(maxlen=SAMPLES)

    def cool(self, now: float, seconds: float) -> None:
        if now >= self.cools_until:
            self.cools_until = now + seconds

    def latency(self, *, streamed: bool) -> float:
        samples = self.first_seconds if streamed and self.first_seconds else self.seconds_per_token
        return fmean(samples) if samples else 0.0

    def forget_samples(self) -> None:
        self.seconds_per_token.clear()
        self.first_seconds.clear()


class LiteLlmRules(Baseline):
    """One process with LiteLLM's Router in it, without Redis."""

    def __init__(self, providers: Providers, sidecar: int, choice: Choice) -> None:
        super().__init__(providers, sidecar)
        self._choice = choice
        self._rng = random.Random(f"{providers.trace.name}/{sidecar}")
        self._deployments = {name: _Deployment() for name in self.names}
        self._samples_until = 0.0

    async def carry_out(self, planned: Planned) -> End:
        """Carries out one call."""
        for n in range(TRIES):
            name = self._chosen(planned)
            if name is not None:
                tried = await self.attempt(planned, name)
                self._note(planned, name, tried)
                if tried.failure is None:
                    return End.ANSWERED
                if tried.shown:
                    return End.BROKEN
            if n + 1 < TRIES and not self._healthy():
                pause = min(PAUSE_MAXIMUM_SECONDS, PAUSE_SECONDS * 2.0**n)
                await asyncio.sleep(pause + PAUSE_JITTER_SECONDS * self._rng.random())
        return End.FAILED

    def _healthy(self) -> list[str]:
        now = virtual_loop().time()
        return [name for name, deployment in self._deployments.items() if now >= deployment.cools_until]

    def _chosen(self, planned: Planned) -> str | None:
        healthy = self._healthy()
        if not healthy:
            return None
        match self._choice:
            case Choice.SHUFFLE:
                return self._rng.choice(healthy)
            case Choice.COST:
                return min(healthy, key=self._price)
            case Choice.LATENCY:
                self._rng.shuffle(healthy)
                return min(healthy, key=lambda name: self._deployments[name].latency(streamed=planned.streamed))

    def _price(self, name: str) -> float:
        target, now = self.providers.target(name), virtual_loop().time()
        list_price = target.input_usd_per_million + target.output_usd_per_million
        return list_price * self.providers.price_factor(name, now, as_known=True)

    def _note(self, planned: Planned, name: str, tried: Tried) -> None:
        deployment, now = self._deployments[name], virtual_loop().time()
        if tried.failure is None:
            deployment.succeeded.add(now)
            self._sample(deployment, planned, tried, now)
            return
        deployment.failed.add(now)
        if tried.failure.kind is FailureKind.TIMEOUT:
            deployment.seconds_per_token.append(TIMEOUT_SAMPLE_SECONDS)
        if self._cools(deployment, tried.failure, now):
            told = tried.failure.retry_after_seconds
            obeyed = told is not None and 0.0 < told <= RETRY_AFTER_MAXIMUM_SECONDS
            deployment.cool(now, told if told is not None and obeyed else COOLDOWN_SECONDS)

    def _sample(self, deployment: _Deployment, planned: Planned, tried: Tried, now: float) -> None:
        if now >= self._samples_until:
            self._samples_until = now + SAMPLES_SECONDS
            for each in self._deployments.values():
                each.forget_samples()
        deployment.seconds_per_token.append(tried.seconds / planned.output_tokens)
        if planned.streamed and tried.first_token_seconds is not None:
            deployment.first_seconds.append(tried.first_token_seconds)

    def _cools(self, deployment: _Deployment, failure: FailedError, now: float) -> bool:
        if failure.kind is FailureKind.CONNECTION:
            return False
        status = failure.status if failure.status is not None else SERVER_ERROR
        if status == TOO_MANY_REQUESTS:
            return True
        failed = deployment.failed.read(now)
        count = failed + deployment.succeeded.read(now)
        if failed == count and count >= ALL_FAILED_MINIMUM_CALLS:
            return True
        if count >= FAILURE_MINIMUM_CALLS and failed > FAILURE_SHARE * count:
            return True
        return BAD_REQUEST <= status < SERVER_ERROR and status != REQUEST_TIMEOUT
