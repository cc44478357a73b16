"""A sidecar whose collector is away, or hears nothing: calls are answered, what is lost is counted, and it stops."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.cli.processes import Server, configuration, serving, simulated
from turnout import Client

CALLS = 60
LONG_SECONDS = 60.0
"""For what takes a second: the machine may be busy."""


@contextmanager
def away() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    yield port


@contextmanager
def deaf() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def dropped(server: Server) -> float:
    with urllib.request.urlopen(f"http://{server.line['metrics']}/metrics", timeout=LONG_SECONDS) as answer:
        lines = answer.read().decode().splitlines()
    (found,) = (line for line in lines if line.startswith('turnout_telemetry_dropped_total{signal="traces"}'))
    return float(found.rpartition(" ")[2])


@pytest.mark.parametrize("collector", [away, deaf], ids=["away", "deaf"])
def test_a_collector_that_takes_nothing_fails_no_call_and_is_told_once(
    tmp_path: Path, collector: Callable[[], AbstractContextManager[int]]
) -> None:
    file = configuration(tmp_path, simulated({"north": "http://127.0.0.1:9/v1"}))
    with collector() as port:
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "0.1",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_BSP_MAX_QUEUE_SIZE": "20",
            "OTEL_BSP_SCHEDULE_DELAY": "1",
        }
        with serving(["serve", "-c", file], env) as server:
            with Client(server.address) as client:
                answers = [client.route(task="chat", timeout_seconds=LONG_SECONDS) for _ in range(CALLS)]
            ends_at = time.monotonic() + LONG_SECONDS
            while not dropped(server):
                assert time.monotonic() < ends_at
                time.sleep(0.05)
            code = server.stop()

    told = [json.loads(line) for line in server.log if '"telemetry.' in line]
    assert len({answer.decision.decision_id for answer in answers}) == CALLS
    assert code == 0
    assert [line["event"] for line in told].count("telemetry.spans_dropped") == 1
    assert {line["event"] for line in told} <= {"telemetry.spans_dropped", "telemetry.spans_not_sent"}
