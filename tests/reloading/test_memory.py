"""A thousand configurations, one after the other, leave nothing behind: no object, socket, task, thread or memory."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from tests.reloading.following import following, provider, written
from tests.reloading.test_following import QUICK, execute
from turnout_server.core.fleet import Fleet
from turnout_server.core.in_force import FormerFleet, InForce
from turnout_server.core.target_state import TargetState
from turnout_server.providers.secrets import Secrets
from turnout_server.providers.simulated.server import SimulatedServer
from turnout_server.providers.upstream import HttpUpstream

COUNTED = (Fleet, FormerFleet, InForce, TargetState, Secrets, HttpUpstream, aiohttp.ClientSession)
RELOADS = 1000
WARM, LAST = 400, 900
"""The two looks: as many providers at both. By the first, what is kept of the past (decisions, events) is full."""
KEPT_BLOCKS = 60 * (LAST - WARM)
"""What Python may hold more: a configuration kept is thousands of blocks a reload; series that still fill, some 20."""
KEPT_MIB = 32
"""What the process may hold more: for what is kept outside of Python, as a TLS context of half a MiB a reload would be.
Not closer, since other tests ran in this process before, and what they left free is taken again in other shapes."""


def rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def counts() -> Counter[str]:
    gc.collect()
    found = Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, COUNTED))
    found["threads"] = threading.active_count()
    found["tasks"] = len(asyncio.all_tasks())
    found["files"] = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - as few objects as can be
    return found


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="what a process takes is read from /proc")
async def test_a_thousand_reloads_leave_nothing_behind(tmp_path: Path) -> None:
    async with SimulatedServer({"north": QUICK, "south": QUICK}) as server:
        north, south = (provider(name, server.base_url(name)) for name in ("north", "south"))

        def configuration(n: int) -> str:
            """Another price, another number of providers and policies, another budget, another key each time."""
            dearer = north.replace("input_per_million_usd: 1", f"input_per_million_usd: {n + 1}")
            rest = [provider(f"p{n}-{m}", "http://127.0.0.1:9", more=f", api_key_env: K{n}") for m in range(n % 5)]
            budget = f"{{name: b{n % 40}, scope: global, period: day, limit_usd: {n + 1}, per_pod: true}}"
            more = f", history: {{max_mib: 1}}, budgets: [{budget}], routing: {{policies: {{p{n}: {{}}}}}}"
            return written(dearer, *rest, *((south,) if n % 2 else ()), more=more)

        environ = {f"K{n}": "planted" for n in range(RELOADS)}
        async with following(tmp_path, configuration(0), environ) as sidecar:
            before, after = Counter[str](), Counter[str]()
            blocks, mib = 0, 0.0
            for n in range(1, RELOADS):
                line = await sidecar.change(configuration(n))
                assert "config.reloaded" == line["event"]
                assert "north" == (await execute(sidecar, target="north")).target.provider
                sidecar.log.clear()
                if n == WARM:
                    before, blocks, mib = counts(), sys.getallocatedblocks(), rss_mib()
                if n == LAST:
                    after, blocks, mib = counts(), sys.getallocatedblocks() - blocks, rss_mib() - mib

    assert after
    assert {} == {name: (before[name], count) for name, count in after.items() if count > before[name] + 12}
    assert blocks < KEPT_BLOCKS
    assert mib < KEPT_MIB
