"""What becomes of alarms that nobody takes: they are counted where telemetry is, and hold nobody up."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time

import pytest
import structlog
from structlog.testing import CapturingLogger

from turnout_server.config.schema import AlertsSection, Configuration
from turnout_server.core.events import Event, EventName
from turnout_server.starting import begin_alarming
from turnout_server.telemetry.metrics.metrics import Metrics
from turnout_server.telemetry.metrics.page import page
from turnout_server.telemetry.telling import Telling


@pytest.mark.parametrize("turns", [0, 5])
async def test_alarms_that_nobody_took_are_counted(turns: int) -> None:
    nobody = socket.socket()
    nobody.bind(("127.0.0.1", 0))
    written, metrics = CapturingLogger(), Metrics()
    log = structlog.wrap_logger(written, processors=[])
    telling = Telling(log, metrics.event, wall=time.time)
    alerts = AlertsSection(
        webhook_url=f"http://127.0.0.1:{nobody.getsockname()[1]}/",
        webhook_allow_private=True,
        webhook_allow_insecure=True,
    )
    async with contextlib.AsyncExitStack() as stack:
        begin_alarming(Configuration(alerts=alerts), telling, metrics, log, stack)
        for name in (EventName.LOCAL_NETWORK, EventName.CONFIG_REFUSED, EventName.SUSPECT):
            telling(Event(name=name, at=1.0))
        for _ in range(turns):
            await asyncio.sleep(0)
    nobody.close()

    text, _ = await page(metrics.collect, "")
    assert b'turnout_telemetry_dropped_total{signal="webhook"} 2' in text
    assert [call.kwargs for call in written.calls][-1] == {"event": "webhook.unfinished", "dropped_count": 2}
