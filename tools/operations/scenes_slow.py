"""Requests are slow: a target is slow, an attempt failed before, calls wait for room, or the sidecar has no CPU."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tools.operations.processes import until
from tools.operations.records import Records
from tools.operations.stage import Stage

RPC_P95 = (
    "histogram_quantile(0.95, sum by (le, rpc_method)"
    ' (rate(rpc_server_call_duration_seconds_bucket{rpc_method=~".*Execute.*"}[5m])))'
)
ATTEMPT_P95 = (
    "histogram_quantile(0.95, sum by (le, target)"
    ' (rate(gen_ai_client_operation_duration_seconds_bucket{error_type=""}[5m])))'
)
OVERHEAD_P99 = "histogram_quantile(0.99, sum by (le) (rate(turnout_overhead_duration_seconds_bucket[5m])))"
LATE_P95 = "histogram_quantile(0.95, sum by (le) (rate(turnout_loop_delay_seconds_bucket[5m])))"
MOVED = "sum by (from, failure) (increase(turnout_failovers_total[5m]))"
ROOM = 'sum by (rpc_status_code) (increase(rpc_server_call_duration_seconds_count{rpc_method=~".*Execute.*"}[5m]))'
SHED = "sum by (bound) (increase(turnout_overload_shed_total[5m]))"
SPANS = (
    "rpc.status_code",
    "turnout.decision.chosen",
    "turnout.target",
    "error.type",
    "gen_ai.response.time_to_first_chunk",
)

SLOW = {"alerts": {"high_latency_seconds": 1}, "failover": {"first_token_timeout_seconds": 5}}
CROWDED = {"limits": {"max_concurrent_calls": 2, "max_queue": 1}}


def slow(stage: Stage, records: Records) -> None:
    """A target that takes its time, and then one that answers nothing to some of the calls."""
    stage.seen_calls(12, stream=True)
    stage.plant("north", latency={"first_token_seconds": 1.6})
    stage.seen_calls(24, at_once=6, stream=True)
    until(lambda: "high_latency" in stage.turnout("events"), "the event high_latency")
    records.command("events", stage, "events", "--name", "high_latency")
    records.command("status", stage, "status")
    records.query("queries", stage, RPC_P95, ATTEMPT_P95, OVERHEAD_P99, MOVED)
    records.spans("trace", stage, stage.decision(), SPANS)
    records.command("drain", stage, "drain", "north/north-1")
    stage.turnout("undrain", "north/north-1")

    stage.plant("north", {"kind": "silence"}, latency={"first_token_seconds": 0.1})
    stage.seen_calls(3, at_once=1, stream=True)
    records.query("moved", stage, MOVED)
    records.picture(stage, records.spans("moved-trace", stage, stage.decision(), SPANS))


def crowded(stage: Stage, records: Records) -> None:
    """More calls than the sidecar may run at once."""
    stage.plant("north", latency={"first_token_seconds": 1.0})
    stage.seen_calls(6, at_once=2)
    stage.seen_calls(40, at_once=12, timeout_seconds=3.0)
    records.query("queries", stage, SHED, OVERHEAD_P99, ROOM)
    records.log("log", stage, "api.overloaded", 1)


def starved(stage: Stage, records: Records, process: subprocess.Popen[str]) -> None:
    """A sidecar that the kernel lets run for a fifth of the time, as under a limit of CPU that is too low."""
    stage.seen_calls(12)
    with _throttled(process):
        stage.calls(80, at_once=6)
    stage.scrape()
    records.query("queries", stage, LATE_P95, OVERHEAD_P99, ATTEMPT_P95)
    records.spans("trace", stage, stage.decision(), SPANS)


@contextmanager
def _throttled(process: subprocess.Popen[str]) -> Iterator[None]:
    """Stops and continues a process in turns, a quarter of a second each, as the scheduler does with quotas."""
    over = threading.Event()

    def turns() -> None:
        while not over.is_set():
            process.send_signal(signal.SIGSTOP)
            over.wait(0.2)
            process.send_signal(signal.SIGCONT)
            over.wait(0.05)

    thread = threading.Thread(target=turns)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        process.send_signal(signal.SIGCONT)
