"""The demonstration as plain lines, for pipes, logs and CI."""

from __future__ import annotations

from collections.abc import Callable

from turnout_server.demo.record import RequestRecord
from turnout_server.demo.show import Source, duration_text, quantile_text, quantiles, route_taken
from turnout_server.demo.watch import StatusWatch, health_name

_STATUS_EVERY_SECONDS = 5.0


class LineShow:
    """One line for each request and event, and the targets every five seconds."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._next_status = 0.0

    def event(self, at_seconds: float, source: Source, text: str) -> None:
        """Writes an event."""
        self._write(f"{at_seconds:6.2f}  {source.value:<8} {text}")

    def request(self, record: RequestRecord) -> None:
        """Writes a request: what was asked, which way it went, how long it took, why."""
        restarts = f" ({record.restart_count} restarted)" if record.restart_count else ""
        probe = " (probe)" if record.probe else ""
        end = "ok" if record.ok else f"FAILED: {record.error}"
        why = f"  [{record.reason}]" if record.reason else ""
        ended_at = record.at_seconds + record.latency_seconds
        self._write(
            f"{ended_at:6.2f}  {record.mode.value:<8} {record.ask:<12} {route_taken(record)}{restarts}{probe}"
            f"  {duration_text(record.latency_seconds)}  {end}{why}"
        )

    def status(self, at_seconds: float, watch: StatusWatch) -> None:
        """Writes the targets, every five seconds."""
        if at_seconds < self._next_status or not watch.targets:
            return
        self._next_status = at_seconds + _STATUS_EVERY_SECONDS
        for name, state in watch.targets.items():
            p50, p95 = (quantile_text(quantile) for quantile in quantiles(state))
            self._write(
                f"{at_seconds:6.2f}  target   {name:<14} {health_name(state.health):<9} score {state.score:3.0f}  "
                f"breaker {watch.breaker_text(name):<18} latency p50 {p50:>7} p95 {p95:>7}  "
                f"{state.request_count:4d} requests  {state.cost_usd:.5f} USD"
            )

    def close(self) -> None:
        """Does nothing: every line is already out."""
