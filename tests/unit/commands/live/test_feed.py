"""What the feed asks of a sidecar and how often, in virtual time; and what it makes of refusals and silence."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from tests.unit.commands.live.samples import at, provider, seen, target
from tests.virtual_time import in_virtual_time
from turnout.errors import PermissionDeniedError, ResumeTooOldError, TurnoutError, UnreachableError
from turnout.v1 import admin_pb2, router_pb2
from turnout_server.commands.live.feed import Feed
from turnout_server.commands.live.link import Link
from turnout_server.commands.live.seen import Part

STATUS = seen(provider(target("north/m", last_request_time=at(0)), target("north/idle"))).status
ANSWERS = {
    "ProviderStatus": STATUS,
    "ListDecisions": admin_pb2.ListDecisionsResponse(),
    "ListBudgets": admin_pb2.ListBudgetsResponse(),
    "GetStatistics": admin_pb2.GetStatisticsResponse(),
    "GetTrend": admin_pb2.GetTrendResponse(),
    "ListEvents": admin_pb2.ListEventsResponse(events=[admin_pb2.Event(sequence=7, name="recovered")]),
}
METHODS = SimpleNamespace(**{name: name for name in ANSWERS})


@dataclass
class FakeLink:
    """Counts what is asked; `errors` are raised instead of an answer, `watches` are how following events goes."""

    errors: dict[str, TurnoutError] = field(default_factory=dict)
    watches: list[list[admin_pb2.Event] | TurnoutError] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    followed_after: list[int] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=lambda: ANSWERS)
    address: str = "here"
    router: Any = field(default_factory=lambda: METHODS)
    admin: Any = field(default_factory=lambda: METHODS)

    async def call(self, method: str, request: Any) -> Any:
        del request
        self.asked[method] += 1
        await asyncio.sleep(0)
        if method in self.errors:
            raise self.errors[method]
        return self.answers[method]

    async def events(self, after_sequence: int) -> AsyncGenerator[admin_pb2.Event]:
        self.followed_after.append(after_sequence)
        happened = self.watches.pop(0) if self.watches else []
        if isinstance(happened, TurnoutError):
            raise happened
        for event in happened:
            yield event
        if not self.watches:
            await asyncio.sleep(1e6)


async def watch(link: FakeLink, seconds: float, *, interval_seconds: float = 1.0) -> Feed:
    """Runs a feed so long."""
    feed = Feed(cast("Link", link), window_minutes=1, clock=asyncio.get_running_loop().time)
    feed.trends_of = ["north/m", "north/idle"]
    running = asyncio.create_task(feed.run(interval_seconds, lambda: None))
    await asyncio.sleep(seconds)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return feed


@in_virtual_time
async def test_what_costs_the_sidecar_more_is_asked_for_less_often() -> None:
    link = FakeLink()
    await watch(link, 59.5)

    assert {
        "ProviderStatus": 60,
        "ListDecisions": 30,
        "ListBudgets": 12,
        "GetStatistics": 6,
        "GetTrend": 3,
        "ListEvents": 1,
    } == link.asked


@in_virtual_time
async def test_sidecar_with_many_targets_is_asked_less_often() -> None:
    link = FakeLink()
    many = router_pb2.ProviderStatusResponse(aggregate=router_pb2.AggregateState(target_count=400))
    link.answers = {**ANSWERS, "ProviderStatus": many}
    await watch(link, 59.5)

    assert (15, 8) == (link.asked["ProviderStatus"], link.asked["ListDecisions"])


@in_virtual_time
async def test_no_part_is_asked_for_more_often_than_the_whole() -> None:
    link = FakeLink()
    await watch(link, 119, interval_seconds=60.0)

    assert {2, 1} == {link.asked["ListDecisions"], link.asked["ListEvents"]}


@in_virtual_time
async def test_refused_part_says_why_and_is_asked_for_once_a_minute() -> None:
    link = FakeLink(errors={"ListDecisions": PermissionDeniedError("not with this token")})
    feed = await watch(link, 125)

    assert 3 == link.asked["ListDecisions"]
    assert {Part.DECISIONS: "not with this token"} == feed.seen.refused
    assert "" == feed.seen.lost


@in_virtual_time
async def test_silence_keeps_the_last_values_and_their_age_and_everything_is_read_after_it() -> None:
    link = FakeLink()
    feed = Feed(cast("Link", link), window_minutes=1, clock=asyncio.get_running_loop().time)
    running = asyncio.create_task(feed.run(1.0, lambda: None))
    await asyncio.sleep(0.5)
    link.errors = {name: UnreachableError("connection refused") for name in ANSWERS}
    await asyncio.sleep(10)
    silent = feed.seen
    link.errors = {}
    before = link.asked.copy()
    await asyncio.sleep(1)
    again = feed.seen
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert "cannot reach the sidecar at here: connection refused; is it running there?" == silent.lost
    assert STATUS == silent.status
    assert 10.0 <= silent.age_seconds <= 11.0
    assert {} == silent.refused
    assert "" == again.lost
    assert all(link.asked[name] > before[name] for name in ("ListDecisions", "ListBudgets", "GetStatistics"))


@in_virtual_time
async def test_events_are_followed_from_the_last_one_seen_and_shown_once() -> None:
    after = [admin_pb2.Event(sequence=8, name="switch"), admin_pb2.Event(sequence=9, name="failure")]
    link = FakeLink(watches=[after, UnreachableError("gone"), [admin_pb2.Event(sequence=9), *after]])
    feed = await watch(link, 10)

    assert [7, 9, 9] == link.followed_after
    assert [9, 8, 7] == [event.sequence for event in feed.seen.events]


@in_virtual_time
async def test_events_are_listed_anew_where_some_are_no_longer_held() -> None:
    link = FakeLink(watches=[ResumeTooOldError("too old"), []])
    await watch(link, 10)

    assert 2 == link.asked["ListEvents"]
    assert [7, 7] == link.followed_after


@in_virtual_time
async def test_another_run_without_events_is_followed_from_its_begin_and_not_listed_again_and_again() -> None:
    answers = ANSWERS | {"ListEvents": admin_pb2.ListEventsResponse()}
    link = FakeLink(watches=[[admin_pb2.Event(sequence=7)], ResumeTooOldError("another run"), []], answers=answers)
    feed = await watch(link, 10)

    assert [0, 7, 0] == link.followed_after
    assert 2 == link.asked["ListEvents"]
    assert [7] == [event.sequence for event in feed.seen.events]


@in_virtual_time
async def test_change_by_hand_is_seen_at_once() -> None:
    link = FakeLink()
    feed = Feed(cast("Link", link), window_minutes=1, clock=asyncio.get_running_loop().time)
    running = asyncio.create_task(feed.run(60.0, lambda: None))
    await asyncio.sleep(1)
    before = link.asked.copy()
    feed.read_soon()
    await asyncio.sleep(1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert all(link.asked[name] > before[name] for name in ("ProviderStatus", "ListDecisions", "ListBudgets"))
