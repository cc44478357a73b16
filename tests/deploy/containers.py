"""Builds the image and runs it as a Pod would, without an engine: buildah, podman and runc over a storage of their own.

Everything is kept in a folder of the user's cache, so that a second run builds only what changed. What the machine
cannot do (no root, no control groups, nothing to download from) skips the test that asks, with the reason.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.tool_paths import ROOT, tool, working

BASE = "docker.io/library/python:3.11-slim-bookworm"
HOST_CA = Path("/etc/ssl/certs/ca-certificates.crt")
LIMITS = ("--memory=128m", "--memory-swap=128m", "--cpus=0.2")
CLOSED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
# Without these podman asks for more than a container of ours may have.
ULIMITS = ("--ulimit=nofile=8192:8192", "--ulimit=nproc=1000:1000")
PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "timeout", "proxy")


def cache_folder() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("TURNOUT_BASE_CACHE") or home / "turnout")


@dataclass(frozen=True)
class Engine:
    """buildah and podman over one storage."""

    buildah: Path
    podman: tuple[str, ...]
    environment: Mapping[str, str]

    def build(self, tag: str, *arguments: str) -> str:
        """Builds the Dockerfile of this tree and returns what was said; AssertionError where it fails."""
        said = self._run(
            [
                *(str(self.buildah), "bud", "--pull-never", "--layers", f"--build-arg=BASE={BASE}"),
                *(*arguments, f"--tag={tag}", str(ROOT)),
            ],
            seconds=900,
        )
        assert said.returncode == 0, said.stderr[-4000:] + said.stdout[-2000:]
        # What earlier trees left; the layers of the last hours make the next build quick.
        self.call("image", "prune", "--force", "--filter=until=12h")
        return said.stdout

    def call(self, *arguments: str, seconds: float = 120) -> str:
        """Runs podman and returns what it printed; AssertionError where it fails."""
        said = self._run([*self.podman, *arguments], seconds=seconds)
        assert said.returncode == 0, f"podman {arguments[0]}: {said.stderr[-2000:]}"
        return said.stdout.strip()

    def has_image(self, name: str) -> bool:
        return self._run([*self.podman, "image", "exists", name], seconds=60).returncode == 0

    def image(self, tag: str) -> dict[str, Any]:
        """Returns what is recorded of an image."""
        found: list[dict[str, Any]] = json.loads(self.call("image", "inspect", tag))
        return found[0]

    def run_once(self, tag: str, *command: str, flags: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Runs a command in a container of the image to its end, closed as a sidecar is."""
        return self._run([*self.podman, "run", "--rm", "--network=host", *CLOSED, *ULIMITS, *flags, tag, *command], 120)

    @contextmanager
    def running(self, tag: str, *command: str, flags: Sequence[str] = ()) -> Iterator[Container]:
        """Runs a container until the block ends, limited and closed as a sidecar is."""
        started_at = time.monotonic()
        name = self.call("run", "--detach", "--network=host", *LIMITS, *CLOSED, *ULIMITS, *flags, tag, *command)
        try:
            yield Container(self, name, started_at)
        finally:
            self._run([*self.podman, "rm", "--force", "--time=0", name], seconds=120)

    def _run(self, command: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - tools of the tests
            command, env=dict(self.environment), capture_output=True, text=True, check=False, timeout=seconds
        )


@dataclass(frozen=True)
class Container:
    """A running container."""

    engine: Engine
    name: str
    started_at: float

    def state(self) -> dict[str, Any]:
        """Returns what podman knows of its state: Running, Pid, ExitCode, OOMKilled."""
        state: dict[str, Any] = json.loads(self.engine.call("inspect", "--format={{json .State}}", self.name))
        return state

    def logs(self) -> str:
        """Returns what it has written on both streams."""
        said = self.engine._run([*self.engine.podman, "logs", self.name], seconds=60)
        return said.stdout + said.stderr

    def ready_line(self) -> dict[str, Any]:
        """Waits for the line that says where the sidecar listens."""
        for _ in range(1200):
            for line in self.logs().splitlines():
                if line.startswith('{"event":"listening","grpc"'):
                    found: dict[str, Any] = json.loads(line)
                    return found
            assert self.state()["Running"], self.logs()
            time.sleep(0.05)
        raise AssertionError(f"not ready in a minute and more: {self.logs()}")

    def stop(self, seconds: int) -> int:
        """Stops it as Kubernetes does, with SIGTERM and `seconds` to end in; returns the exit code."""
        self.engine.call("stop", f"--time={seconds}", self.name, seconds=seconds + 60)
        return int(self.state()["ExitCode"])

    def resources(self) -> Resources:
        """Reads what the container has used so far; AssertionError where it runs no more."""
        state = self.state()
        assert state["Running"], f"{state}: {self.logs()}"
        return Resources.of(int(state["Pid"]))


@dataclass(frozen=True)
class Resources:
    """What the control group of a process has used."""

    cpu_seconds: float
    peak_bytes: int
    killed_count: int

    @classmethod
    def of(cls, pid: int) -> Resources:
        """Reads them, of either version of control groups."""
        folders = {
            controller: path
            for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()
            for _, controllers, path in [line.split(":", 2)]
            for controller in controllers.split(",")
        }
        root = Path("/sys/fs/cgroup")
        if "memory" in folders:
            memory = root / "memory" / folders["memory"].lstrip("/")
            cpu = root / "cpuacct" / folders["cpuacct"].lstrip("/")
            killed = _field(memory / "memory.oom_control", "oom_kill")
            peak = int((memory / "memory.max_usage_in_bytes").read_text())
            return cls(int((cpu / "cpuacct.usage").read_text()) / 1e9, peak, killed)
        folder = root / folders[""].lstrip("/")
        killed = _field(folder / "memory.events", "oom_kill")
        peak = int((folder / "memory.peak").read_text())
        return cls(_field(folder / "cpu.stat", "usage_usec") / 1e6, peak, killed)


def _field(file: Path, name: str) -> int:
    return next(int(line.split()[1]) for line in file.read_text().splitlines() if line.split()[0] == name)


def engine() -> Engine:
    """Finds the tools and tries them on the base image; skips the test where this machine cannot run containers."""
    for name in ("conmon", "debootstrap"):
        tool(name)
    if os.geteuid() != 0:
        pytest.skip("limits of memory and CPU need root here")
    try:
        folder = cache_folder()
        storage = _storage(folder)
    except (OSError, RuntimeError) as error:
        pytest.skip(f"images have no place to be kept: {error}; TURNOUT_BASE_CACHE names another folder")
    environment = dict(os.environ) | {
        "BUILDAH_ISOLATION": "chroot",
        "CONTAINERS_STORAGE_CONF": str(storage),
        "TURNOUT_BASE_CACHE": str(folder),
    }
    environment.pop("STORAGE_DRIVER", None)
    podman = working("podman", "--version")
    runtime = working("runc", "--version")
    found = Engine(
        buildah=working("buildah", "--version"),
        podman=(str(podman), "--cgroup-manager=cgroupfs", f"--runtime={runtime}"),
        environment=environment,
    )
    try:
        if not found.has_image(BASE):
            made = found._run([str(ROOT / "tools" / "base_image.sh"), BASE], seconds=900)
            if made.returncode != 0:
                pytest.skip(f"a base image cannot be made on this machine: {made.stderr.strip()[-300:]}")
        tried = found.run_once(BASE, "python", "-c", "print('works')", flags=LIMITS)
    except subprocess.TimeoutExpired as error:
        pytest.skip(f"containers cannot be tried on this machine: {error}")
    if tried.stdout.strip() != "works":
        pytest.skip(f"containers cannot run on this machine: {tried.stderr.strip()[-300:]}")
    return found


def host_mounts(folder: Path) -> list[str]:
    """Returns what lets a build reach the package index as this machine does: its authorities and pip's settings."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    settings = {
        name.rpartition(".")[2]: value.strip("'")
        for name, _, value in (line.partition("=") for line in listed.stdout.splitlines())
    }
    file = folder / "pip.conf"
    lines = [f"{name} = {settings[name]}" for name in PIP_SETTINGS if name in settings]
    mounts = []
    if HOST_CA.exists():
        lines.append(f"cert = {HOST_CA}")
        mounts.append(f"--volume={HOST_CA}:{HOST_CA}:ro")
    file.write_text("\n".join(["[global]", *lines, ""]))
    return [*mounts, f"--volume={file}:/etc/pip.conf:ro"]


def _storage(folder: Path) -> Path:
    """Writes the settings of a storage of our own."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "storage.conf"
    graph, run = folder / "containers", folder / "containers-run"
    file.write_text(f'[storage]\ndriver = "overlay"\ngraphroot = "{graph}"\nrunroot = "{run}"\n')
    return file
