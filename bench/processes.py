"""Starts the processes of a measurement and talks to them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.fleet import configuration

BIN = Path(sys.executable).parent
PROVIDER = "bench"


class Measured:
    """The measured process: addresses of both servers, and its own account of CPU and memory."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        addresses = self._read()
        self.turnout: str = addresses["turnout"]
        self.least: str = addresses["least"]

    def cpu_seconds(self) -> float:
        """Returns the CPU time that the process has used."""
        return float(self._ask("cpu"))

    def resident_mib(self) -> float:
        """Returns the memory that is resident now."""
        return float(self._ask("rss")) / 1024

    def constant(self, message: bytes) -> None:
        """Sets what the constant handler answers."""
        self._ask(f"constant {message.hex()}")

    def _ask(self, command: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the measured process ended; its stderr says why")
        return json.loads(line)


@contextmanager
def measured(target_count: int, base_url: str = "http://127.0.0.1:9/v1") -> Iterator[Measured]:
    """Starts the sidecar with so many targets, and the least servers beside it."""
    with config_file(target_count, base_url) as file:
        command = [sys.executable, "-W", "ignore", "-m", "bench.measured", str(file), base_url]
        with started(command, stdin=subprocess.PIPE) as process:
            yield Measured(process)


@contextmanager
def simulator() -> Iterator[str]:
    """Starts simulated providers that answer at once; yields the base URL of the openai one."""
    latency = f"{PROVIDER}:first_token_seconds=0,seconds_per_output_token=0,jitter=0"
    limits = f"{PROVIDER}:requests_per_minute=100000000,tokens_per_minute=10000000000"
    flags = ["--port", "0", "--provider", f"{PROVIDER}=openai", "--latency", latency, "--set", limits]
    with started([str(BIN / "turnout"), "sim", *flags]) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["providers"][PROVIDER]["base_url"]


@contextmanager
def sidecar(target_count: int, base_url: str, extra: Mapping[str, str] | None = None) -> Iterator[tuple[int, str]]:
    """Starts `turnout serve` as operators do, with some more in its environment; yields its process id and address."""
    command = [str(BIN / "turnout"), "serve", "-c"]
    with config_file(target_count, base_url) as file, started([*command, str(file)], extra=extra) as run:
        assert run.stdout is not None
        yield run.pid, json.loads(run.stdout.readline())["grpc"][0]


@contextmanager
def config_file(target_count: int, base_url: str) -> Iterator[Path]:
    """Writes the configuration to a file of its own; JSON is YAML."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "turnout.yaml"
        file.write_text(json.dumps(configuration(target_count, base_url)))
        yield file


def cpu_seconds(pid: int) -> float:
    """Returns the CPU time of all threads that a process has now."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def resident_mib(pid: int) -> float:
    """Returns another process's resident memory, from /proc."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


@contextmanager
def started(
    command: list[str], *, stdin: int | None = None, extra: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Starts a process for as long as the block runs, without the keys of the environment."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_HOST"))}
    environment |= extra or {}
    process = subprocess.Popen(  # noqa: S603 - our own commands
        command, stdin=stdin, stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
