"""What is said of providers that cannot be connected to when the sidecar starts, in virtual time."""

from __future__ import annotations

import asyncio
import random

import structlog
from structlog.testing import capture_logs

from tests.api.sidecar import spec
from tests.virtual_time import run, virtual_loop
from turnout_server.core.fleet import Fleet
from turnout_server.core.settings import Settings
from turnout_server.reaching import Reaching
from turnout_server.router import Router
from turnout_server.telemetry.metrics.metrics import Metrics


class Line:
    """Answers looks one after the other with these, and notes when it was looked at."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.looked_at: list[float] = []

    async def reach(self, base_url: str) -> str:
        self.looked_at.append(virtual_loop().clock())
        await asyncio.sleep(1.0)
        assert base_url == "https://alpha.example/v1"
        return self.answers.pop(0)


def router() -> Router:
    return Router(
        Fleet((spec("alpha", "large"), spec("alpha", "small"))),
        Settings(),
        clock=virtual_loop().clock,
        wall=virtual_loop().wall,
        rng=random.Random(1),
        new_id=lambda: "id",
        on_event=lambda _: None,
        instruments=Metrics(),
    )


def watched(line: Line) -> tuple[list[str], list[dict[str, object]]]:
    """Watches until nothing is left to look at; returns what the status said after each look, and the log."""
    shown: list[str] = []

    async def live() -> None:
        made = router()
        reaching = asyncio.ensure_future(Reaching(made, {"alpha": line}, structlog.get_logger()).watch())
        while not reaching.done():
            await asyncio.sleep(2.0)
            (provider,) = made.status.report().providers
            if not shown or shown[-1] != provider.endpoints[0].unreachable:
                shown.append(provider.endpoints[0].unreachable)
        await reaching

    with capture_logs() as log:
        run(live())
    return shown, [dict(entry) for entry in log]


def test_endpoint_that_can_be_reached_is_looked_at_once_and_not_spoken_of() -> None:
    line = Line("")

    assert watched(line) == ([""], [])
    assert line.looked_at == [1.0]


def test_endpoint_that_cannot_be_reached_is_told_once_and_looked_at_less_and_less_often() -> None:
    line = Line("refused", "refused", "refused", "")
    shown, log = watched(line)

    assert line.looked_at == [1.0, 12.0, 33.0, 74.0]
    assert shown == ["", "refused", ""]
    assert [(entry["event"], entry.get("reason")) for entry in log] == [
        ("provider.unreachable", "refused"),
        ("provider.reachable", None),
    ]
