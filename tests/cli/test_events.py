"""`turnout events --follow` in front of real sidecars that are cut off, killed and started again."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from tests.cli.processes import COMMAND, Server, configuration, environment, run, serving, simulated
from tests.cli.relay import relay
from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc

LONG_SECONDS = 60.0
"""For what takes a second: the machine may be busy."""


class Following:
    """A command that follows, and what it has said."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.out: list[str] = []
        self.err: list[str] = []
        self._readers = []
        for said, lines in ((self.out, process.stdout), (self.err, process.stderr)):
            assert lines is not None
            self._readers.append(threading.Thread(target=said.extend, args=(lines,), daemon=True))
            self._readers[-1].start()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for reader, lines in zip(self._readers, (self.process.stdout, self.process.stderr), strict=True):
            reader.join(LONG_SECONDS)
            assert lines is not None
            lines.close()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in list(self.out)]

    def heard(self, number: int) -> bool:
        """Whether the refusal of that number was heard of."""
        return any(f"unknown-{number}" in line for line in list(self.out))

    def told(self, text: str) -> int:
        """How often that was told beside the events."""
        return sum(text in line for line in list(self.err))

    def until(self, holds: Callable[[], bool]) -> None:
        ends_at = time.monotonic() + LONG_SECONDS
        while not holds():
            assert time.monotonic() < ends_at, self.out + self.err
            assert self.process.poll() is None, self.err
            time.sleep(0.01)


@contextmanager
def following(address: str, *arguments: str) -> Iterator[Following]:
    process = subprocess.Popen(  # noqa: S603 - our own command
        [*COMMAND, "events", "--follow", "--address", address, *arguments],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    command = Following(process)
    try:
        yield command
    finally:
        command.end()


def refuse(server: Server, file: Path, number: int) -> None:
    """Makes an event: a file whose fault has a number."""
    file.write_text(f"unknown-{number}: 1\n")
    server.process.send_signal(signal.SIGHUP)


def test_following_goes_on_over_a_cut_connection_and_a_new_sidecar_and_ends_quietly(tmp_path: Path) -> None:
    file = Path(configuration(tmp_path, "providers: {}\n"))
    good = file.read_text()
    with serving(["serve", "-c", str(file)]) as first, relay(first.address) as between:
        refuse(first, file, 1)
        with following(between.address, "--json", "--name", "config.refused") as command:
            command.until(lambda: command.heard(1))

            between.target = ""
            between.cut()
            command.until(lambda: command.told("trying again") == 1)
            refuse(first, file, 2)
            between.target = first.address
            command.until(lambda: command.heard(2) and command.told("connected again") == 1)

            between.target = ""
            first.process.kill()
            command.until(lambda: command.told("trying again") == 2)
            file.write_text(good)
            with serving(["serve", "-c", str(file)]) as second:
                refuse(second, file, 3)
                between.target = second.address
                command.until(lambda: command.heard(3) and command.told("connected again") == 2)
                refuse(second, file, 4)
                command.until(lambda: command.heard(4))
                command.process.send_signal(signal.SIGINT)
                code = command.process.wait(timeout=LONG_SECONDS)

    sequences = [int(event["sequence"]) for event in command.events]
    assert code == 0
    # A file that is seen by itself as well as for the signal is told twice; no event is.
    assert sequences == sorted(set(sequences))
    assert command.told("events may be missing here") == 1
    assert len(command.err) == 5, command.err


def test_first_connection_that_fails_ends_it() -> None:
    ended = run("events", "--follow", "--address", "127.0.0.1:1")

    assert ended.code == 3
    assert "cannot reach the sidecar" in ended.err


def test_a_terminal_gets_nothing_from_a_caller_that_it_would_obey(tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\x9b2J"
    outcome = pb.Outcome(
        decision_id=evil,
        attempt_id="a-1",
        target=pb.Target(provider="north", model="small"),
        failure=pb.FAILURE_KIND_SERVER_ERROR,
    )
    providers = simulated({"north": "http://127.0.0.1:9/v1"})
    with serving(["serve", "-c", configuration(tmp_path, providers)]) as server:
        with grpc.insecure_channel(server.address) as channel:
            stub = router_pb2_grpc.RouterServiceStub(channel)
            stub.ReportOutcome(pb.ReportOutcomeRequest(outcomes=[outcome]), timeout=LONG_SECONDS)
        shown = on_a_terminal("events", "--address", server.address)
        as_json = on_a_terminal("events", "--json", "--address", server.address)

    assert "decision_id=\ufffd]0;owned" in shown
    assert not {"\x1b", "\x07", "\x9b"} & set(shown + as_json)
    assert json.loads(as_json)["events"][-1]["fields"]["decision_id"] == evil


def on_a_terminal(*arguments: str) -> str:
    """Returns what a command writes to a terminal."""
    terminal, inner = pty.openpty()
    process = subprocess.Popen([*COMMAND, *arguments], stdout=inner, stderr=inner, env=environment())  # noqa: S603 - our own command
    os.close(inner)
    written = b""
    try:
        while piece := os.read(terminal, 65536):
            written += piece
    except OSError:
        # Nobody has the other end any more.
        pass
    os.close(terminal)
    assert process.wait(timeout=LONG_SECONDS) == 0, written
    return written.decode()
