"""The two processes of the main job: a fake provider of other people's making, and the sidecar as operators do it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

BIN = Path(sys.executable).parent


class ForeignProviders:
    """llmock as a process: its OpenAI and Anthropic wires, with faults switched on and off over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=60)

    def behave(self, *behaviors: dict[str, Any]) -> None:
        """Replaces the faults in force."""
        self._http.post("/_llmock/reset").raise_for_status()
        if behaviors:
            self._http.post("/_llmock/scenario", json={"behaviors": list(behaviors)}).raise_for_status()

    def request_count(self, provider: str) -> int:
        """Tells how many requests a provider has had since the last change of faults."""
        journal = self._http.get("/_llmock/requests").raise_for_status().json()
        return sum(entry["provider"] == provider for entry in journal["requests"])

    def close(self) -> None:
        self._http.close()


@contextmanager
def foreign_providers(*flags: str) -> Iterator[ForeignProviders]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(  # noqa: S603 - a tool of the development environment
        [BIN / "llmock", "serve", "--port", str(port), *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    providers = ForeignProviders(f"http://127.0.0.1:{port}")
    try:
        _wait_until_served(providers.url)
        yield providers
    finally:
        providers.close()
        process.terminate()
        process.wait(timeout=60)


@contextmanager
def sidecar(configuration: str, folder: Path) -> Iterator[str]:
    """Starts `turnout serve` with this file; yields the address, and asserts that it ends with 0 when told to stop."""
    file = folder / "turnout.yaml"
    file.write_text(configuration)
    environment = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_HOST"))}
    environment |= {"NORTH_KEY": "north-key", "SOUTH_KEY": "south-key"}
    with (folder / "sidecar.log").open("w") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [BIN / "turnout", "serve", "-c", file], stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (folder / "sidecar.log").read_text()
            yield json.loads(line)["grpc"][0]
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(timeout=60)
            if process.stdout is not None:
                process.stdout.close()
    assert code == 0, (folder / "sidecar.log").read_text()


def _wait_until_served(url: str) -> None:
    for _ in range(900):
        try:
            httpx.get(f"{url}/health", trust_env=False, timeout=20)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"{url} did not come up in 90 s")
