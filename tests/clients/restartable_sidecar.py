"""A real sidecar at an address that outlives it: it can be killed, and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx

from tests.clients.real_sidecar import MODEL, TURNOUT, process
from turnout.v1 import admin_pb2, admin_pb2_grpc

CONFIGURATION = """
listen: {{address: "", socket: "{socket}"}}
health: {{address: ""}}
metrics: {{address: ""}}
providers:
  north: {{wire: openai, base_url: "{north}", allow_insecure: true, allow_private: true, models: [{model}]}}
  south: {{wire: anthropic, base_url: "{south}", allow_insecure: true, allow_private: true, models: [{model}]}}
routing:
  provider_order: [north, south]
  # So long that no machine is too slow for a plan to be used again.
  plan_valid_seconds: 300
  policies: {{default: {{strategy: PRIORITY}}}}
failover: {{connect_timeout_seconds: 60}}
drain_seconds: 1
"""


class RestartableSidecar:
    """`start` and `kill` as often as wanted."""

    def __init__(self, folder: Path, base_urls: dict[str, str], control_url: str) -> None:
        # The path of a socket has at most 107 characters, and pytest's folders are deep.
        self._short = tempfile.TemporaryDirectory(prefix="turnout-")
        socket = Path(self._short.name) / "s"
        self.address = f"unix:{socket}"
        self.base_urls = base_urls
        self._control_url = control_url
        self._file = folder / "turnout.yaml"
        self._file.write_text(CONFIGURATION.format(socket=socket, model=MODEL, **base_urls))
        self._log = folder / "serve.log"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Starts it and waits until it listens."""
        environment = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_HOST"))}
        with self._log.open("a") as stderr:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [TURNOUT, "serve", "-c", str(self._file)],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=environment,
            )
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), self._log.read_text()

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Ends it, unless it has ended."""
        if self._process is None:
            return
        self._process.send_signal(how)
        self._process.wait(timeout=60)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None

    def close(self) -> None:
        """Ends it, and leaves nothing behind."""
        self.kill(signal.SIGTERM)
        self._short.cleanup()

    def decision_count(self) -> int:
        """Returns how often it has decided since it was started: one for each Route."""
        with grpc.insecure_channel(self.address) as channel:
            decisions = admin_pb2_grpc.AdminServiceStub(channel).ListDecisions(
                admin_pb2.ListDecisionsRequest(page_size=1000)
            )
        return len(decisions.decisions)

    def fault(self, provider: str, **fault: Any) -> None:
        """Makes a simulated provider go wrong."""
        answer = httpx.patch(f"{self._control_url}/{provider}", json={"fault": fault or None}, trust_env=False)
        answer.raise_for_status()


@contextmanager
def restartable_sidecar(folder: Path) -> Iterator[RestartableSidecar]:
    """Starts simulated providers and yields a sidecar for them, not started yet."""
    with ExitStack() as running:
        sim = running.enter_context(
            process(folder, "sim", "--port", "0", "--provider", "north=openai", "--provider", "south=anthropic")
        )
        urls = {name: provider["base_url"] for name, provider in sim["providers"].items()}
        sidecar = RestartableSidecar(folder, urls, sim["control"])
        running.callback(sidecar.close)
        yield sidecar
