"""What else pages: streams that break, configurations that are refused, restarts, telemetry that is lost."""

from __future__ import annotations

import os
import signal

from tools.operations.processes import until
from tools.operations.records import Records
from tools.operations.stage import Stage

STATUSES = (
    'sum by (rpc_status_code) (increase(rpc_server_call_duration_seconds_count{rpc_method=~".*ExecuteStream"}[5m]))'
)
MEMORY = "max_over_time(max(process_resident_memory_bytes)[5m:1s]) / 2^20"
SHED = "sum by (bound) (increase(turnout_overload_shed_total[5m]))"
VERSIONS = "count by (policy_version) (turnout_config_info)"
TAKEN = "min(time() - turnout_config_taken_timestamp_seconds)"
LOST = 'increase(rpc_server_call_duration_seconds_count{rpc_status_code="DATA_LOSS"}[5m])'
BROKEN = 'sum by (target, outcome) (increase(turnout_attempts_total{outcome=~"TRUNCATED|STALLED|PROTOCOL"}[5m]))'
SPANS = (
    "rpc.status_code",
    "turnout.decision.chosen",
    "turnout.target",
    "error.type",
    "gen_ai.response.time_to_first_chunk",
)

LARGE = "When does the night train leave? " * 10_000
"""360 KB, some 90,000 tokens."""
SMALL = {"limits": {"max_inflight_mib": 4}}
GUARDED = {"listen": {"auth": {"tokens": [{"token_env": "APP_TOKEN"}]}}}
LASTING = {
    "failover": {"preset": "conservative"},
    "budgets": [{"name": "daily", "scope": "global", "period": "day", "limit_usd": 0.02, "per_pod": True}],
}
DEAF = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}


def broken(stage: Stage, records: Records) -> None:
    """A provider cuts some of its streams in the middle of the answer."""
    stage.seen_calls(12, stream=True)
    stage.plant("north", {"kind": "cut", "after_pieces": 6, "share": 0.5})

    def counted() -> bool:
        stage.seen_calls(4, at_once=2, stream=True)
        return bool(stage.ask(f"{BROKEN} > 0")) and bool(stage.ask(f"{LOST} > 0"))

    until(counted, "broken streams that rates count")
    records.query("queries", stage, STATUSES, BROKEN)
    decision = stage.decision("--result", "failed")
    records.picture(stage, records.spans("trace", stage, decision, SPANS), "chat")
    records.command("explain", stage, "explain", decision)
    records.log("log", stage, f"STREAM_INTERRUPTED.*{decision}", 1)


def refused(stage: Stage, records: Records) -> None:
    """A changed configuration has faults."""
    stage.seen_calls(2)
    stage.configure({"routing": {"policies": {"default": {"strategie": "COST"}}}})
    until(lambda: "config.refused" in stage.turnout("events"), "the event config.refused")
    stage.scraped("turnout_config_refused == 1")
    records.command("events", stage, "events", "--name", "config.refused")
    records.query("queries", stage, "max(turnout_config_refused)", VERSIONS, TAKEN)
    records.command("check", stage, "check", str(stage.file), fails=True)


def door(stage: Stage, records: Records) -> None:
    """Callers come without a token."""
    with stage.serving({"APP_TOKEN": "0123456789abcdef"}):
        stage.seen_calls(8)
        records.command("status", stage, "status", fails=True)
        records.query("queries", stage, "sum by (reason) (increase(turnout_listener_refused_total[5m]))")
        until(lambda: stage.logged("api.refused"), "the line api.refused")
        records.log("log", stage, "api.refused", 1)


def restarted(stage: Stage, records: Records) -> None:
    """The process is killed while a breaker is open and a budget half spent, and the next one knows of both."""
    stage.configure({"state": {"snapshot_file": str(stage.folder / "state")}, **LASTING})
    with stage.serving() as process:
        stage.seen_calls(20)
        stage.plant("north", {"kind": "error", "status": 500})
        stage.seen_calls(16, at_once=1)
        stage.scrape()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with stage.serving():
        stage.seen_calls(4)
        stage.scrape()
        records.log("log", stage, "state.resumed", 1)
        records.query("queries", stage, "changes(max(turnout_start_timestamp_seconds)[10m:1s])")
        records.command("status", stage, "status")
        records.command("budgets", stage, "budgets")


def swollen(stage: Stage, records: Records) -> None:
    """Many large prompts in the same moment."""
    stage.seen_calls(4)
    stage.plant("north", latency={"first_token_seconds": 1.0})
    stage.seen_calls(48, at_once=24, text=LARGE, timeout_seconds=5.0)
    records.query("queries", stage, MEMORY, "sum by (what) (turnout_answers_kept_bytes)", SHED)
    records.log("log", stage, "api.overloaded", 1)


def unheard(stage: Stage, records: Records) -> None:
    """The collector is gone."""
    with stage.serving(DEAF):
        stage.seen_calls(60, at_once=6)
        until(lambda: stage.ask('turnout_telemetry_dropped_total{signal="traces"} > 0'), "spans that were dropped")
        stage.scrape()
        records.query("queries", stage, "sum by (signal) (turnout_telemetry_dropped_total)")
        records.log("log", stage, r"telemetry\.|otlp|spans", 2)
