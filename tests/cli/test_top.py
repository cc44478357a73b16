"""`turnout top` on a sidecar with simulated providers, one of which fails: a frame, the screen, a real terminal."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.api.live_screen import watching
from tests.cli.processes import COMMAND, Ended, Server, configuration, environment, run, serving, simulated
from turnout import AsyncClient, TurnoutError
from turnout.v1 import router_pb2 as pb
from turnout_server.commands.top import INSTALL, top

NOBODY = "127.0.0.1:1"
GENEROUS_SECONDS = 60
BUDGET = """
budgets: [{name: monthly, scope: global, period: month, limit_usd: 500, per_pod: true}]
failover: {consecutive_failures: 2, open_seconds: 600, open_max_seconds: 600}
routing: {policies: {default: {strategy: PRIORITY}}}
"""


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    flags = ["--provider", "north=openai", "--provider", "south=anthropic", "--fault", "north:error,status=503"]
    with serving(["sim", "--port", "0", *flags, "--latency", "*:first_token_seconds=0.01"]) as sim:
        urls = {name: provider["base_url"] for name, provider in sim.line["providers"].items()}
        file = configuration(tmp_path_factory.mktemp("sidecar"), simulated(urls) + BUDGET)
        with serving(["serve", "-c", file]) as server:
            asyncio.run(_opened(server.address))
            yield server


async def _opened(address: str) -> None:
    """Calls until the breaker of north is open, and once more, so that somebody was rejected."""
    async with AsyncClient(address) as client, asyncio.timeout(GENEROUS_SECONDS):
        while True:
            with contextlib.suppress(TurnoutError):
                await client.execute("hello", task="chat", max_output_tokens=20)
            state = (await client.status("north")).providers[0]
            if pb.BREAKER_STATE_OPEN in {state.targets[0].breaker, state.endpoints[0].breaker}:
                break
        await client.execute("hello", task="chat", max_output_tokens=20)


def on(sidecar: Server, *arguments: str, **env: str) -> Ended:
    return run("top", *arguments, env={"TURNOUT_ADDRESS": sidecar.address, **env})


def masked(text: str) -> list[str]:
    """The lines with figures, their room and what is cut left out, which differ from run to run."""
    without = re.sub(r"<?[$]?[.]?\d[\d.]*(ms|s|m|h|%|k)?", "#", text)
    return [re.sub(r"[\s▁▂▃▄▅▆▇█]+", " ", line).strip() for line in without.splitlines()]


def test_frame_is_printed_where_there_is_no_terminal(sidecar: Server) -> None:
    ended = on(sidecar, COLUMNS="80")
    lines = ended.out.splitlines()

    assert (0, "") == (ended.code, ended.err)
    assert all(len(line) <= 80 for line in lines)
    assert any(line.startswith("north/small") and " open " in line for line in lines)
    assert any("south/small" in line and "not north BREAKER_OPEN" in line for line in lines)
    assert any("breaker.opened" in line for line in lines)
    assert any("monthly $" in line for line in lines)


def test_json_has_the_answers_that_a_frame_is_made_of(sidecar: Server) -> None:
    found = json.loads(on(sidecar, "--json", "--window", "15").out)

    assert ["north", "south"] == [provider["provider"] for provider in found["status"]["providers"]]
    assert {"decisions", "events", "budgets", "statistics", "trends"} <= found.keys()
    assert "monthly" == found["budgets"][0]["name"]
    assert {} == found["refused"]


def test_sidecar_that_cannot_be_reached_is_one_line_and_code_3() -> None:
    ended = run("top", "--address", NOBODY)

    (line,) = ended.error_lines
    assert 3 == ended.code
    assert line.startswith(f"turnout: cannot reach the sidecar at {NOBODY}: ")


@pytest.mark.parametrize(
    "arguments", [("--interval", "0"), ("--interval", "nan"), ("--sort", "size"), ("--window", "2")]
)
def test_what_cannot_be_is_wrong_usage(arguments: tuple[str, str]) -> None:
    with pytest.raises(click.UsageError):
        top.main(["--address", NOBODY, *arguments], standalone_mode=False)


async def test_screen_of_80_columns_and_24_lines(sidecar: Server) -> None:
    async with watching(sidecar.address) as screen:
        text = await screen.shows("monthly", "breaker.opened", "not north BREAKER_OPEN", "south/small")
        await screen.until(lambda text: "SPEND" in text and "south/small" in text)
        lines = masked(text.replace(sidecar.address, "HOST:PORT"))

    assert 24 == len(lines)
    assert "HOST:PORT #:#:# UTC # of # targets available" == lines[0]
    assert [
        "TARGET STATE FLT P# P# BY MIN TTFT /S ERR SPEND",
        "north/small open # # - - # # #",
        "south/small healthy # # # # # #",
        "DECIDED RESULT CHOSEN WHY",
        "#:#:# ok south/small PRIORITY #; not north BREAKER_OPEN",
    ] == lines[3:8]
    assert "d drain u undrain r reset enter detail s sort / filter ? help q quit" == lines[-1]


async def test_key_really_drains_a_provider(sidecar: Server) -> None:
    async with watching(sidecar.address) as screen, AsyncClient(sidecar.address, max_retry_count=0) as client:
        await screen.choose("south/small")
        await screen.pilot.press("d")
        await screen.shows("Drain south/small?")
        await screen.pilot.press("y")
        await screen.shows("south/small is drained")

        with pytest.raises(TurnoutError):
            await client.execute("hello", timeout_seconds=GENEROUS_SECONDS)
        await screen.pilot.press("u")
        await screen.shows("Undrain south/small?")
        await screen.pilot.press("y")
        await screen.shows("south/small takes calls again")

        answer = await client.execute("hello", max_output_tokens=20)

    assert "south" == answer.target.provider


@pytest.mark.full
def test_real_terminal_shows_it_and_is_left_as_it_was(sidecar: Server) -> None:
    with terminal(["top", "--address", sidecar.address]) as (process, master):
        seen = _read_until(master, b"north/small", b"q quit")
        os.write(master, b"?")
        _read_until(master, b"drain the target")
        os.write(master, b"q")
        time.sleep(0.2)
        os.write(master, b"q")
        rest = _read_until(master, b"\x1b[?1049l")
        assert 0 == process.wait(GENEROUS_SECONDS)

    assert b"\x1b[?1049h" in seen
    assert b"\x1b[?25h" in rest


@pytest.mark.full
def test_real_terminal_is_left_as_it_was_by_a_signal_too(sidecar: Server) -> None:
    with terminal(["top", "--address", sidecar.address]) as (process, master):
        _read_until(master, b"q quit")
        process.terminate()
        rest = _read_until(master, b"\x1b[?1049l")
        assert 0 == process.wait(GENEROUS_SECONDS)

    assert b"\x1b[?25h" in rest


@pytest.mark.full
def test_real_terminal_without_textual_gets_one_frame_and_how_to_install_it(sidecar: Server, tmp_path: Path) -> None:
    # A module of this name that cannot be loaded, found first, is as good as none.
    script = "import sys; sys.modules['textual'] = None; from turnout_server.main import main; main()"
    with terminal(["top", "--address", sidecar.address], command=(COMMAND[0], "-c", script), cwd=tmp_path) as (
        process,
        master,
    ):
        seen = _read_until(master, INSTALL.encode())
        assert 0 == process.wait(GENEROUS_SECONDS)

    assert b"north/small" in seen


@pytest.mark.full
def test_dumb_terminal_gets_one_frame(sidecar: Server) -> None:
    with terminal(["top", "--address", sidecar.address], TERM="dumb") as (process, master):
        seen = _read_until(master, b"EVENTS")
        assert 0 == process.wait(GENEROUS_SECONDS)

    assert b"\x1b" not in seen


@contextlib.contextmanager
def terminal(
    arguments: list[str], command: tuple[str, ...] = COMMAND, cwd: Path | None = None, **env: str
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Runs a command on a terminal of 80 columns and 24 lines; yields the process and the terminal's other end."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(  # noqa: S603 - our own command
        [*command, *arguments],
        env=environment({"TERM": "xterm-256color", "LANG": "C.UTF-8", **env}),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=cwd,
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield process, master
    finally:
        process.kill()
        process.wait(GENEROUS_SECONDS)
        os.close(master)


def _read_until(master: int, *words: bytes) -> bytes:
    """Reads what is written to the terminal until all of it is there."""
    seen, end = b"", time.monotonic() + GENEROUS_SECONDS
    while not all(word in seen for word in words):
        assert time.monotonic() < end, seen.decode(errors="replace")
        if select.select([master], [], [], 1.0)[0]:
            try:
                seen += os.read(master, 65536)
            except OSError:
                # The other end is closed: the process has ended.
                break
    assert all(word in seen for word in words), seen.decode(errors="replace")
    return seen
