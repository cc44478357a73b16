"""The processes of a run: the providers, and whoever stands before them, each started, watched and ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.faults.vendors import base_url

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]
START_SECONDS = 180.0
"""LiteLLM takes ten seconds on quiet cores."""
MIB = 1024.0
MEMORY_LIMIT_MIB = 2048.0
WATCH_SECONDS = 0.05


class Providers:
    """The faulty provider and the good one, which are one process: what happens to a request stands in its path."""

    def __init__(self, line: Mapping[str, str]) -> None:
        self._line = line
        self._http = httpx.AsyncClient(trust_env=False, timeout=60)

    def url(self, fault: str, place: str, case: str) -> str:
        """Returns the base URL, for a client of the openai wire, where that fault is met."""
        addresses = {
            "refused": self._line["refused_url"],
            "dns": "http://no-such-host.invalid",
            "tls_plain": self._line["url"].replace("http:", "https:"),
            "tls_untrusted": self._line["tls_url"],
        }
        return base_url(addresses.get(fault, self._line["url"]), "openai", f"{place}/{case}")

    async def requests(self, place: str, case: str) -> int:
        """Returns how many requests have come there."""
        counts = (await self._http.get(f"{self._line['url']}/counts")).json()
        return int(counts.get(f"{place}/{case}", {}).get("requests", 0))

    async def aclose(self) -> None:
        """Closes the connection to it."""
        await self._http.aclose()


@contextmanager
def providers_process() -> Iterator[Providers]:
    """Starts the providers."""
    command = [sys.executable, "-m", "tests.faults.provider", "--port", "0"]
    with started(command, {}, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield Providers(json.loads(process.stdout.readline()))


@contextmanager
def started(
    command: list[str],
    environment: Mapping[str, str],
    *,
    log: Path | None = None,
    stdout: int | None = None,
    folder: Path = ROOT,
) -> Iterator[subprocess.Popen[str]]:
    """Starts a process without any key or proxy of ours in its environment, and ends it afterwards."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().endswith(("_API_KEY", "_HOST", "_PROXY")) and not name.startswith("TURNOUT_")
    }
    with Path(log or os.devnull).open("w", encoding="utf-8") as output:
        process = subprocess.Popen(  # noqa: S603 - our own commands
            command,
            cwd=folder,
            env=kept | dict(environment),
            stdout=output if stdout is None else stdout,
            stderr=output,
            text=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=20)
            if process.stdout is not None:
                process.stdout.close()


def free_port() -> int:
    """Returns a port that was free a moment ago."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def served(url: str, process: subprocess.Popen[str], log: Path) -> None:
    """Waits until somebody answers there; RuntimeError, with the end of its log, if the process ends before."""
    async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
        async with asyncio.timeout(START_SECONDS):
            while process.poll() is None:
                try:
                    await http.get(url)
                except httpx.TransportError:
                    await asyncio.sleep(0.2)
                else:
                    return
    raise RuntimeError(f"{process.args!r} ended; {log} says why")


def peak_mib(pid: int) -> float:
    """Returns the most memory that a process has had resident at a time, 0 where that cannot be known."""
    return _memory_mib(pid, "VmHWM")


@contextmanager
def memory_watched(pid: int) -> Iterator[Callable[[], bool]]:
    """Ends a process that takes more than 2 GiB, as a container's limit would; yields whether it has.

    Without it a gateway that unpacks a gzip bomb to its end takes the machine with it.
    """
    ended = False

    async def watch() -> None:
        nonlocal ended
        while not ended:
            if _memory_mib(pid, "VmRSS") > MEMORY_LIMIT_MIB:
                ended = True
                os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(WATCH_SECONDS)

    task = asyncio.get_running_loop().create_task(watch())
    try:
        yield lambda: ended
    finally:
        task.cancel()


def _memory_mib(pid: int, field: str) -> float:
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return 0.0
    return next((int(line.split()[1]) / MIB for line in status.read_text().splitlines() if field in line), 0.0)
