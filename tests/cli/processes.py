"""Runs the real command line as processes: a command to its end, a server until the test is done with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-W", "error", "-c", "from turnout_server.main import main; main()")
KEPT = ("HOME", "PATH", "PYTHONPATH", "TMPDIR", "VIRTUAL_ENV")
END_SECONDS = 90


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a process: no key, no proxy and no setting of whoever runs the tests."""
    return {name: os.environ[name] for name in KEPT if name in os.environ} | dict(extra or {})


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def error_lines(self) -> list[str]:
        return self.err.splitlines()


def run(
    *arguments: str, env: Mapping[str, str] | None = None, stdin: str = "", command: Sequence[str] = COMMAND
) -> Ended:
    """Runs one command to its end."""
    process = subprocess.run(  # noqa: S603 - our own command
        [*command, *arguments],
        env=environment(env),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=END_SECONDS,
        check=False,
    )
    assert "Traceback" not in process.stderr, process.stderr
    return Ended(process.returncode, process.stdout, process.stderr)


@dataclass
class Server:
    """A server that runs; `line` is what it printed first, `log` what it wrote to stderr so far."""

    process: subprocess.Popen[str]
    line: dict[str, Any]
    log: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return str(self.line["grpc"][0])

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=END_SECONDS)


@contextmanager
def serving(
    arguments: Sequence[str], env: Mapping[str, str] | None = None, command: Sequence[str] = COMMAND
) -> Iterator[Server]:
    """Starts a server, yields it once it has said where it listens, and stops it."""
    process = subprocess.Popen(  # noqa: S603 - our own command
        [*command, *arguments],
        env=environment(env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    log: list[str] = []
    reader = threading.Thread(target=log.extend, args=(process.stderr,), daemon=True)
    reader.start()
    try:
        text = process.stdout.readline()
        assert text, "".join(log) or "the server ended without a word"
        yield Server(process, json.loads(text), log)
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(timeout=END_SECONDS)
        finally:
            process.kill()
            reader.join(timeout=END_SECONDS)
            process.stdout.close()
            process.stderr.close()


ANY_PORTS = """
listen: {address: "127.0.0.1:0"}
health: {address: "127.0.0.1:0"}
metrics: {address: "127.0.0.1:0"}
drain_seconds: 2
"""


def configuration(folder: Path, text: str) -> str:
    """Writes a configuration that listens wherever there is room; returns its path."""
    file = folder / "turnout.yaml"
    file.write_text(ANY_PORTS + text)
    return str(file)


def simulated(base_urls: Mapping[str, str]) -> str:
    """The `providers` block for simulated providers by name: north speaks openai, south anthropic."""
    model = "{name: small, context_window_tokens: 128000, max_output_tokens: 8192, quality: 80, "
    model += "price: {input_per_million_usd: 1, output_per_million_usd: 2}, capabilities: [STREAMING, TOOLS]}"
    blocks = "".join(
        f"""
  {name}:
    wire: {"openai" if name == "north" else "anthropic"}
    base_url: {url}
    allow_insecure: true
    allow_private: true
    models: [{model}]
"""
        for name, url in base_urls.items()
    )
    return f"providers:{blocks}"
