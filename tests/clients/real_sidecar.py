"""The real thing as two processes: `turnout sim` with two providers, and `turnout serve` in front of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

TURNOUT = Path(sys.executable).with_name("turnout")

CONFIGURATION = """
listen: {{address: "127.0.0.1:0"}}
health: {{address: ""}}
metrics: {{address: ""}}
providers:
  north: {{wire: openai, base_url: "{north}", allow_insecure: true, allow_private: true, models: [{model}]}}
  south: {{wire: anthropic, base_url: "{south}", allow_insecure: true, allow_private: true, models: [{model}]}}
routing:
  provider_order: [north, south]
  policies: {{default: {{strategy: PRIORITY}}}}
failover: {{connect_timeout_seconds: 60}}
drain_seconds: 1
"""

MODEL = (
    "{name: m, context_window_tokens: 128000, max_output_tokens: 4096, quality: 80, latency_prior_seconds: 0.05, "
    "price: {input_per_million_usd: 1, output_per_million_usd: 2}, capabilities: [STREAMING, TOOLS]}"
)


@dataclass(frozen=True, kw_only=True)
class World:
    """A running sidecar at `address`, and the control of the providers behind it."""

    address: str
    control_url: str
    base_urls: dict[str, str]

    def fault(self, provider: str, **fault: Any) -> None:
        """Makes a simulated provider go wrong."""
        answer = httpx.patch(f"{self.control_url}/{provider}", json={"fault": fault}, trust_env=False)
        answer.raise_for_status()


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Starts both processes; they are stopped, and must end well, when the block ends."""
    with ExitStack() as running:
        sim = running.enter_context(
            process(folder, "sim", "--port", "0", "--provider", "north=openai", "--provider", "south=anthropic")
        )
        urls = {name: provider["base_url"] for name, provider in sim["providers"].items()}
        file = folder / "turnout.yaml"
        file.write_text(CONFIGURATION.format(north=urls["north"], south=urls["south"], model=MODEL))
        sidecar = running.enter_context(process(folder, "serve", "-c", str(file)))
        yield World(address=sidecar["grpc"][0], control_url=sim["control"], base_urls=urls)


@contextmanager
def process(folder: Path, command: str, *arguments: str) -> Iterator[dict[str, Any]]:
    """Starts a command of the product and yields the JSON line in which it says where it listens."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_HOST"))}
    log = folder / f"{command}.log"
    with log.open("w") as stderr:
        started = subprocess.Popen(  # noqa: S603 - our own command
            [TURNOUT, command, *arguments], stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment
        )
        try:
            assert started.stdout is not None
            line = started.stdout.readline()
            assert line, log.read_text()
            yield json.loads(line)
        finally:
            started.send_signal(signal.SIGTERM)
            started.wait(timeout=60)
            if started.stdout is not None:
                started.stdout.close()
    assert started.returncode == 0, log.read_text()
