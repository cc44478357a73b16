"""The webhook in virtual time: what is sent, signed how, tried again when, and that nothing piles up."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import orjson
import pytest
import structlog
from structlog.testing import CapturingLogger

from tests.virtual_time import in_virtual_time, virtual_loop
from turnout_server.core.event_ring import EventRing
from turnout_server.core.events import Event, EventName
from turnout_server.core.model import FailureKind, Target
from turnout_server.ports import UpstreamError
from turnout_server.telemetry.webhook import (
    EVENTS_AT_ONCE,
    LONGEST_WAIT_SECONDS,
    QUEUE_EVENTS,
    TRIES_MAXIMUM,
    Webhook,
    WebhookKeyError,
    signing_key,
)

KEY = b"a key of the operator's"
AWAY = UpstreamError(FailureKind.CONNECTION, "the connection could not be made", possibly_billed=False)
Answer = int | UpstreamError | None
"""A status, an error, or None for never."""


class Receiver:
    """Answers with these one after the other, then with 200; notes what came when."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.got: list[tuple[float, dict[str, str], bytes]] = []

    async def post(self, headers: Mapping[str, str], body: bytes) -> int:
        self.got.append((virtual_loop().clock(), dict(headers), body))
        answer = self.answers.pop(0) if self.answers else 200
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, UpstreamError):
            raise answer
        assert answer is not None
        return answer

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for _, headers, _ in self.got]

    def numbers(self, place: int = -1) -> list[int]:
        return [event["fields"]["n"] for event in orjson.loads(self.got[place][2])["data"]["events"]]


class Sender:
    """A webhook and what tells it."""

    def __init__(self, receiver: Receiver) -> None:
        self.ring = EventRing(virtual_loop().wall())
        self.written = CapturingLogger()
        ids = iter(f"id-{number}" for number in range(10_000))
        self.webhook = Webhook(
            new_id=lambda: next(ids),
            wall=virtual_loop().wall,
            rng=random.Random(1),
            log=structlog.wrap_logger(self.written, processors=[]),
        )
        self.webhook.send_to(receiver.post, lambda: KEY)

    def tell(self, count: int, name: EventName = EventName.BREAKER_OPENED) -> None:
        for number in range(count):
            event = Event(name=name, at=0.0, target=Target("a", "m"), provider="a", fields={"n": number})
            self.webhook.tell(self.ring.add(event, virtual_loop().wall()))


@asynccontextmanager
async def sending(receiver: Receiver) -> AsyncIterator[Sender]:
    sender = Sender(receiver)
    task = asyncio.create_task(sender.webhook.run())
    yield sender
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await sender.webhook.aclose()


@in_virtual_time
async def test_alarms_of_one_fault_come_together_and_signed() -> None:
    receiver = Receiver()
    async with sending(receiver) as sender:
        sender.tell(3)
        sender.tell(5, EventName.HEDGED)
        await asyncio.sleep(10)

    [(_, headers, body)] = receiver.got
    signed = b".".join((headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body))
    expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert receiver.numbers() == [0, 1, 2]
    assert sender.webhook.sent_count == 3


@in_virtual_time
async def test_what_is_not_taken_is_tried_again_with_its_id_and_ever_longer_pauses() -> None:
    receiver = Receiver(AWAY, 503, None, 429, 200)
    async with sending(receiver) as sender:
        sender.tell(1)
        await asyncio.sleep(200)

    assert receiver.ids == ["id-0"] * 5
    assert (sender.webhook.sent_count, sender.webhook.dropped_count) == (1, 0)
    times = [at for at, _, _ in receiver.got]
    assert 0.5 <= times[1] - times[0] <= 1.0
    assert 1.0 <= times[2] - times[1] <= 2.0
    assert 2.0 + 10.0 <= times[3] - times[2] <= 4.0 + 10.0
    assert 4.0 <= times[4] - times[3] <= 8.0


@in_virtual_time
async def test_a_receiver_that_is_away_for_good_costs_what_was_for_it_and_no_more() -> None:
    receiver = Receiver(*[AWAY] * TRIES_MAXIMUM)
    async with sending(receiver) as sender:
        sender.tell(1)
        await asyncio.sleep(TRIES_MAXIMUM * LONGEST_WAIT_SECONDS)
        sender.tell(2)
        await asyncio.sleep(10)

    assert receiver.ids == ["id-0"] * TRIES_MAXIMUM + ["id-1"]
    assert (sender.webhook.sent_count, sender.webhook.dropped_count) == (2, 1)
    [line] = sender.written.calls
    assert (line.kwargs["event"], line.kwargs["try_count"]) == ("webhook.dropped", TRIES_MAXIMUM)


@pytest.mark.parametrize("status", [301, 400, 401, 404, 410])
@in_virtual_time
async def test_what_a_receiver_refuses_is_not_tried_again(status: int) -> None:
    receiver = Receiver(status)
    async with sending(receiver) as sender:
        sender.tell(1)
        await asyncio.sleep(600)

    assert len(receiver.got) == 1
    assert sender.webhook.dropped_count == 1


@in_virtual_time
async def test_what_waits_is_bounded_and_the_newest_stay() -> None:
    receiver = Receiver()
    async with sending(receiver) as sender:
        sender.tell(QUEUE_EVENTS + 120)
        await asyncio.sleep(10)

    assert len(receiver.got) == QUEUE_EVENTS / EVENTS_AT_ONCE
    assert receiver.numbers(0)[0] == 120
    assert receiver.numbers()[-1] == QUEUE_EVENTS + 119
    assert (sender.webhook.sent_count, sender.webhook.dropped_count) == (QUEUE_EVENTS, 120)


@in_virtual_time
async def test_a_stop_sends_what_waits_and_does_not_wait_for_a_receiver_that_is_silent() -> None:
    receiver, silent = Receiver(), Receiver(None, None)
    async with sending(receiver) as sender:
        sender.tell(3)
    began_at = virtual_loop().clock()
    async with sending(silent) as other:
        other.tell(2)
        await asyncio.sleep(1)

    assert receiver.numbers() == [0, 1, 2]
    assert sender.webhook.sent_count == 3
    assert virtual_loop().clock() - began_at <= 3.0
    assert (other.webhook.sent_count, other.webhook.dropped_count) == (0, 2)


def test_a_key_is_what_the_file_holds_or_base64_behind_its_mark() -> None:
    assert signing_key("plain") == b"plain"
    assert signing_key("whsec_" + base64.b64encode(KEY).decode()) == KEY
    for text in ("", "whsec_", "whsec_!!"):
        with pytest.raises(WebhookKeyError):
            signing_key(text)


@in_virtual_time
async def test_what_is_under_way_keeps_its_id_when_it_is_sent_elsewhere() -> None:
    away, other = Receiver(None), Receiver()
    sender = Sender(away)
    task = asyncio.create_task(sender.webhook.run())
    sender.tell(1)
    await asyncio.sleep(1.0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    sender.webhook.send_to(other.post, lambda: b"")
    again = asyncio.create_task(sender.webhook.run())
    sender.tell(1)
    await asyncio.sleep(1.0)
    again.cancel()

    assert away.ids == ["id-0"]
    assert other.ids == ["id-0", "id-1"]
    assert "webhook-signature" not in other.got[0][1]
    assert (sender.webhook.sent_count, sender.webhook.dropped_count) == (2, 0)
