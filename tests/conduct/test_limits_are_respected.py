"""A provider that asks to be left alone is left alone for as long as it asked, however many would like to use it."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import AsyncExitStack
from email.utils import formatdate

from tests.api.sidecar import Sidecar
from tests.conduct.before_providers import COMPLETE, ask, asking_all_the_time, before, most_within
from tests.main_job.conduct import HEAD, raw_provider, read_body, said
from turnout_server.core.settings import FailoverSettings

CALLERS = 50
KNOWN_SECONDS = 0.3
"""After which a refusal has reached the sidecar."""
JITTER = FailoverSettings().health.cooldown_jitter
BUSY_SECONDS = 30.0
"""What may pass, beside pauses, on a machine that has other work."""


class Limiting:
    """A provider that refuses its first requests: once all have come, each after some seconds, with its own header.

    After those it answers; with `always` it goes on with the last refusal.
    """

    def __init__(self, *refusals: tuple[float, str], always: bool = False) -> None:
        self._refusals = refusals
        self.refusals = len(refusals)
        self._always = always
        self._all_came = asyncio.Event()
        self.arrived: list[float] = []
        self.refused: list[float] = []
        self.has_refused = asyncio.Event()
        """All of the first requests."""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_body(reader)
        number = len(self.arrived)
        self.arrived.append(time.time())
        if self._always or number < len(self._refusals):
            if number + 1 == self.refusals:
                self._all_came.set()
            await self._all_came.wait()
            after_seconds, header = self._refusals[min(number, len(self._refusals) - 1)]
            await asyncio.sleep(after_seconds)
            self.refused.append(time.time())
            if len(self.refused) == self.refusals:
                self.has_refused.set()
            writer.write(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\n")
            writer.write(header.encode() + b"\r\nconnection: close\r\n\r\n{}")
        else:
            writer.write(HEAD + said("Hello", finish="stop") + b"data: [DONE]\n\n")
        await writer.drain()


async def test_provider_is_asked_again_when_the_time_it_asked_for_is_over_and_not_before() -> None:
    date = math.floor(time.time()) + 2
    providers = {
        "seconds": Limiting((0.0, "retry-after: 1")),
        "milliseconds": Limiting((0.0, "retry-after-ms: 700")),
        "date": Limiting((0.0, f"retry-after: {formatdate(date, usegmt=True)}")),
        # Two are on their way together, and the second is refused later.
        "shorter-later": Limiting((0.0, "retry-after: 1"), (0.2, "retry-after-ms: 10")),
        "longer-later": Limiting((0.0, "retry-after: 1"), (0.05, "retry-after: 2")),
    }
    async with AsyncExitStack() as stack:
        urls = {name: await stack.enter_async_context(raw_provider(each.answer)) for name, each in providers.items()}
        sidecar = await stack.enter_async_context(before(urls))
        await asyncio.gather(*(_asked_until_complete(sidecar, *each) for each in providers.items()))

    asked_for = {
        "seconds": (0, 1.0),
        "milliseconds": (0, 0.7),
        "date": (0, date - providers["date"].refused[0]),
        "shorter-later": (0, 1.0),
        "longer-later": (1, 2.0),
    }
    for name, (refusal, seconds) in asked_for.items():
        provider = providers[name]
        asked_at, again_at = provider.refused[refusal], provider.arrived[len(provider.refused)]
        assert asked_at + seconds <= again_at, name
        assert again_at < asked_at + seconds * (1.0 + JITTER) + BUSY_SECONDS, name


async def _asked_until_complete(sidecar: Sidecar, name: str, provider: Limiting) -> None:
    """Asks again and again once it is known that it limits, as one of the first calls may wait for the pause's end."""
    ended: list[str] = []

    async def call() -> None:
        ended.append((await ask(sidecar, target=f"{name}/m")).end)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for _ in range(provider.refusals):
            group.create_task(call())
        await provider.has_refused.wait()
        while COMPLETE not in ended:
            await asyncio.sleep(KNOWN_SECONDS)
            group.create_task(call())


async def test_many_callers_make_at_most_two_attempts_in_one_and_a_half_seconds_at_a_limiting_target() -> None:
    limiting = Limiting((0.1, "retry-after: 1"), always=True)
    fine = Limiting()
    async with (
        raw_provider(limiting.answer) as north,
        raw_provider(fine.answer) as south,
        before({"north": north, "south": south}) as sidecar,
        asking_all_the_time(sidecar, CALLERS, 0.3) as got,
    ):
        async with asyncio.timeout(60):
            await limiting.has_refused.wait()
            # Who was on the way when the first refusal came could not know, and has ended when all have asked again.
            enough = len(got) + 2 * CALLERS
            while len(got) < enough:  # noqa: ASYNC110  # what is waited for says nothing of itself
                await asyncio.sleep(0.05)
            known_at = time.time()
            while sum(at > known_at for at in limiting.arrived) < 3:  # noqa: ASYNC110  # likewise
                await asyncio.sleep(0.05)
    knowing = [at for at in limiting.arrived if at > known_at]

    assert {COMPLETE} == {each.end for each in got}
    assert len(got) > CALLERS
    assert most_within(knowing, 1.5) <= 2
