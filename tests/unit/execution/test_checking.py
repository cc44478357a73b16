"""Active checks as providers see them: in turn, off every path, one at a time, for little money; in virtual time."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import pytest

from tests.unit.execution.scripted import SILENCE, Script, ScriptedUpstream, World, answer, asking, chat, fail, spec
from tests.virtual_time import in_virtual_time, virtual_loop
from turnout_server.core.errors import TurnoutError
from turnout_server.core.events import Event, EventName
from turnout_server.core.fleet import CredentialSpec, TargetSpec
from turnout_server.core.model import BreakerState, FailureKind, Target, Usage
from turnout_server.core.settings import BreakerSettings, CheckSettings, FailoverSettings
from turnout_server.execution.executor import Executor
from turnout_server.ports import UpstreamError
from turnout_server.use_cases.checks import CheckReport

REFUSED: Script = [fail(FailureKind.CONNECTION, possibly_billed=False)]
BROKEN: Script = [fail(FailureKind.SERVER_ERROR, possibly_billed=False)]
FINE = answer("fine", usage=Usage(input_tokens=8, output_tokens=1))
LONG = FailoverSettings(breaker=BreakerSettings(open_seconds=300.0, open_max_seconds=300.0, open_jitter=0.0))
ENDPOINT, TARGET = Target("a", ""), Target("a", "m")


@dataclass(kw_only=True)
class ListedUpstream(ScriptedUpstream):
    """Lists models as well: an error is raised, seconds are waited for."""

    answers: list[UpstreamError | float]
    asked: list[tuple[float, str, str]] = field(default_factory=list)

    async def ask_for_models(self, spec: TargetSpec, credential: str) -> None:
        self.asked.append((virtual_loop().time(), spec.target.provider, credential))
        step = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(step, UpstreamError):
            raise step
        await asyncio.sleep(step if not math.isinf(step) else 1e6)


class CheckedWorld(World):
    """A world whose providers can be asked for their models."""

    def __init__(
        self,
        targets: dict[str | TargetSpec, Sequence[Script]],
        *answers: UpstreamError | float,
        checks: CheckSettings | None = None,
        failover: FailoverSettings = LONG,
    ) -> None:
        super().__init__(targets, failover=failover)
        scripts = self.upstream.scripts
        self.listed = ListedUpstream(scripts=scripts, answers=list(answers or (0.1,)))
        self.upstream = self.listed
        if checks is not None:
            self.router.adopt(self.fleet, replace(self.router.configured.settings, checks=checks))
        self.executor = Executor(
            self.router,
            dict.fromkeys(self.fleet.providers, self.upstream),
            clock=self.loop.clock,
            wall=self.loop.wall,
            rng=self.executor._rng,
            new_id=self.executor._new_id,
        )

    def state(self, place: int = 0) -> BreakerState:
        target = self.router.state.targets[place]
        gates = [target.breaker.state(self.now), target.endpoint.state(self.now)]
        return next((state for state in gates if state is not BreakerState.CLOSED), BreakerState.CLOSED)

    async def lost(self, count: int = 3) -> None:
        """Has calls fail until the first target's breaker is open."""
        for _ in range(count):
            with suppress(TurnoutError):
                await self.executor.execute(asking(include=("a",)), chat())
            await asyncio.sleep(1.0)
        assert self.state() is BreakerState.OPEN

    def told(self) -> list[Event]:
        return [event for event in self.events if event.name is EventName.CHECKED]

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        watching = asyncio.create_task(self.executor.checking.watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


@in_virtual_time
async def test_endpoint_that_can_be_connected_to_again_is_half_open_within_an_interval_and_not_closed() -> None:
    world = CheckedWorld({"a/m": [REFUSED], "b/m": [FINE]}, fail(FailureKind.CONNECTION), 0.1)
    async with world.watched():
        await world.lost()
        opened_at = world.now
        for _ in range(124):
            if world.state() is not BreakerState.HALF_OPEN:
                await asyncio.sleep(0.5)

    assert len(world.listed.asked) == 2
    assert 30.0 <= world.now - opened_at <= 62.0
    assert [event.fields["result"] for event in world.told()] == ["CONNECTION", "ok"]
    assert EventName.ENDPOINT_HALF_OPEN in [event.name for event in world.events]
    assert not world.router.state.targets[0].endpoint.closed
    assert len(world.names()) == 3


@in_virtual_time
async def test_half_open_target_that_nobody_asks_for_is_called_for_one_token_until_it_closes() -> None:
    world = CheckedWorld(
        {"a/m": [BROKEN, BROKEN, BROKEN, BROKEN, BROKEN, BROKEN, FINE], "b/m": [FINE]}, failover=FailoverSettings()
    )
    async with world.watched():
        await world.lost()
        before = len(world.names())
        await asyncio.sleep(70.0)
    calls = world.upstream.played[before:]

    assert world.state() is BreakerState.CLOSED
    assert [played.name for played in calls][-2:] == ["a/m", "a/m"]
    assert {played.call.max_output_tokens for played in calls} == {1}
    assert world.listed.asked == []
    assert world.told()[-1].fields["result"] == "ok"


@in_virtual_time
async def test_target_that_was_well_is_never_checked() -> None:
    world = CheckedWorld({"a/m": [FINE], "b/m": [FINE]})
    async with world.watched():
        await world.executor.execute(asking(), chat())
        await asyncio.sleep(600.0)

    assert world.listed.asked == []
    assert len(world.names()) == 1


@in_virtual_time
async def test_checks_stop_where_the_days_money_is_spent_and_go_on_the_next_day() -> None:
    # A call may cost 64 x 1,000 + 2,000 nano-USD, and is found to have cost 8,000: of 140,000 ten leave too little.
    checks = CheckSettings(max_nano_usd_per_day=140_000)
    unsure: Script = [fail(FailureKind.SERVER_ERROR)]
    world = CheckedWorld({"a/m": [unsure], "b/m": [FINE]}, checks=checks, failover=FailoverSettings())
    async with world.watched():
        await world.lost()
        before = len(world.names())
        await asyncio.sleep(3600.0)
        on_the_day = len(world.names()) - before
        spent = world.router.checks.spent_nano_usd
        await asyncio.sleep(3600.0)
        later = len(world.names()) - before
        await asyncio.sleep(86_400.0)
        by_the_next = len(world.names()) - before

    assert (on_the_day, spent, later, by_the_next) == (10, 80_000, 10, 20)
    assert "checks.max_usd_per_day is spent" in [
        str(event.fields["detail"]).partition(": ")[2] for event in world.told()
    ]
    # It is told when it is news and every ten minutes, and not at each turn.
    assert len(world.told()) < 200


@in_virtual_time
async def test_with_no_money_lists_are_asked_for_and_nothing_is_called() -> None:
    world = CheckedWorld({"a/m": [REFUSED], "b/m": [FINE]}, checks=CheckSettings(max_nano_usd_per_day=0))
    async with world.watched():
        await world.lost()
        before = len(world.names())
        await asyncio.sleep(300.0)

    assert len(world.listed.asked) == 1
    assert world.state() is BreakerState.HALF_OPEN
    assert len(world.names()) == before


@in_virtual_time
async def test_checks_that_are_switched_off_are_not_made() -> None:
    world = CheckedWorld({"a/m": [REFUSED], "b/m": [FINE]}, checks=CheckSettings(enabled=False))
    async with world.watched():
        await world.lost()
        await asyncio.sleep(250.0)
        untouched = list(world.listed.asked)
        world.router.adopt(
            world.fleet, replace(world.router.configured.settings, checks=CheckSettings(interval_seconds=5.0))
        )
        await asyncio.sleep(7.0)

    assert untouched == []
    assert len(world.listed.asked) == 1


@in_virtual_time
async def test_endpoint_whose_keys_are_out_is_not_asked_before_they_are_tried_again() -> None:
    keyed = spec("a/m", credentials=(CredentialSpec(label="main"),), needs_credential=True)
    denied: Script = [fail(FailureKind.AUTHENTICATION, possibly_billed=False)]
    world = CheckedWorld({keyed: [REFUSED, REFUSED, denied, denied, REFUSED], "b/m": [FINE]}, 0.1)
    for _ in range(2):
        await world.executor.execute(asking(), chat())
        await asyncio.sleep(6.0)
    await world.executor.execute(asking(), chat())
    async with world.watched():
        world.router.state.targets[0].breaker._open(FailureKind.CONNECTION, world.now)
        world.router.state._restless.add(0)
        out_until = world.now + 60.0
        assert world.router.checks.key_for(keyed) is None
        await asyncio.sleep(100.0)

    assert world.listed.asked
    assert world.listed.asked[0][0] > out_until - 12.0
    assert [event.fields["result"] for event in world.told()] == ["ok"]


@in_virtual_time
async def test_everybody_who_asks_for_the_same_check_gets_the_answer_of_one() -> None:
    world = CheckedWorld({"a/m": [FINE]}, 2.0)
    reports = await asyncio.gather(
        *(world.executor.checking.check(ENDPOINT, timeout_seconds=10.0, by="me") for _ in range(50))
    )

    assert {report.result for report in reports} == {"ok"}
    assert len(world.listed.asked) == 1
    assert len(world.told()) == 1
    assert world.told()[0].fields["by"] == "me"


@in_virtual_time
async def test_one_endpoint_is_checked_by_one_check_at_a_time() -> None:
    world = CheckedWorld({"a/m": [FINE], "a/n": [FINE]}, 3.0)
    check = world.executor.checking.check
    await asyncio.gather(
        *(check(target, timeout_seconds=60.0, by="me") for target in (ENDPOINT, TARGET, Target("a", "n")))
    )
    spans = [(world.listed.asked[0][0], 3.0)]
    spans += [(played.began_at, played.closed_at or 0.0) for played in world.upstream.played]

    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))
    assert len(spans) == 3


@in_virtual_time
async def test_who_asks_waits_no_longer_than_they_said_and_the_check_goes_on() -> None:
    world = CheckedWorld({"a/m": [FINE]}, 5.0)
    report = await world.executor.checking.check(ENDPOINT, timeout_seconds=1.0, by="me")
    gone_on = await world.executor.checking.check(ENDPOINT, timeout_seconds=10.0, by="you")

    assert (report.failure, report.seconds) == (FailureKind.TIMEOUT, 1.0)
    assert gone_on.ok
    assert len(world.listed.asked) == 1


@in_virtual_time
async def test_list_that_never_comes_is_given_up() -> None:
    world = CheckedWorld({"a/m": [FINE]}, math.inf)
    report = await world.executor.checking.check(ENDPOINT, timeout_seconds=60.0, by="me")

    assert report.failure is FailureKind.TIMEOUT
    assert report.seconds == pytest.approx(10.0)


async def asked_for(world: CheckedWorld) -> CheckReport:
    return await world.executor.checking.check(TARGET, timeout_seconds=60.0, by="me")


@in_virtual_time
async def test_target_that_somebody_asks_for_is_called_for_one_token_and_it_counts_as_any_call() -> None:
    world = CheckedWorld({"a/m": [FINE, BROKEN]})
    good, bad = await asked_for(world), await asked_for(world)

    assert good.ok
    assert good.cost_nano_usd == 10_000
    assert (bad.failure, bad.ok) == (FailureKind.SERVER_ERROR, False)
    assert [played.call.max_output_tokens for played in world.upstream.played] == [1, 1]
    assert world.router.state.targets[0].breaker.consecutive_failures == 1
    assert world.router.checks.spent_nano_usd == 10_000


@in_virtual_time
async def test_open_target_is_not_called_before_its_time_whoever_asks() -> None:
    world = CheckedWorld({"a/m": [BROKEN], "b/m": [FINE]})
    await world.lost()
    before = len(world.names())
    report = await asked_for(world)

    assert (report.result, report.seconds, report.failure) == ("not_made", None, None)
    assert "its breaker lets nothing through for" in report.detail
    assert len(world.names()) == before


@in_virtual_time
async def test_what_somebody_asks_for_is_made_although_the_days_money_is_spent() -> None:
    world = CheckedWorld({"a/m": [FINE]}, checks=CheckSettings(max_nano_usd_per_day=0))

    assert (await asked_for(world)).ok
    assert world.router.checks.spent_nano_usd == 10_000


@in_virtual_time
async def test_drained_target_is_not_called() -> None:
    world = CheckedWorld({"a/m": [FINE]})
    world.router.state.set_drained(0, drained=True)
    report = await asked_for(world)

    assert report.detail == "not made: it is drained"
    assert world.names() == []


@in_virtual_time
async def test_silent_target_is_given_up_and_counts_as_silent() -> None:
    world = CheckedWorld({"a/m": [[SILENCE]]})
    report = await asked_for(world)

    assert report.failure is FailureKind.TIMEOUT
    assert world.executor.checking._running == {}


@in_virtual_time
async def test_stopping_ends_the_checks_that_run() -> None:
    world = CheckedWorld({"a/m": [FINE]}, math.inf)
    waiting = asyncio.create_task(world.executor.checking.check(ENDPOINT, timeout_seconds=60.0, by="me"))
    await asyncio.sleep(1.0)
    await world.executor.aclose()
    report = await waiting

    assert report.result == "not_made"
    assert world.now == pytest.approx(1.0)


@in_virtual_time
async def test_results_are_counted_by_what_was_checked_and_end_with_it() -> None:
    world = CheckedWorld({"a/m": [FINE], "b/m": [FINE]}, 0.1)
    for target in (ENDPOINT, TARGET, Target("b", "m")):
        await world.executor.checking.check(target, timeout_seconds=60.0, by="me")
    everything = dict(world.router.checks.counts())
    world.router.adopt(type(world.fleet)(world.fleet.specs[:1]), world.router.configured.settings)

    assert everything == {("a", "ok"): 1, ("a/m", "ok"): 1, ("b/m", "ok"): 1}
    assert dict(world.router.checks.counts()) == {("a", "ok"): 1, ("a/m", "ok"): 1}
