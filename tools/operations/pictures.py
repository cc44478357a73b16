"""Pictures of traces in Jaeger's own pages, taken by a headless Chromium that is driven over its debug port."""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tools.operations.processes import LONG_SECONDS, StagingError, program, started, until

WIDTH_PIXELS = 1180
MOST_BYTES = 150_000

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
)
_READY = "document.querySelectorAll('.span-name').length > 0"
_OPEN = """
for (const each of document.querySelectorAll('.AccordianKeyValues--header')) {
  if (/^(Tags|Attributes)/.test(each.textContent.trim()) && each.getAttribute('aria-checked') === 'false') each.click();
}
true
"""
_SCROLL = "document.querySelectorAll('.KeyValueTable').forEach(each => { each.scrollTop = each.scrollHeight }); true"
"""A span's attributes have a window of their own; of a decision the last ones are the reason and the rejections."""
_HEIGHT = """
Math.ceil(Math.max(...[...document.querySelectorAll('.span-row, .detail-row, .SpanDetail, .span-view')]
  .map(each => each.getBoundingClientRect().bottom))) + 8
"""


def trace_picture(jaeger: str, trace_id: str, file: Path, *, opened: str = "", height_pixels: int = 900) -> None:
    """Takes a picture of a trace, with the attributes of one span (by its id) opened.

    Raises:
        StagingError: Jaeger has no pages, Chromium is not there, or the picture is larger than `MOST_BYTES`.
    """
    query = "uiEmbed=v0&uiTimelineHideSummary=1&uiTimelineHideMinimap=1" + (f"&uiFind={opened}" if opened else "")
    with _chromium() as debugged:
        picture = asyncio.run(_taken(debugged, f"{jaeger}/trace/{trace_id}?{query}", height_pixels))
    if len(picture) > MOST_BYTES:
        raise StagingError(f"the picture {file.name} has {len(picture)} bytes, more than {MOST_BYTES}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(picture)


@contextmanager
def _chromium() -> Iterator[str]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        profile = Path(folder)
        told = profile / "DevToolsActivePort"
        command: list[str | Path] = [program("chromium"), *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        with started(command, profile / "chromium.log"):
            port = until(lambda: told.is_file() and told.read_text(encoding="utf-8").partition("\n")[0], "Chromium")
            yield f"http://127.0.0.1:{port}"


async def _taken(debugged: str, url: str, height_pixels: int) -> bytes:
    timeout = aiohttp.ClientTimeout(total=LONG_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        async with session.get(f"{debugged}/json/list") as answer:
            pages = json.loads(await answer.text())
        address = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        async with session.ws_connect(address, max_msg_size=0) as socket:
            tab = _Tab(socket)
            window = {"width": WIDTH_PIXELS, "height": height_pixels, "deviceScaleFactor": 1, "mobile": False}
            await tab.told("Emulation.setDeviceMetricsOverride", window)
            await tab.told("Page.navigate", {"url": url})
            await tab.comes_true(_READY, "spans on Jaeger's page (has this Jaeger pages? see JAEGER_UI)")
            await tab.says(_OPEN)
            await asyncio.sleep(0.5)
            await tab.says(_SCROLL)
            bottom = min(float(await tab.says(_HEIGHT)), float(height_pixels))
            clip = {"x": 0, "y": 0, "width": WIDTH_PIXELS, "height": bottom, "scale": 1}
            shot = await tab.told("Page.captureScreenshot", {"format": "png", "clip": clip})
            return base64.b64decode(shot["data"])


class _Tab:
    """A page of the browser, by Chromium's DevTools protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0

    async def told(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            answer = await self._socket.receive_json()
            if answer.get("id") == self._number:
                found: dict[str, Any] = answer.get("result", {})
                return found

    async def says(self, expression: str) -> Any:
        answer = await self.told("Runtime.evaluate", {"expression": expression, "returnByValue": True})
        return answer["result"].get("value")

    async def comes_true(self, expression: str, what: str) -> None:
        for _look in range(int(LONG_SECONDS / 0.2)):
            if await self.says(expression) is True:
                return
            await asyncio.sleep(0.2)
        raise StagingError(f"{what} did not come about within {LONG_SECONDS:g} s")
