"""Where alarms go, as the configuration has it: posting is begun, sent elsewhere or ended while calls run."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from turnout_server.config.schema import Configuration
    from turnout_server.core.event_ring import Told
    from turnout_server.telemetry.webhook import Webhook
    from turnout_server.webhook_transport import WebhookTransport


class _Way(NamedTuple):
    """What is configured of it; an empty URL: nowhere."""

    url: str = ""
    secret_file: str = ""
    allow_private: bool = False


class Alarming:
    """Takes every event with `tell`. Nothing is loaded, and no task runs, before there is an address to post to.

    `wall` is seconds since the epoch; `rng` spreads what is tried again.
    """

    def __init__(
        self, *, new_id: Callable[[], str], wall: Callable[[], float], rng: random.Random, log: FilteringBoundLogger
    ) -> None:
        self._new_id = new_id
        self._wall = wall
        self._rng = rng
        self._log = log
        self._way = _Way()
        self._webhook: Webhook | None = None
        self._transport: WebhookTransport | None = None
        self._sending: asyncio.Task[None] | None = None
        self._changing: asyncio.Task[None] | None = None

    def tell(self, told: Told) -> None:
        """Takes an event; returns at once."""
        if self._webhook is not None and self._way.url:
            self._webhook.tell(told)

    def follow(self, configuration: Configuration) -> None:
        """Posts to where another configuration says; returns at once.

        What waits is posted there too, and what is being posted with the same id. With no address any more it is tried
        once at the last one.
        """
        alerts = configuration.alerts
        way = _Way(alerts.webhook_url, alerts.webhook_secret_file, alerts.webhook_allow_private)
        if way == self._way:
            return
        self._way = way
        if self._webhook is None:
            from turnout_server.telemetry.webhook import Webhook  # noqa: PLC0415 - most post nowhere

            self._webhook = Webhook(new_id=self._new_id, wall=self._wall, rng=self._rng, log=self._log)
        if self._changing is None or self._changing.done():
            self._changing = asyncio.create_task(self._change())

    def dropped_count(self) -> int:
        """Returns how many alarms nobody took, or there was no room for."""
        return 0 if self._webhook is None else self._webhook.dropped_count

    async def aclose(self) -> None:
        """Tries once more what has not been posted, for at most 2 s."""
        self._way = _Way()
        if self._changing is not None:
            await self._changing
        await self._end()

    async def _change(self) -> None:
        """Goes over to the address that is configured, which may be yet another one when that is done."""
        at: _Way | None = None
        while at != self._way:
            at = self._way
            if at.url:
                await self._begin(at)
            else:
                await self._end()

    async def _begin(self, way: _Way) -> None:
        from turnout_server.providers.certificates import tls_context  # noqa: PLC0415 - most post nowhere
        from turnout_server.webhook_transport import WebhookTransport  # noqa: PLC0415 - likewise

        webhook, before = self._webhook, self._transport
        assert webhook is not None
        # Off the loop: reading the authorities takes longer than calls may wait.
        tls = await asyncio.to_thread(tls_context)
        await self._stop_sending()
        self._transport = WebhookTransport(way.url, way.secret_file, allow_private=way.allow_private, tls=tls)
        webhook.send_to(self._transport.post, self._transport.key)
        self._sending = asyncio.create_task(webhook.run(), name="webhook")
        if before is not None:
            await before.aclose()

    async def _end(self) -> None:
        await self._stop_sending()
        if self._webhook is not None:
            await self._webhook.aclose()
        if self._transport is not None:
            await self._transport.aclose()
            self._transport = None

    async def _stop_sending(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sending
            self._sending = None
