"""A real Jaeger, and what it can be asked."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.tool_paths import tool

WAIT_SECONDS = 60

# YAML is a superset of JSON.
CONFIGURATION = """{{
"service": {{
  "extensions": ["jaeger_storage", "jaeger_query"],
  "pipelines": {{"traces": {{"receivers": ["otlp"], "processors": [], "exporters": ["jaeger_storage_exporter"]}}}},
  "telemetry": {{"metrics": {{"level": "none"}}}}}},
"extensions": {{
  "jaeger_query": {{
    "storage": {{"traces": "mem"}},
    "http": {{"endpoint": "127.0.0.1:{http}"}}, "grpc": {{"endpoint": "127.0.0.1:{query}"}}}},
  "jaeger_storage": {{"backends": {{"mem": {{"memory": {{"max_traces": 1000}}}}}}}}}},
"receivers": {{"otlp": {{"protocols": {{
  "grpc": {{"endpoint": "127.0.0.1:{otlp}"}}, "http": {{"endpoint": "127.0.0.1:{otlp_http}"}}}}}}}},
"exporters": {{"jaeger_storage_exporter": {{"trace_storage": "mem"}}}}
}}
"""


@dataclass(frozen=True)
class Jaeger:
    """One that runs: where spans go by gRPC and by HTTP, and where it is asked."""

    endpoint: str
    query: str
    http_endpoint: str

    def spans(self, trace_id: str, count: int) -> list[dict[str, Any]]:
        """Waits until a trace has so many spans; returns them in the order of their beginnings."""
        ends_at = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < ends_at:
            answer = asked(f"{self.query}/api/traces/{trace_id}")
            spans = [] if answer is None else answer["data"][0]["spans"]
            if len(spans) >= count:
                return sorted(spans, key=lambda span: int(span["startTime"]))
            time.sleep(0.1)
        raise AssertionError(f"the trace {trace_id} does not have {count} spans after {WAIT_SECONDS} s")


def tags(span: Mapping[str, Any]) -> dict[str, Any]:
    """What Jaeger calls attributes; arrays are JSON there."""
    return {tag["key"]: tag["value"] for tag in span["tags"]}


def parent(span: Mapping[str, Any]) -> str:
    """The span id of its parent."""
    (found,) = (r["spanID"] for r in span["references"] if r["refType"] == "CHILD_OF")
    return str(found)


def asked(url: str) -> Any:
    """Returns what a URL answers, None where it does not have it (yet)."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own
            return json.load(answer)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None


@contextmanager
def jaeger(folder: Path) -> Iterator[Jaeger]:
    """Starts one, on ports that were free a moment ago."""
    program = tool("jaeger")
    http, query, otlp, otlp_http = _free_ports(4)
    file = folder / "jaeger.yaml"
    file.write_text(CONFIGURATION.format(http=http, query=query, otlp=otlp, otlp_http=otlp_http))
    log = folder / "jaeger.log"
    with log.open("w") as written:
        process = subprocess.Popen([program, "--config", str(file)], stdout=written, stderr=written)  # noqa: S603 - a tool of ours
        try:
            ends_at = time.monotonic() + WAIT_SECONDS
            while asked(f"http://127.0.0.1:{http}/api/services") is None:
                assert process.poll() is None, log.read_text()[-2000:]
                assert time.monotonic() < ends_at, log.read_text()[-2000:]
                time.sleep(0.1)
            yield Jaeger(
                f"http://127.0.0.1:{otlp}", f"http://127.0.0.1:{http}", http_endpoint=f"http://127.0.0.1:{otlp_http}"
            )
        finally:
            process.terminate()
            process.wait(timeout=WAIT_SECONDS)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
