"""The demonstration on a terminal: targets, requests and events, redrawn a few times a second."""

from __future__ import annotations

from collections import deque

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from turnout_server.demo.record import RequestRecord
from turnout_server.demo.show import Source, duration_text, quantile_text, quantiles, route_taken
from turnout_server.demo.watch import StatusWatch, health_name

_MOST_ROWS = 9
_LEAST_ROWS = 2
_WIDE_COLUMNS = 100
_FRAME_ROWS = 9
"""Rows taken by the frames, the heading and the line below."""
_HEALTH_STYLES = {"HEALTHY": "green", "DEGRADED": "yellow", "UNHEALTHY": "red", "OFFLINE": "bold red"}
_BREAKER_STYLES = {"CLOSED": "green", "OPEN": "bold red", "HALF_OPEN": "yellow"}


class LiveShow:
    """Redraws three tables in place; holds no more than it shows."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._requests: deque[RequestRecord] = deque(maxlen=_MOST_ROWS)
        self._events: deque[tuple[float, Source, str]] = deque(maxlen=_MOST_ROWS)
        self._watch = StatusWatch(clock=lambda: 0.0)
        self._seconds = 0.0
        self._stage = ""
        self._live = Live(console=console, auto_refresh=False, get_renderable=self._draw, vertical_overflow="crop")
        self._live.start()

    def event(self, at_seconds: float, source: Source, text: str) -> None:
        """Shows an event among the last ones; what was staged last also stands above everything."""
        if source is Source.STAGE:
            self._stage = text
        self._events.append((at_seconds, source, text))

    def request(self, record: RequestRecord) -> None:
        """Shows a request among the last ones."""
        self._requests.append(record)

    def status(self, at_seconds: float, watch: StatusWatch) -> None:
        """Takes the targets' states and redraws."""
        self._seconds, self._watch = at_seconds, watch
        self._live.refresh()

    def close(self) -> None:
        """Leaves the last picture standing."""
        self._live.refresh()
        self._live.stop()

    def _rows(self) -> int:
        """Returns how many requests, and how many events, the terminal has room for."""
        free = self._console.size.height - len(self._watch.targets) - _FRAME_ROWS
        return max(_LEAST_ROWS, min(_MOST_ROWS, free // 2))

    def _draw(self) -> RenderableType:
        title = f"turnout demo  ·  {self._seconds:4.1f} s  ·  {self._stage}"
        return Group(
            Panel(self._target_table(self._watch), title=title, title_align="left", border_style="blue"),
            Panel(self._request_table(), title="last requests", title_align="left", border_style="blue"),
            Panel(self._event_lines(), title="events", title_align="left", border_style="blue"),
        )

    def _target_table(self, watch: StatusWatch) -> Table:
        wide = self._console.size.width >= _WIDE_COLUMNS
        table = Table(box=None, expand=True, pad_edge=False)
        for name in ("target", "health", "breaker"):
            table.add_column(name, no_wrap=True)
        for name in ("score", "p50", "calls", "cost USD", *(("p95", "in flight") if wide else ())):
            table.add_column(name, justify="right", no_wrap=True)
        for name, state in watch.targets.items():
            health, breaker = health_name(state.health), watch.breaker_text(name)
            p50, p95 = (quantile_text(quantile) for quantile in quantiles(state))
            table.add_row(
                name,
                Text(health, style=_HEALTH_STYLES.get(health, "")),
                Text(breaker, style=_BREAKER_STYLES.get(breaker.partition(" ")[0], "")),
                f"{state.score:.0f}",
                p50,
                str(state.request_count),
                f"{state.cost_usd:.5f}",
                *((p95, str(state.in_flight)) if wide else ()),
            )
        return table

    def _request_table(self) -> Table:
        table = Table(box=None, expand=True, pad_edge=False, show_header=False)
        table.add_column("mode", no_wrap=True, width=8)
        table.add_column("ask", no_wrap=True, width=12)
        table.add_column("way", no_wrap=True, overflow="ellipsis", ratio=3)
        table.add_column("latency", justify="right", no_wrap=True, width=8)
        table.add_column("why", no_wrap=True, overflow="ellipsis", ratio=4, style="dim")
        for record in list(self._requests)[-self._rows() :]:
            style = "red" if not record.ok else "yellow" if record.failed_over or record.restart_count else ""
            table.add_row(
                record.mode.value,
                record.ask,
                Text(route_taken(record), style=style),
                duration_text(record.latency_seconds),
                Text(record.error or record.choice),
            )
        return table

    def _event_lines(self) -> Text:
        text = Text(no_wrap=True, overflow="ellipsis")
        for at_seconds, source, line in list(self._events)[-self._rows() :]:
            style = "bold magenta" if source is Source.STAGE else ""
            text.append(f"{at_seconds:6.2f}  {source.value:<8} {line}\n", style=style)
        text.rstrip()
        return text
