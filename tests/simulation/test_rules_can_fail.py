"""Each rule reports the sidecar that breaks it: a tiny world with the fault built in, and what is said of it.

A rule that cannot fail proves nothing. What is patched here is the sidecar under test, never the rule.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.simulation.rules import all_broken
from tests.simulation.scenarios import HEDGING
from tests.simulation.sidecars import WatchedAttempts
from tests.simulation.test_worlds import broken_in
from tests.simulation.troubles import Spell, Trouble
from tests.simulation.wishes import Mode
from tests.simulation.world import BY_PRIORITY, Scenario, Traffic, live
from tests.virtual_time import run
from turnout_server.core import faults
from turnout_server.core.deadlines import CallTimes
from turnout_server.core.endpoint import EndpointBreaker
from turnout_server.core.gate import Change, Gate
from turnout_server.core.history import History
from turnout_server.core.model import HEALTH_FAILURES, BreakerState, FailureKind, Outcome
from turnout_server.core.once import SeenKeys
from turnout_server.core.outage import CoolDown, Outages
from turnout_server.core.retry_budget import RetryBudget
from turnout_server.core.settings import BreakerSettings, FailoverSettings, Limits, Settings
from turnout_server.core.state import FleetState
from turnout_server.execution import executor, hops, running, settling
from turnout_server.execution.running import Running
from turnout_server.use_cases.further_attempts import FurtherAttempts

FOREVER = 1e9
TWO = ("north/m", "south/m")


def spell(trouble: Trouble, start: float = 10.0, end: float = FOREVER, where: str = "north", **more: Any) -> Spell:
    return Spell(trouble=trouble, start=start, end=end, where=where, **more)


def world(
    *spells: Spell, seconds: float = 60.0, rate: float = 2.0, targets: Sequence[str] = TWO, **more: Any
) -> Scenario:
    traffic = Traffic(calls_per_second=rate, deadlines=(None,), prompt_bytes=(40,), **more)
    return Scenario(targets=targets, seconds=seconds, spells=spells, traffic=traffic)


def said_of(scenario: Scenario) -> str:
    """Returns what the rules say of a world, in which there is something to be said."""
    return "\n".join(all_broken(run(live(scenario, "1"))))


def with_failover(scenario: Scenario, **changed: Any) -> Scenario:
    settings = replace(BY_PRIORITY, failover=FailoverSettings(**changed))
    return replace(scenario, settings=settings)


DARK = world(spell(Trouble.DARK))


def test_nothing_is_said_of_the_same_worlds_without_the_fault() -> None:
    assert "" == said_of(DARK)
    assert "" == said_of(world(spell(Trouble.HANG, end=30.0), modes={Mode.ADVISED: 1.0}))


def test_a_breaker_that_admits_everything_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gate, "state", lambda _gate, _now: BreakerState.CLOSED)

    assert "nothing is sent to an open target: north/m" in said_of(DARK)


def test_a_trial_given_to_everybody_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gate, "admits", lambda gate, now: gate.state(now) is not BreakerState.OPEN)

    assert "a half-open target gets one trial at a time" in said_of(world(spell(Trouble.BLACK_HOLE), rate=5.0))


def test_a_plan_that_names_an_open_target_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gate, "state", lambda _gate, _now: BreakerState.CLOSED)

    assert "a plan names no target whose breaker is not closed" in said_of(
        world(spell(Trouble.DARK), modes={Mode.ADVISED: 1.0})
    )


@pytest.mark.parametrize("trouble", [Trouble.LIMIT, Trouble.HEADER_LIMIT, Trouble.BARE_LIMIT, Trouble.QUOTA])
def test_a_cool_down_that_is_not_kept_is_reported(monkeypatch: pytest.MonkeyPatch, trouble: Trouble) -> None:
    monkeypatch.setattr(Outages, "blocked", lambda *_: None)

    assert "a cooling target is left alone: north/m" in said_of(world(spell(trouble)))


def test_a_cool_down_shorter_than_asked_for_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = CoolDown.refused
    monkeypatch.setattr(CoolDown, "refused", lambda each, asked, *rest: kept(each, asked / 2, *rest))

    assert "a cooling target is left alone" in said_of(world(spell(Trouble.LIMIT)))


def test_retries_without_a_budget_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RetryBudget, "try_spend", lambda *_, **__: True)

    assert "retries stay within budget" in said_of(world(spell(Trouble.BROWN_OUT, share=0.4), rate=5.0))


def test_a_call_beyond_its_deadline_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def generous(given: float | None, _settings: FailoverSettings, *, now: float) -> CallTimes:
        ends_at = now + (600.0 if given is None else given) + 1.0
        return CallTimes(started_at=now, ends_at=ends_at, stream_ends_at=ends_at)

    monkeypatch.setattr(executor, "call_times", generous)
    hanging = world(spell(Trouble.HANG), targets=("north/m",))

    assert "a call ends by its deadline" in said_of(
        replace(hanging, traffic=replace(hanging.traffic, deadlines=(5.0,)))
    )


def test_an_attempt_settled_twice_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    settle = Running._settle

    def twice(each: Running) -> None:
        settle(each)
        settle(each)

    monkeypatch.setattr(Running, "_settle", twice)

    assert "an attempt ends once" in said_of(world(seconds=3.0))


def test_an_attempt_that_is_never_settled_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = WatchedAttempts.finish

    def forgetful(attempts: WatchedAttempts, permit: Any, outcome: Outcome, record: Any) -> None:
        if outcome.failure is None:
            kept(attempts, permit, outcome, record)

    monkeypatch.setattr(WatchedAttempts, "finish", forgetful)
    said = said_of(world(spell(Trouble.BROWN_OUT, share=0.5), seconds=20.0))

    assert "every attempt ends" in said
    assert "nothing stays in flight" in said


def test_a_call_that_misses_a_healthy_target_is_reported() -> None:
    said = said_of(with_failover(DARK, max_attempts=1))

    assert "a healthy target is reached" in said


def test_a_plan_without_the_healthy_target_is_reported() -> None:
    picky = replace(BY_PRIORITY.routing.policies["default"], limits=Limits(min_quality=89.5))
    settings = replace(BY_PRIORITY, routing=replace(BY_PRIORITY.routing, policies={"default": picky}))
    scenario = world(spell(Trouble.DARK), modes={Mode.ADVISED: 1.0})

    assert "a healthy target is in the plan" in said_of(replace(scenario, settings=settings))


EIGHT = tuple(f"north/model-{n}" for n in range(8))


def test_an_endpoint_that_is_asked_again_and_again_in_the_dark_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EndpointBreaker, "record_failure", lambda *_, **__: Change.NONE)

    assert "a dark endpoint costs at most 4" in said_of(
        world(spell(Trouble.DARK), targets=(*EIGHT, "south/m"), seconds=20.0, rate=5.0)
    )


def test_a_recovered_target_that_stays_closed_is_reported() -> None:
    wary = with_failover(
        world(spell(Trouble.DARK, end=20.0), seconds=300.0, rate=1.0), breaker=BreakerSettings(recovery_successes=1000)
    )

    assert "a recovered target is used again" in said_of(wary)


def test_callers_errors_that_count_as_faults_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "HEALTH_FAILURES", HEALTH_FAILURES | {FailureKind.INVALID_REQUEST})

    assert "what is not the target's fault changes no health: INVALID_REQUEST" in said_of(
        world(bad_share=0.5, seconds=10.0)
    )


def test_rate_limits_that_count_as_faults_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "HEALTH_FAILURES", HEALTH_FAILURES | {FailureKind.RATE_LIMITED})

    assert "what is not the target's fault changes no health: RATE_LIMITED" in said_of(world(spell(Trouble.LIMIT)))


def test_a_wrong_sum_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = settling.settle

    def dear(*given: Any, **named: Any) -> Any:
        outcome, record = kept(*given, **named)
        return outcome, replace(record, cost_nano_usd=(record.cost_nano_usd or 0) + 1)

    monkeypatch.setattr(running, "settle", dear)

    assert "accounts add up" in said_of(world(seconds=3.0))


def test_a_cut_stream_taken_as_free_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = settling.settle

    def free(*given: Any, **named: Any) -> Any:
        outcome, record = kept(*given, **named)
        if record.failure is FailureKind.TRUNCATED:
            record = replace(record, cost_nano_usd=0, usage=None, possibly_billed=False)
        return outcome, record

    monkeypatch.setattr(running, "settle", free)

    assert "taken as free" in said_of(world(spell(Trouble.CUT, share=0.5), seconds=30.0))


def test_hedges_without_a_bound_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FurtherAttempts, "may_hedge", lambda _further: True)
    slow = replace(world(spell(Trouble.SLOW), rate=1.0), settings=HEDGING)

    assert "hedges stay within their share" in said_of(slow)


def test_an_outcome_that_counts_twice_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SeenKeys, "add", lambda *_, **__: True)

    assert "an outcome counts once" in said_of(world(modes={Mode.ADVISED: 1.0}, silent_share=1.0, seconds=30.0))


def test_a_history_without_a_bound_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(history: History, size: int) -> None:
        history.size_bytes += size

    monkeypatch.setattr(History, "_grow", endless)
    small = Settings(routing=BY_PRIORITY.routing, history_max_bytes=20_000)

    assert "memory is bounded: the history" in said_of(replace(world(seconds=30.0), settings=small))


def test_a_table_that_keeps_what_has_ended_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = FleetState._ended

    def hoarding(state: FleetState, attempt_id: str) -> None:
        target = state._running.get(attempt_id)
        kept(state, attempt_id)
        if target is not None:
            state._running[attempt_id] = target

    monkeypatch.setattr(FleetState, "_ended", hoarding)

    assert "memory is bounded: FleetState._running" in said_of(world(seconds=3.0))


def test_a_seed_that_fails_is_told_with_the_command_that_replays_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gate, "state", lambda _gate, _now: BreakerState.CLOSED)
    told = broken_in("3")

    assert "SIMULATION_SEED=3 make test" in told[0]


def test_chance_without_a_seed_is_seen_in_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    before = run(live(DARK, "1")).digest
    again = run(live(DARK, "1")).digest
    monkeypatch.setattr(hops, "quick_retry_seconds", lambda *_: random.SystemRandom().uniform(0.05, 0.2))
    unseeded = run(live(DARK, "1")).digest

    assert before == again
    assert before != unseeded
