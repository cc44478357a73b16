"""What a process writes on stderr: one JSON object a line, whatever goes wrong in it, whoever reads it or does not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from tests.cli.processes import COMMAND, configuration, environment
from turnout import Client

LONG_SECONDS = 60.0
"""For what takes a second: the machine may be busy."""

STRAY = """
import asyncio, gc, logging, os, sys, threading, warnings
import structlog
from turnout_server.telemetry.logs.log_writer import stderr_writer
from turnout_server.telemetry.logs.logs import configure_logging
from turnout_server.telemetry.logs.stray import log_strays, log_unhandled

PROMPT = "tell me of " + "my secret"
writer = stderr_writer()
configure_logging(stream=writer)
log = structlog.get_logger("turnout")
log_strays(log, writer.drain)

class Broken:
    def __del__(self):
        raise ValueError(PROMPT)

async def lost():
    raise ValueError(PROMPT)

async def main():
    log_unhandled(log, asyncio.get_running_loop())
    task = asyncio.create_task(lost(), name="a task")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    gc.collect()
    asyncio.get_running_loop().call_soon(int, PROMPT)
    await asyncio.sleep(0)
    await asyncio.sleep(0)

def ends():
    raise KeyError(PROMPT)

asyncio.run(main())
warnings.warn("an old way")
logging.getLogger("grpc.aio").warning("two\\nlines")
logging.getLogger("library").warning("%d", PROMPT)
thread = threading.Thread(target=ends, name="a thread")
thread.start()
thread.join()
Broken()
try:
    int(PROMPT)
except ValueError as error:
    raise AttributeError("'Part' object has no attribute 'content'") from error
"""


def test_whatever_nobody_caught_is_a_line_with_its_stack_and_nothing_of_what_it_was_about() -> None:
    ended = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-c", STRAY],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LONG_SECONDS,
        check=False,
    )
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    about = [(line["event"], line.get("error", line.get("task", line.get("category")))) for line in lines]
    uncaught = lines[-1]

    assert ended.returncode == 1
    assert about == [
        ("asyncio.unhandled", "a task"),
        ("asyncio.unhandled", ""),
        ("python.warning", "UserWarning"),
        ("two\nlines", None),
        ("log.bug", "TypeError"),
        ("thread.uncaught", "KeyError"),
        ("process.unraisable", "ValueError"),
        ("process.uncaught", "AttributeError"),
    ]
    assert "my secret" not in ended.stderr
    assert "in lost" in lines[0]["exception"]
    assert "in ends" in lines[5]["exception"]
    assert uncaught["level"] == "critical"
    assert "direct cause" in uncaught["exception"]
    assert uncaught["exception"].endswith("AttributeError: 'Part' object has no attribute 'content'")


def dropped(metrics: str) -> int:
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=LONG_SECONDS) as answer:
        lines = answer.read().decode().splitlines()
    found = [line for line in lines if line.startswith('turnout_telemetry_dropped_total{signal="logs"}')]
    return int(float(found[0].rpartition(" ")[2]))


def test_log_that_nobody_reads_holds_up_no_call_and_says_afterwards_what_is_missing(tmp_path: Path) -> None:
    file = Path(configuration(tmp_path, "providers: {}\n"))
    reading, writing = os.pipe()
    process = subprocess.Popen(  # noqa: S603 - our own
        [*COMMAND, "serve", "-c", str(file)], env=environment(), stdout=subprocess.PIPE, stderr=writing, text=True
    )
    os.close(writing)
    try:
        assert process.stdout is not None
        at: dict[str, Any] = json.loads(process.stdout.readline())
        # Each look at a file with a hundred faults is a line of some 50 KB.
        file.write_text("".join(f"{'an-unknown-key-' * 30}{number}: 1\n" for number in range(100)))
        ends_at = time.monotonic() + LONG_SECONDS
        with Client(at["grpc"][0]) as client:
            while not dropped(at["metrics"]):
                process.send_signal(signal.SIGHUP)
                assert not client.status(timeout_seconds=LONG_SECONDS).providers
                assert time.monotonic() < ends_at
        text = ""
        with os.fdopen(os.dup(reading), encoding="utf-8") as reader:
            for line in reader:
                text += line
                if '"event":"log.dropped"' in line:
                    break
        told, ends_at = json.loads(text.splitlines()[-1])["line_count"], time.monotonic() + LONG_SECONDS
        # Who asks soon after another gets the same page, which may be older than the line.
        while (later := dropped(at["metrics"])) < told:
            assert time.monotonic() < ends_at, f"{told} are told of, {later} are counted"
        process.terminate()
        # Nobody reads the rest: that is no reason to stay.
        assert process.wait(timeout=LONG_SECONDS) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reading)
        if process.stdout is not None:
            process.stdout.close()

    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["event"] for line in lines} == {"configuration", "listening", "config.refused", "log.dropped"}
    # Its own line may have found room between two that had none: those after it are told of next time.
    assert 1 <= told <= later
