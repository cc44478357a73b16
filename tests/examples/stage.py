"""What an example needs to run: simulated providers, a sidecar before them, and the example as a user starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.clients.real_sidecar import process

EXAMPLES = Path(__file__).parents[2] / "clients" / "python" / "examples"
GENEROUS_SECONDS = 100.0

MODEL = (
    "{{name: m, context_window_tokens: 128000, max_output_tokens: 4096, quality: {quality}, "
    "latency_prior_seconds: 0.05, price: {{input_per_million_usd: {price}, output_per_million_usd: {price}}}, "
    "capabilities: [STREAMING, TOOLS, PARALLEL_TOOLS, JSON_SCHEMA, THINKING]}}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """A provider of the stage: `base_url` "" is a simulated one of this wire."""

    wire: str
    quality: int = 80
    price: float = 1.0
    base_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A running sidecar at `address`."""

    address: str
    control_url: str

    def change(self, provider: str, **settings: Any) -> None:
        """Changes a simulated provider, as with `fault={"kind": …}`."""
        answer = httpx.patch(f"{self.control_url}/{provider}", json=settings, trust_env=False)
        answer.raise_for_status()

    def request_count(self, provider: str) -> int:
        """Returns how many calls a simulated provider has had."""
        found = httpx.get(f"{self.control_url}/{provider}", trust_env=False).raise_for_status().json()
        return int(found["counts"]["requests"])

    def play(
        self, example: str, *arguments: str, stdin: str = "", environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs an example to its end."""
        kept = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_HOST"))}
        return subprocess.run(  # noqa: S603 - our own example
            [sys.executable, EXAMPLES / example, *arguments],
            input=stdin,
            env={**kept, "TURNOUT_ADDRESS": self.address, **(environment or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=GENEROUS_SECONDS,
        )


@contextmanager
def stage(folder: Path, **actors: Actor) -> Iterator[Stage]:
    """Starts providers and sidecar; the order of the actors is that of the policy."""
    simulated = [f"--provider={name}={actor.wire}" for name, actor in actors.items() if not actor.base_url]
    with ExitStack() as running:
        sim = running.enter_context(process(folder, "sim", "--port", "0", *simulated))
        lines = ['listen: {address: "127.0.0.1:0"}', 'health: {address: ""}', 'metrics: {address: ""}', "providers:"]
        for name, actor in actors.items():
            url = actor.base_url or sim["providers"][name]["base_url"]
            model = MODEL.format(quality=actor.quality, price=actor.price)
            lines.append(
                f'  {name}: {{wire: {actor.wire}, base_url: "{url}", allow_insecure: true, allow_private: true, '
                f"models: [{model}]}}"
            )
        lines += [
            "routing:",
            f"  provider_order: [{', '.join(actors)}]",
            "  plan_valid_seconds: 300",
            "  policies: {default: {strategy: PRIORITY}}",
            "drain_seconds: 1",
        ]
        file = folder / "turnout.yaml"
        file.write_text("\n".join(lines) + "\n")
        sidecar = running.enter_context(process(folder, "serve", "-c", str(file)))
        yield Stage(address=sidecar["grpc"][0], control_url=sim["control"])
