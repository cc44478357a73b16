"""Starts the programs of a staging and ends them: the sidecar, simulated providers, Jaeger, Prometheus."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).parents[2]
TURNOUT = Path(sys.executable).parent / "turnout"
LONG_SECONDS = 60.0
"""For whatever is waited for; a machine with much else to do is slow."""

_Seen = TypeVar("_Seen")
_KEPT = ("HOME", "PATH", "PYTHONPATH", "TMPDIR", "VIRTUAL_ENV")

# YAML is a superset of JSON.
_JAEGER = """{{
"service": {{
  "extensions": ["jaeger_storage", "jaeger_query"],
  "pipelines": {{"traces": {{"receivers": ["otlp"], "processors": [], "exporters": ["jaeger_storage_exporter"]}}}},
  "telemetry": {{"metrics": {{"level": "none"}}}}}},
"extensions": {{
  "jaeger_query": {{
    "storage": {{"traces": "mem"}}, {ui}
    "http": {{"endpoint": "127.0.0.1:{http}"}}, "grpc": {{"endpoint": "127.0.0.1:{query}"}}}},
  "jaeger_storage": {{"backends": {{"mem": {{"memory": {{"max_traces": 10000}}}}}}}}}},
"receivers": {{"otlp": {{"protocols": {{"grpc": {{"endpoint": "127.0.0.1:{otlp}"}}}}}}}},
"exporters": {{"jaeger_storage_exporter": {{"trace_storage": "mem"}}}}
}}
"""

_PROMETHEUS = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs: [{{job_name: turnout, static_configs: [{{targets: ["{address}"]}}]}}]
"""


class StagingError(Exception):
    """Something that a staging needs is not there, or did not come about in time; its text says what."""


def program(name: str) -> Path:
    """Returns where a program is: in the folder of TURNOUT_TOOLS, in `.tools/`, on the PATH. Raises `StagingError`."""
    folders = (os.environ.get("TURNOUT_TOOLS", ""), str(ROOT / ".tools"), os.environ.get("PATH", ""))
    found = shutil.which(name, path=os.pathsep.join(folder for folder in folders if folder))
    if found is None:
        raise StagingError(f"{name} is not on this machine: `make tools` gets it, or Debian's package of that name")
    return Path(found)


def until(look: Callable[[], _Seen], what: str, seconds: float = LONG_SECONDS) -> _Seen:
    """Looks until something that counts as true is seen, and returns it. Raises `StagingError` after so long."""
    ends_at = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > ends_at:
            raise StagingError(f"{what} did not come about within {seconds:g} s")
        time.sleep(0.1)
    return found


def fetched(url: str) -> Any:
    """Returns the JSON that a URL answers with; None where it does not answer so (yet)."""
    try:
        with urllib.request.urlopen(url, timeout=LONG_SECONDS) as answer:  # noqa: S310 - our own
            return json.load(answer)
    except (urllib.error.URLError, ConnectionError, TimeoutError, ValueError):
        return None


def free_ports(count: int) -> list[int]:
    """Returns ports of the loopback that nobody had a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment for a process of ours: no key, proxy or setting of whoever runs this."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | dict(extra)


@contextmanager
def started(
    command: Sequence[str | Path], log: Path, extra: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Starts a process, its stderr added to a file, and ends it with the block."""
    with log.open("a", encoding="utf-8") as written:
        process = subprocess.Popen(  # noqa: S603 - our own commands and tools
            command, stdout=subprocess.PIPE, stderr=written, text=True, env=environment(extra or {})
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(timeout=LONG_SECONDS)
            finally:
                process.kill()
                if process.stdout is not None:
                    process.stdout.close()


def first_line(process: subprocess.Popen[str], log: Path) -> dict[str, Any]:
    """Returns the line of JSON with which our servers say where they listen. Raises `StagingError`."""
    line = process.stdout.readline() if process.stdout is not None else ""
    if not line:
        raise StagingError(f"a server ended at once: {log.read_text(encoding='utf-8')[-2000:]}")
    found: dict[str, Any] = json.loads(line)
    return found


@contextmanager
def jaeger(folder: Path) -> Iterator[tuple[str, str]]:
    """Starts a Jaeger that keeps traces in memory; yields where spans go, and where it is asked.

    A Jaeger that was built without its pages shows those of the folder that JAEGER_UI names.
    """
    http, query, otlp = free_ports(3)
    pages = os.environ.get("JAEGER_UI", "")
    ui = f'"ui": {{"assets_path": "{pages}"}},' if pages else ""
    file = folder / "jaeger.yaml"
    file.write_text(_JAEGER.format(http=http, query=query, otlp=otlp, ui=ui), encoding="utf-8")
    log = folder / "jaeger.log"
    with started([program("jaeger"), "--config", file], log, {"OTEL_TRACES_SAMPLER": "always_off"}):
        asked = f"http://127.0.0.1:{http}"
        until(lambda: fetched(f"{asked}/api/services"), f"Jaeger's answer ({log})")
        yield f"http://127.0.0.1:{otlp}", asked


@contextmanager
def prometheus(folder: Path, scraped: str) -> Iterator[str]:
    """Starts a Prometheus that scrapes one address each second; yields where it is asked."""
    (port,) = free_ports(1)
    file = folder / "prometheus.yml"
    file.write_text(_PROMETHEUS.format(address=scraped), encoding="utf-8")
    flags = [f"--config.file={file}", f"--storage.tsdb.path={folder / 'prometheus'}"]
    log = folder / "prometheus.log"
    with started([program("prometheus"), *flags, f"--web.listen-address=127.0.0.1:{port}"], log):
        asked = f"http://127.0.0.1:{port}"
        until(lambda: fetched(f"{asked}/api/v1/status/buildinfo"), f"Prometheus's answer ({log})")
        yield asked
