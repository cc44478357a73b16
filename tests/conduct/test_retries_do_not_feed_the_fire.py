"""In an outage providers get hardly more requests than there are calls, and what is silent is not asked twice."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conduct.before_providers import COMPLETE, PROMPT, Asked, Clock, ask, before
from turnout_server.core.model import Strategy
from turnout_server.core.settings import BackoffSettings, FailoverSettings
from turnout_server.providers.simulated.faults import FaultKind
from turnout_server.providers.simulated.server import SimulatedServer

AMPLIFICATION = 1.2
CALLS, EVERY_SECONDS = 120, 0.25
SHORT_PAUSES = FailoverSettings(
    quick_retry_min_seconds=0.001,
    quick_retry_max_seconds=0.002,
    backoff=BackoffSettings(base_seconds=0.002, max_seconds=0.01),
)
HONEST = {COMPLETE, "ATTEMPTS_EXHAUSTED", "ALL_ATTEMPTS_REFUSED", "ALL_TARGETS_UNAVAILABLE"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """What was seen of one: how the calls ended, and the requests that came to each provider."""

    got: tuple[Asked, ...]
    requests: Mapping[str, int]

    @property
    def at_all(self) -> float:
        """Requests at all providers by calls."""
        return sum(self.requests.values()) / len(self.got)

    @property
    def at_one(self) -> float:
        """Requests at the provider that got most of them, by calls."""
        return max(self.requests.values()) / len(self.got)


def failing(share: float) -> dict[str, Any]:
    return {"kind": FaultKind.ERROR, "status": 500, "share": share}


async def live_through(strategy: Strategy, faults: Mapping[str, dict[str, Any]], *, really: bool) -> Outage:
    got: list[Asked] = []
    clock = Clock()
    async with SimulatedServer(dict.fromkeys(("primary", "second"), PROMPT)) as server:
        urls = {name: server.base_url(name) for name in server.providers}
        async with before(urls, clock=clock, strategy=strategy, failover=None if really else SHORT_PAUSES) as sidecar:
            for name, fault in faults.items():
                server.change(name, fault=fault)
            began_at = clock()
            for number in range(CALLS):
                got.append(await ask(sidecar, streaming=number % 2 == 0))
                await clock.pass_until(began_at + (number + 1) * EVERY_SECONDS, really=really)
            requests = {name: provider.counts.requests for name, provider in server.providers.items()}
    return Outage(got=tuple(got), requests=requests)


DEAD = failing(1.0)
OUTAGES: Mapping[str, tuple[Strategy, Mapping[str, dict[str, Any]]]] = {
    "primary dead": (Strategy.PRIORITY, {"primary": DEAD}),
    "primary dead, by score": (Strategy.HYBRID, {"primary": DEAD}),
    "all dead": (Strategy.PRIORITY, {"primary": DEAD, "second": DEAD}),
    "all dead, by score": (Strategy.HYBRID, {"primary": DEAD, "second": DEAD}),
}
PARTIAL = (0.2, 0.35, 0.5)


def assert_saved(outage: Outage, *, anybody: bool) -> None:
    """Every call is answered where anybody can; where nobody can, each says so."""
    ends = {each.end for each in outage.got}

    assert ends == {COMPLETE} if anybody else ends <= HONEST


@pytest.mark.parametrize("what", OUTAGES)
async def test_outage_makes_at_most_a_fifth_more_requests_than_calls(what: str) -> None:
    outage = await live_through(*OUTAGES[what], really=False)

    assert_saved(outage, anybody="all dead" not in what)
    assert outage.at_all <= AMPLIFICATION, outage.requests


@pytest.mark.parametrize("share", PARTIAL)
async def test_partial_outage_brings_no_provider_more_than_a_fifth_more_requests_than_calls(share: float) -> None:
    outage = await live_through(Strategy.PRIORITY, {"primary": failing(share)}, really=False)

    assert_saved(outage, anybody=True)
    assert outage.at_one <= AMPLIFICATION, outage.requests


@pytest.mark.full
@pytest.mark.timeout(180)
async def test_same_is_true_of_a_real_minute() -> None:
    whole = await asyncio.gather(*(live_through(*each, really=True) for each in OUTAGES.values()))
    partial = await asyncio.gather(
        *(live_through(Strategy.PRIORITY, {"primary": failing(share)}, really=True) for share in PARTIAL)
    )

    assert all(outage.at_all <= AMPLIFICATION for outage in whole)
    assert all(outage.at_one <= AMPLIFICATION for outage in partial)


@pytest.mark.parametrize("streaming", [False, True], ids=["unary", "stream"])
async def test_silent_target_is_not_asked_again_in_the_same_call(streaming: bool) -> None:  # noqa: FBT001
    limits = FailoverSettings(first_token_timeout_seconds=0.5, idle_timeout_seconds=0.5)
    silences = {
        "silent": {"kind": FaultKind.SILENCE},
        "pinging": {"kind": FaultKind.SILENT_STREAM},
        "stalled": {"kind": FaultKind.STALL, "after_pieces": 0},
    }
    async with SimulatedServer(dict.fromkeys((*silences, "broken"), PROMPT)) as server:
        for name, fault in silences.items():
            server.change(name, fault=fault)
        server.change("broken", fault=failing(1.0))
        urls = {name: server.base_url(name) for name in server.providers}
        async with before(urls, failover=limits, patient={"broken"}) as sidecar:
            alone = await asyncio.gather(*(ask(sidecar, streaming=streaming, target=f"{name}/m") for name in silences))
            asked_alone = {name: server.providers[name].counts.requests for name in silences}
            # What is broken may be asked again, and is after everybody has failed: what is silent may not.
            together = await ask(sidecar, streaming=streaming)
            asked_together = {name: server.providers[name].counts.requests - asked_alone[name] for name in silences}

    assert {"ATTEMPTS_EXHAUSTED"} == {each.end for each in (*alone, together)}
    # That it is over is told by the limit; a busy machine may reach that before the request has come.
    assert {1} >= set(asked_alone.values()) - {0}
    assert {1} >= set(asked_together.values()) - {0}
