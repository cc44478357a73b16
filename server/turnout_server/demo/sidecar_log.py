"""Reads events out of the sidecar's log lines; everything else in the log is left to the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout_server.core.events import EventName

_SHOWN_LEVELS = frozenset({"warning", "error", "critical"})
_LEFT_OUT = frozenset(
    {"event", "level", "timestamp", "target", "provider", "trace_id", "span_id", "logger", "exception", "at"}
)


def event_text(line: Mapping[str, Any]) -> str:
    """Writes an event as a line, as in `breaker.opened atlas/large open_seconds=2`; "" for a line that is none."""
    name = str(line.get("event", ""))
    if name == "call":
        # The request is on the screen already.
        return ""
    if name not in list(EventName) and str(line.get("level", "")).lower() not in _SHOWN_LEVELS:
        return ""
    who = str(line.get("target") or line.get("provider") or "")
    fields = (
        f"{key}={_plain(value)}" for key, value in line.items() if key not in _LEFT_OUT and value not in ("", None)
    )
    return " ".join(filter(None, (name, who, *fields)))


def _plain(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
