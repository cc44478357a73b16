"""The bytes that history and chronicle believe they take, against those that CPython says they take."""

from __future__ import annotations

import dataclasses
import gc
import random
import tracemalloc
from collections.abc import Callable

import pytest

from tests.unit.core.fleets import spec
from tests.unit.core.live_fleet import LiveFleet
from turnout_server.core.chronicle import Chronicle, Heading
from turnout_server.core.decide import decide
from turnout_server.core.model import Caller, Outcome, RequestProfile, RouteQuery, Target, Usage
from turnout_server.core.settings import RoutingSettings, Settings

TOO_LITTLE, TOO_MUCH = 1.2, 0.5
"""An estimate may be a sixth too low, so that `history.max_mib` means what it says, and at most twice too high."""


def freed(forget: Callable[[], object]) -> int:
    """Bytes that come back."""
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    forget()
    gc.collect()
    return before - tracemalloc.get_traced_memory()[0]


def busy(live: LiveFleet, rng: random.Random, number: int, attempts: int) -> None:
    """One call with all that is kept of it; its answer changes the state, so that the next decision shares less."""
    live.now += 0.05
    query = RouteQuery(
        profile=RequestProfile(input_bytes=rng.randrange(400, 90_000), task="chat"),
        caller=Caller(tenant=f"tenant-{number % 5}", user=f"user-{number}"),
        request_id=f"request-{number}",
    )
    decision = decide(
        query,
        live.state,
        RoutingSettings(),
        now=live.now,
        now_wall=1.7e9 + live.now,
        rng=rng,
        decision_id=f"{number:032d}",
        turn=0,
    )
    live.state.past.decided(decision, query)
    for attempt in range(attempts):
        outcome = Outcome(
            target=decision.candidates[0].target,
            decision_id=decision.decision_id,
            attempt_id=f"{number}-{attempt}-{'x' * 30}",
            latency_seconds=1.0 + rng.random(),
            time_to_first_token_seconds=rng.random(),
            usage=Usage(input_tokens=rng.randrange(1000, 9000), output_tokens=rng.randrange(1000, 9000)),
            cost_nano_usd=rng.randrange(10**6, 10**9),
            caller=query.caller,
            task="chat",
            finished_at_wall=1.7e9 + live.now,
            estimated_input_tokens=rng.randrange(1000, 9000),
        )
        live.state.record(outcome, call_id=str(number), now=live.now, in_flight=False)


@pytest.mark.parametrize(
    ("targets", "attempts"),
    [(1, 1), pytest.param(12, 1, marks=pytest.mark.full), (12, 4), pytest.param(400, 1, marks=pytest.mark.full)],
)
def test_history_takes_what_it_says_it_takes(targets: int, attempts: int) -> None:
    specs = (spec(f"p{n % 20}/m{n}", quality=50.0 + n % 50, price=(1.0 + n % 7, 2.0)) for n in range(targets))
    live = LiveFleet(*specs, settings=dataclasses.replace(Settings(), history_max_bytes=64 << 20))
    rng = random.Random(1)
    for number in range(20):
        busy(live, rng, number, attempts)
    live.state.history.clear()
    tracemalloc.start()
    try:
        for number in range(20, 60):
            busy(live, rng, number, attempts)
        believed = live.state.history.size_bytes
        taken = freed(live.state.history.clear)
    finally:
        tracemalloc.stop()

    assert TOO_MUCH <= taken / believed <= TOO_LITTLE


def test_history_of_hundreds_of_targets_keeps_within_its_bound() -> None:
    live = LiveFleet(
        *(spec(f"p{n % 20}/m{n}") for n in range(400)),
        settings=dataclasses.replace(Settings(), history_max_bytes=1 << 20),
    )
    rng = random.Random(1)
    for number in range(10):
        busy(live, rng, number, 1)
    live.state.history.clear()
    tracemalloc.start()
    try:
        for number in range(10, 50):
            busy(live, rng, number, 1)
        taken = freed(live.state.history.clear)
    finally:
        tracemalloc.stop()

    assert taken <= (1 << 20) * TOO_LITTLE


@pytest.mark.parametrize("answers", [1, *(pytest.param(n, marks=pytest.mark.full) for n in (10, 100))])
def test_chronicle_takes_what_it_says_it_takes(answers: int) -> None:
    rng = random.Random(1)
    target = Target("a", "m")
    tracemalloc.start()
    try:
        made = Chronicle(64 << 20, started_at=0.0)
        for minute in range(5):
            for heading in (Heading(target, f"task {n}", "pro", f"tenant {minute}") for n in range(40)):
                made.decided(heading, score=rng.random(), confidence=rng.random(), now=minute * 60.0)
                for _ in range(answers):
                    seconds = rng.lognormvariate(0.5, 0.7)
                    outcome = Outcome(
                        target=target,
                        latency_seconds=seconds,
                        time_to_first_token_seconds=seconds / 5,
                        usage=Usage(input_tokens=rng.randrange(9000), output_tokens=rng.randrange(9000)),
                        cost_nano_usd=rng.randrange(10**9),
                    )
                    made.ended(heading, outcome, now=minute * 60.0)
        made.ended(Heading(target), Outcome(target=target), now=300.0)
        believed = made.size_bytes
        taken = freed(made.clear)
    finally:
        tracemalloc.stop()

    assert TOO_MUCH <= taken / believed <= TOO_LITTLE
