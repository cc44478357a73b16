"""The page of a whole sidecar: who scrapes within a second shares one, and what a reload takes away ends on it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import aiohttp
import grpc
import pytest

from tests.api.sidecar import HELLO
from tests.reloading.following import LONG_SECONDS, Following, following, provider, written
from turnout.v1 import router_pb2 as pb

NORTH = provider("north", "http://127.0.0.1:9/v1")
SOUTH = provider("south", "http://127.0.0.1:9/v1")


def file(*providers: str, policies: str) -> str:
    text = written(*providers, more=f", routing: {{policies: {{{policies}}}}}")
    return text.replace("metrics: {address: ''}", "metrics: {address: '127.0.0.1:0'}")


async def page(sidecar: Following) -> str:
    (listening,) = sidecar.lines("listening")
    async with aiohttp.ClientSession() as session, session.get(f"http://{listening['metrics']}/metrics") as answer:
        return await answer.text()


async def until_it_has(sidecar: Following, wanted: str) -> str:
    """Scrapes until a pattern is on the page."""
    async with asyncio.timeout(LONG_SECONDS):
        while not re.search(wanted, text := await page(sidecar)):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.1)
        return text


async def test_page_has_what_the_loop_and_calls_took_and_loses_policies_and_providers_that_go(tmp_path: Path) -> None:
    both = file(NORTH, SOUTH, policies="default: {}, night: {strategy: COST}")
    async with following(tmp_path, both) as sidecar:
        for policy in ("default", "night"):
            for target in ("north/small", "south/small"):
                options = pb.RoutingOptions(policy=policy, include=[target])
                await sidecar.stub.Route(pb.RouteRequest(options=options), timeout=LONG_SECONDS)
        refused = pb.ExecuteRequest(input=HELLO, options=pb.RoutingOptions(policy="none"))
        with pytest.raises(grpc.aio.AioRpcError):
            await sidecar.stub.Execute(refused, timeout=LONG_SECONDS)
        before = await until_it_has(sidecar, r"turnout_overhead_duration_seconds_count 1")
        busy = await until_it_has(sidecar, r"turnout_loop_delay_seconds_count [1-9]")
        await sidecar.change(file(NORTH, policies="default: {}"))
        after = await until_it_has(sidecar, r'turnout_config_reloads_total\{result="taken"\} 1')

    assert 'chosen="south/small",policy="night"' in before.replace('strategy="COST",', "")
    assert "south/small" in busy
    assert "south/small" not in after
    assert 'policy="night"' not in after
    assert 'chosen="north/small",policy="default"' in after


async def test_scrapers_that_come_together_get_one_page(tmp_path: Path) -> None:
    async with following(tmp_path, file(NORTH, policies="default: {}")) as sidecar:
        async with asyncio.timeout(LONG_SECONDS):
            # The CPU time that the process has used is on it, so that no two are the same. A machine may be so busy
            # that ten requests take more than a second, but hardly for a minute.
            pages = [""]
            while len(set(pages)) > 1 or "process_cpu_seconds_total" not in pages[0]:
                pages = await asyncio.gather(*(page(sidecar) for _ in range(10)))

    assert len(pages) == 10
