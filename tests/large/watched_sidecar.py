"""A sidecar in a process of its own that is asked how long its event loop was held, and how much memory it took.

Run as `python -m tests.large.watched_sidecar CONFIGURATION`. Each line on standard input is answered by one line on
standard output: the longest time since the line before that one callback held the loop (in seconds of CPU, so that a
busy machine does not count), what the loop's thread worked in all in that time (in seconds of CPU, too) and the largest
resident size in it, in bytes. Reading the line starts all of them anew.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from pathlib import Path

from turnout_server.app import GC_THRESHOLD, running
from turnout_server.config.load import load
from turnout_server.large_buffers import give_back_large_buffers
from turnout_server.telemetry.logs.logs import LogFormat, LogLevel, configure_logging
from turnout_server.wake_ups import loop_factory

BEAT_SECONDS = 0.001


class Heartbeat:
    """Beats all the time; `longest_seconds` is the most CPU that the loop's thread used between two beats.

    `worked_seconds` is all of it.
    """

    def __init__(self) -> None:
        self.longest_seconds = 0.0
        self.worked_seconds = 0.0

    async def run(self) -> None:
        last = time.thread_time()
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            now = time.thread_time()
            self.longest_seconds = max(self.longest_seconds, now - last)
            self.worked_seconds += now - last
            last = now


def peak_bytes() -> int:
    """Returns the largest resident size since `forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(fields["VmHWM"].split()[0]) * 1024


def forget_peak() -> None:
    """Sets the largest resident size to the present one."""
    Path("/proc/self/clear_refs").write_text("5")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def serve(path: str) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(0, "rb", buffering=0))
    heartbeat = Heartbeat()
    beating = asyncio.create_task(heartbeat.run())
    async with running(load(path, os.environ), os.environ) as listening:
        gc.collect()
        gc.freeze()
        say(listening.line())
        while await reader.readline():
            line = {
                "longest_seconds": heartbeat.longest_seconds,
                "worked_seconds": heartbeat.worked_seconds,
                "peak_bytes": peak_bytes(),
            }
            say(json.dumps(line))
            heartbeat.longest_seconds = heartbeat.worked_seconds = 0.0
            forget_peak()
    beating.cancel()


if __name__ == "__main__":
    # As `turnout serve` does.
    configure_logging(LogLevel.INFO, LogFormat.JSON)
    gc.set_threshold(GC_THRESHOLD, 20, 50)
    give_back_large_buffers()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serve(sys.argv[1]))
