"""Sends alarms to an address of the operator's: beside the calls, signed, tried again, and bounded in every way.

The form is that of Standard Webhooks (https://github.com/standard-webhooks/standard-webhooks, version 1.0.0): a POST of
JSON with `webhook-id`, `webhook-timestamp` and, where there is a key, `webhook-signature`, which receivers check with
their library. A message that is tried again keeps its id, so that whoever got it twice knows.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import orjson

from turnout_server.core.events import EventName
from turnout_server.ports import UpstreamError
from turnout_server.telemetry.telling import iso, until

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from turnout_server.core.event_ring import Told

Post = Callable[[Mapping[str, str], bytes], Awaitable[int]]
"""Sends headers and body, and returns the HTTP status of the answer. Raises UpstreamError."""

ALARMS = frozenset(
    {
        EventName.BREAKER_OPENED,
        EventName.ENDPOINT_OPENED,
        EventName.LOCAL_NETWORK,
        EventName.CREDENTIAL_OUT,
        EventName.UNAVAILABLE,
        EventName.RECOVERED,
        EventName.HIGH_LATENCY,
        EventName.HIGH_ERROR_RATE,
        EventName.BUDGET_ALERT,
        EventName.BUDGET_EXHAUSTED,
        EventName.CONFIG_REFUSED,
    }
)
"""What is sent: what somebody should know of who does not look, and that it is over."""

QUEUE_EVENTS = 1000
"""More than this wait for a receiver that is away only by pushing out the oldest."""
EVENTS_AT_ONCE = 50
GATHER_SECONDS = 0.5
"""A fault seldom brings one event alone: so long the first one waits for the others."""
TRIES_MAXIMUM = 8
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
ANSWER_SECONDS = 10.0
LAST_TRY_SECONDS = 2.0
"""For so long a stop waits for what has not been sent yet."""
KEY_PREFIX = "whsec_"
OK_FROM, OK_BELOW = 200, 300
AGAIN = frozenset({408, 409, 425, 429})
SERVER_ERRORS = 500


class WebhookKeyError(Exception):
    """A key that cannot be one; the message holds none of it."""


class Message(NamedTuple):
    """What is posted, however often."""

    webhook_id: str
    event_count: int
    body: bytes


class Webhook:
    """Takes events on the event loop with `tell`; `run` sends them to where `send_to` said until it is cancelled.

    It can be run again, with another place to send to; at the end comes `aclose`. `wall` is seconds since the epoch.
    """

    def __init__(
        self,
        *,
        new_id: Callable[[], str],
        wall: Callable[[], float],
        rng: random.Random,
        log: FilteringBoundLogger,
    ) -> None:
        self._post: Post | None = None
        self._key: Callable[[], bytes] = bytes
        self._new_id = new_id
        self._wall = wall
        self._rng = rng
        self._log = log
        self._waiting: deque[Told] = deque()
        self._some = asyncio.Event()
        self._unsent: Message | None = None
        self.sent_count = 0
        """Events that a receiver has taken."""
        self.dropped_count = 0
        """Events that no receiver took in time, or that there was no room for."""

    def send_to(self, post: Post, key: Callable[[], bytes]) -> None:
        """Says where to send to. `key` returns the key that signs as it is now, b"" for none; not while it runs."""
        self._post, self._key = post, key

    def tell(self, told: Told) -> None:
        """Takes an event, if it is an alarm; returns at once."""
        if told.event.name not in ALARMS:
            return
        if len(self._waiting) >= QUEUE_EVENTS:
            self._waiting.popleft()
            self.dropped_count += 1
        self._waiting.append(told)
        self._some.set()

    async def run(self) -> None:
        """Sends what comes, a few at once, one message after the other."""
        while True:
            if self._unsent is None:
                await self._some.wait()
                await asyncio.sleep(GATHER_SECONDS)
            while self._unsent is not None or self._waiting:
                # One that was under way when it was told to send elsewhere keeps its id.
                self._unsent = self._unsent or self._message()
                await self._deliver(self._unsent)
                self._unsent = None
            self._some.clear()

    async def aclose(self) -> None:
        """Tries once more what has not been sent, for at most 2 s in all; to be called when `run` has ended.

        What is not taken then is given up.
        """
        with contextlib.suppress(TimeoutError, UpstreamError, WebhookKeyError):
            async with asyncio.timeout(LAST_TRY_SECONDS):
                # Before it was said where to send to, there is nobody to try.
                while self._post is not None and (self._unsent is not None or self._waiting):
                    self._unsent = self._unsent or self._message()
                    if not self._taken(await self._try(self._unsent)):
                        break
                    self.sent_count += self._unsent.event_count
                    self._unsent = None
        left = len(self._waiting) + (self._unsent.event_count if self._unsent is not None else 0)
        if left:
            self.dropped_count += left
            self._log.warning("webhook.unfinished", dropped_count=left)
        self._waiting.clear()
        self._unsent = None

    async def _deliver(self, message: Message) -> None:
        fault, try_count = "", 0
        for try_count in range(1, TRIES_MAXIMUM + 1):
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    status = await self._try(message)
            except TimeoutError:
                fault = f"no answer within {ANSWER_SECONDS:g} s"
            except (UpstreamError, WebhookKeyError) as error:
                fault = str(error)
            else:
                if self._taken(status):
                    self.sent_count += message.event_count
                    return
                fault = f"it answered {status}"
                if status < SERVER_ERRORS and status not in AGAIN:
                    break
            if try_count < TRIES_MAXIMUM:
                longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** (try_count - 1))
                # Full jitter, but never at once: many sidecars have seen the same fault.
                await asyncio.sleep(longest * self._rng.uniform(0.5, 1.0))
        self.dropped_count += message.event_count
        self._log.warning("webhook.dropped", reason=fault, try_count=try_count, event_count=message.event_count)

    async def _try(self, message: Message) -> int:
        timestamp = str(int(self._wall()))
        headers = {
            "content-type": "application/json",
            "user-agent": "turnout",
            "webhook-id": message.webhook_id,
            "webhook-timestamp": timestamp,
        }
        key = self._key()
        if key:
            headers["webhook-signature"] = signature(key, message.webhook_id, timestamp, message.body)
        assert self._post is not None, "nobody said where to send to"
        return await self._post(headers, message.body)

    def _message(self) -> Message:
        few = [self._waiting.popleft() for _ in range(min(EVENTS_AT_ONCE, len(self._waiting)))]
        return Message(self._new_id(), len(few), orjson.dumps(payload(few)))

    @staticmethod
    def _taken(status: int) -> bool:
        return OK_FROM <= status < OK_BELOW


def payload(few: Sequence[Told]) -> dict[str, object]:
    """Returns what is posted of some events: the fields of `Event` in the contract."""
    return {
        "type": "turnout.events",
        "timestamp": iso(few[-1].at_wall),
        "data": {
            "events": [
                {
                    "sequence": told.sequence,
                    "name": told.event.name.value,
                    "time": iso(told.at_wall),
                    "target": str(told.event.target or ""),
                    "provider": told.event.provider,
                    "endpoint": told.event.endpoint,
                    "fields": {**told.event.fields, **until(told)},
                }
                for told in few
            ]
        },
    }


def signature(key: bytes, webhook_id: str, timestamp: str, body: bytes) -> str:
    """Returns `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`."""
    signed = b".".join((webhook_id.encode(), timestamp.encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def signing_key(text: str) -> bytes:
    """Returns the key that a file's text stands for: base64 after `whsec_`, else its bytes. Raises WebhookKeyError."""
    if not text.startswith(KEY_PREFIX):
        key = text.encode()
    else:
        try:
            key = base64.b64decode(text.removeprefix(KEY_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise WebhookKeyError(f"what follows {KEY_PREFIX} is not base64") from None
    if not key:
        raise WebhookKeyError("the key is empty")
    return key
