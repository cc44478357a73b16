"""Events over a real connection: pages, following, resuming, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable

import grpc
import pytest

from tests.api.sidecar import Sidecar, reason, running
from turnout.v1 import admin_pb2 as pb
from turnout_server.api.event_feed import MAX_WATCHERS
from turnout_server.core.event_ring import EVENTS_KEPT
from turnout_server.core.events import Event, EventName
from turnout_server.core.model import Target

GENEROUS_SECONDS = 60


def tell(sidecar: Sidecar, count: int, *, name: EventName = EventName.SUSPECT, provider: str = "alpha") -> None:
    for number in range(count):
        event = Event(name=name, at=1.0, target=Target(provider, "large"), provider=provider, fields={"n": number})
        sidecar.ring.add(event, 1_800_000_000.0 + number)


async def read(stream: AsyncIterable[pb.WatchEventsResponse], count: int) -> list[pb.Event]:
    found = []
    async with asyncio.timeout(GENEROUS_SECONDS):
        async for message in stream:
            found.append(message.event)
            if len(found) == count:
                return found
    raise AssertionError("the stream ended")


async def test_pages_follow_each_other_newest_first(sidecar: Sidecar) -> None:
    tell(sidecar, 25)
    tell(sidecar, 3, name=EventName.BREAKER_OPENED, provider="beta")
    request, numbers, sizes = pb.ListEventsRequest(page_size=10, target="alpha"), [], []
    while True:
        page = await sidecar.admin.ListEvents(request, timeout=GENEROUS_SECONDS)
        numbers += [int(event.fields["n"]) for event in page.events]
        sizes.append(len(page.events))
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    opened = await sidecar.admin.ListEvents(pb.ListEventsRequest(names=["breaker.opened"]), timeout=GENEROUS_SECONDS)

    assert numbers == list(range(24, -1, -1))
    assert sizes == [10, 10, 5]
    assert [(event.name, event.target.provider, event.fields["n"]) for event in opened.events] == [
        ("breaker.opened", "beta", str(n)) for n in (2, 1, 0)
    ]
    assert opened.events[0].time.ToSeconds() == 1_800_000_002


async def test_a_watcher_hears_what_happens_from_the_moment_its_head_comes(sidecar: Sidecar) -> None:
    tell(sidecar, 5)
    watching = sidecar.admin.WatchEvents(pb.WatchEventsRequest(names=["suspect"]))
    await asyncio.wait_for(watching.initial_metadata(), GENEROUS_SECONDS)
    tell(sidecar, 1, name=EventName.BREAKER_OPENED)
    tell(sidecar, 2)

    heard = await read(watching, 2)
    watching.cancel()

    assert [(event.name, event.fields["n"]) for event in heard] == [("suspect", "0"), ("suspect", "1")]


async def test_resuming_brings_what_was_missed_and_then_what_happens(sidecar: Sidecar) -> None:
    tell(sidecar, 300)
    last_seen = sidecar.ring.last_sequence - 250
    watching = sidecar.admin.WatchEvents(pb.WatchEventsRequest(after_sequence=last_seen))
    missed = await read(watching, 250)
    tell(sidecar, 1)
    [later] = await read(watching, 1)
    watching.cancel()

    assert [event.sequence for event in (*missed, later)] == list(range(last_seen + 1, last_seen + 252))


async def test_nothing_seen_yet_brings_all_that_is_held(sidecar: Sidecar) -> None:
    watching = sidecar.admin.WatchEvents(pb.WatchEventsRequest(after_sequence=0))
    await asyncio.wait_for(watching.initial_metadata(), GENEROUS_SECONDS)
    tell(sidecar, 2)
    heard = await read(watching, 2)
    watching.cancel()

    assert [event.fields["n"] for event in heard] == ["0", "1"]


async def test_what_is_gone_or_of_another_run_is_told_as_too_old(sidecar: Sidecar) -> None:
    tell(sidecar, EVENTS_KEPT + 10)
    for sequence in (sidecar.ring.last_sequence - EVENTS_KEPT - 5, 7, sidecar.ring.last_sequence + 1):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await read(sidecar.admin.WatchEvents(pb.WatchEventsRequest(after_sequence=sequence)), 1)

        assert (error.value.code(), reason(error.value)) == (grpc.StatusCode.OUT_OF_RANGE, "RESUME_TOO_OLD")


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ListEventsRequest(page_size=1001), "page_size"),
        (pb.ListEventsRequest(page_token="x"), "page_token"),
        (pb.ListEventsRequest(names=["suspect", "nonsense"]), "names[1]"),
        (pb.ListEventsRequest(target="x" * 300), "target"),
        (pb.WatchEventsRequest(after_sequence=-1), "after_sequence"),
        (pb.WatchEventsRequest(names=["nonsense"]), "names[0]"),
    ],
)
async def test_bad_input_names_the_field(
    sidecar: Sidecar, request_: pb.ListEventsRequest | pb.WatchEventsRequest, field: str
) -> None:
    asked = (
        sidecar.admin.ListEvents(request_, timeout=GENEROUS_SECONDS)
        if isinstance(request_, pb.ListEventsRequest)
        else read(sidecar.admin.WatchEvents(request_), 1)
    )
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await asked

    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in (error.value.details() or "")


async def test_watchers_are_bounded_and_one_that_leaves_makes_room(sidecar: Sidecar) -> None:
    watching = [sidecar.admin.WatchEvents(pb.WatchEventsRequest()) for _ in range(MAX_WATCHERS)]
    await asyncio.wait_for(asyncio.gather(*(each.initial_metadata() for each in watching)), GENEROUS_SECONDS)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await read(sidecar.admin.WatchEvents(pb.WatchEventsRequest()), 1)

    assert reason(error.value) == "SIDECAR_OVERLOADED"

    for each in watching:
        each.cancel()
    async with asyncio.timeout(GENEROUS_SECONDS):
        while True:
            tell(sidecar, 1)
            again = sidecar.admin.WatchEvents(pb.WatchEventsRequest(after_sequence=0))
            try:
                await read(again, 1)
            except grpc.aio.AioRpcError as busy:
                assert reason(busy) == "SIDECAR_OVERLOADED"
            else:
                again.cancel()
                return


async def test_a_stop_tells_watchers_that_it_drains() -> None:
    async with running() as sidecar:
        watching = sidecar.admin.WatchEvents(pb.WatchEventsRequest())
        await asyncio.wait_for(watching.initial_metadata(), GENEROUS_SECONDS)
        stopping = asyncio.create_task(sidecar.server.stop())
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await read(watching, 1)
        await stopping

    assert reason(error.value) == "DRAINING"


async def test_an_opened_breaker_says_until_when_its_target_is_left_alone(sidecar: Sidecar) -> None:
    opened = Event(
        name=EventName.BREAKER_OPENED,
        at=1.0,
        target=Target("alpha", "large"),
        provider="alpha",
        fields={"failure": "TIMEOUT", "open_seconds": 30.5},
    )
    sidecar.ring.add(opened, 1_800_000_000.0)

    [event] = (await sidecar.admin.ListEvents(pb.ListEventsRequest(), timeout=GENEROUS_SECONDS)).events

    assert dict(event.fields) == {"failure": "TIMEOUT", "open_seconds": "30.5", "until": "2027-01-15T08:00:30.500Z"}
