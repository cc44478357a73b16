"""Log lines for people: aligned, and in colour on a terminal that wants it."""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from structlog.typing import Processor

EVENT_WIDTH = 20
TIME_FORMAT = "%Y-%m-%d %H:%M:%SZ"
"""As in `turnout events`; JSON lines have the microseconds."""
_AS_THEY_ARE = frozenset({"event", "level", "timestamp"})
_STACKS = frozenset({"exception", "stack"})


def wants_colours(environ: Mapping[str, str], *, is_terminal: bool) -> bool:
    """Whether lines are coloured: on a terminal that can, unless NO_COLOR is set (https://no-color.org)."""
    return is_terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def terminal_renderer(*, colours: bool) -> Processor:
    """Returns what makes a line of an event."""
    from structlog import dev  # noqa: PLC0415 - the usual log is JSON

    styles = dev.ConsoleRenderer.get_default_column_styles(colours)
    levels = dev.ConsoleRenderer.get_default_level_styles(colours)

    def column(name: str, style: str, *, key_style: str | None = None, width: int = 0) -> dev.Column:
        formatter = dev.KeyValueColumnFormatter(
            key_style=key_style, value_style=style, reset_style=styles.reset, value_repr=str, width=width
        )
        return dev.Column(name, formatter)

    # Its own columns would put a value in quotes once more.
    render: Any = dev.ConsoleRenderer(
        columns=[
            column("timestamp", styles.timestamp),
            dev.Column("level", dev.LogLevelColumnFormatter(levels, reset_style=styles.reset)),
            column("event", styles.bright, width=EVENT_WIDTH),
            column("", styles.kv_value, key_style=styles.kv_key),
        ],
        # The stack is text by now; any other formatter would warn about that.
        exception_formatter=dev.plain_traceback,
    )

    def rendered(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        line: str = render(logger, method, {name: _shown(name, value) for name, value in event.items()})
        return line.rstrip()

    return rendered


def _shown(name: str, value: Any) -> Any:
    """Returns a value as one word or in quotes: a line stays a line, and what is quoted says no more than its text.

    A terminal does what control characters tell it to.
    """
    if name in _STACKS:
        return "".join(each for each in str(value) if each == "\n" or each.isprintable())
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < 1e6 else value  # noqa: PLR2004 - six digits, without an exponent
    if isinstance(value, list | dict):
        return escaped(_json(value))
    if not isinstance(value, str) or (value.isprintable() and (name in _AS_THEY_ARE or _is_word(value))):
        return value
    return escaped(orjson.dumps(value.encode("utf-8", "backslashreplace").decode()).decode())


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS, default=str).decode()
    except TypeError:
        # Half a character of a file name, say: it is better written than lost.
        return json.dumps(value, default=str)


def escaped(text: str) -> str:
    """Returns JSON that says the same, without what a terminal obeys: JSON has to escape the control characters of
    ASCII alone, and there are others, and some that turn a line around.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c > "\uffff" else f"\\u{ord(c):04x}" for c in text)


def _is_word(value: str) -> bool:
    return bool(value) and not any(each in value for each in ' "=')
