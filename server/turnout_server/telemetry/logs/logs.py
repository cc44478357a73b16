"""One JSON object a line on stderr, a readable line on a terminal, and nothing secret in either.

Everything that logs, libraries included, ends up here. Credentials are taken out twice: by the name of the key they
stand under, and by the shape that vendors give their keys, wherever it appears in a text.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol

import orjson
import structlog
from structlog.typing import Processor

from turnout_server.execution.under_way import decision_under_way
from turnout_server.telemetry.logs.stacks import stack_text
from turnout_server.telemetry.logs.terminal import TIME_FORMAT, escaped, terminal_renderer, wants_colours
from turnout_server.telemetry.traces.tracing import OF_CALLERS_NONSENSE, trace_ids

REDACTED = "[redacted]"
MAX_DEPTH = 6
CHATTY = ("aiohttp.access", "httpx", "httpcore", "asyncio")
"""aiohttp's and httpx's lines at INFO are one per request and may hold URLs."""
OF_OUR_SECRETS = ("opentelemetry.util.re",)
"""Loggers that quote what cannot be read of `OTEL_EXPORTER_OTLP_HEADERS`, where the collector's key is."""

_FIRST = ("timestamp", "level", "event")

_SECRET_KEYS = frozenset(
    {
        "api_key",
        "apikey",
        "authorization",
        "cookie",
        "password",
        "proxy_authorization",
        "secret",
        "set_cookie",
        "token",
        "x_api_key",
        "x_goog_api_key",
    }
)
_SECRET_KEY_ENDS = ("_api_key", "_password", "_secret")

_SHAPES = r"""
    (?<![A-Za-z])(?:sk|pk|rk)-[A-Za-z0-9_-]{8,}   # openai sk-proj-…, anthropic sk-ant-…, openrouter sk-or-…, kimi sk-…
    | (?:sk|pk|rk)-(?=[A-Za-z_-]{0,32}[0-9])[A-Za-z0-9_-]{20,}   # behind a letter, where words such as risk-based end
    | gsk_[A-Za-z0-9]{8,}                   # groq
    | csk-[A-Za-z0-9]{8,}                   # cerebras
    | xai-[A-Za-z0-9]{8,}                   # xai
    | AIza[A-Za-z0-9_-]{16,}                # google
    | (?i:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}
    | (?<=://)[^/\s:@]+:[^/\s@]+(?=@)       # user and password in a URL
"""
_JWT = r"(?P<header>eyJ[A-Za-z0-9_-]{8,}+)(?P<rest>\.[A-Za-z0-9_-]++\.[A-Za-z0-9_-]++)?"
"""A JSON web token, or what only begins like one: to look within that for another beginning, and another, would let a
caller's text of a megabyte hold up everything for minutes.
"""
_SECRET_SHAPES = re.compile(f"{_SHAPES} | {_JWT}", re.VERBOSE)
_SHAPES_WITHIN = re.compile(_SHAPES, re.VERBOSE)


class LogFormat(StrEnum):
    """`auto` is text on a terminal and JSON elsewhere."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


class LogLevel(StrEnum):
    """The least level that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Stream(Protocol):
    """What lines are written to: a text file, or a `LogWriter`."""

    def write(self, text: str, /) -> int:
        """Takes a line."""

    def flush(self) -> None:
        """Lets nothing wait."""

    def isatty(self) -> bool:
        """Whether a terminal reads it."""


def configure_logging(
    level: LogLevel = LogLevel.INFO,
    log_format: LogFormat = LogFormat.AUTO,
    stream: Stream | None = None,
    environ: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Sets up structlog and the standard library's logging to write to `stream` (stderr where None).

    Called once, by whoever starts the process. `environ` says whether a terminal wants colours.
    """
    out = stream if stream is not None else sys.stderr
    as_text = log_format is LogFormat.TEXT or (log_format is LogFormat.AUTO and out.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt=TIME_FORMAT if as_text else "iso", utc=True),
        add_call,
    ]
    renderer: Processor = (
        terminal_renderer(colours=wants_colours(environ, is_terminal=out.isatty()))
        if as_text
        else structlog.processors.JSONRenderer(serializer=_json)
    )
    handler = _LineHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.ExceptionRenderer(lambda found: "" if found[1] is None else stack_text(found[1])),
                redact,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_log_level(level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def set_log_level(level: LogLevel) -> None:
    """Writes this level and those above it from now on."""
    root = logging.getLogger()
    root.setLevel(level.upper())
    for chatty in CHATTY:
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    for quoting in (*OF_CALLERS_NONSENSE, *OF_OUR_SECRETS):
        logging.getLogger(quoting).setLevel(max(logging.ERROR, root.level))


def add_call(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Adds `decision_id`, `trace_id` and `span_id` of the call under way, where there is one."""
    decision_id = decision_under_way.get()
    if decision_id:
        event.setdefault("decision_id", decision_id)
    ids = trace_ids()
    if ids is not None:
        event["trace_id"], event["span_id"] = ids
    return event


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Takes secrets out of one log event."""
    for key, value in event.items():
        event[key] = REDACTED if is_secret(key) else _redacted(value, 0)
    return event


def redact_text(text: str) -> str:
    """Takes whatever has the shape of a credential out of a text."""
    return _SECRET_SHAPES.sub(_in_its_place, text)


def _in_its_place(found: re.Match[str]) -> str:
    header = found["header"]
    is_secret_whole = header is None or found["rest"] is not None
    return REDACTED if is_secret_whole else _SHAPES_WITHIN.sub(REDACTED, header)


def is_secret(key: str) -> bool:
    """Whether what stands under a key of this name is a credential."""
    name = key.lower().replace("-", "_")
    return name in _SECRET_KEYS or name.endswith(_SECRET_KEY_ENDS)


def _redacted(value: Any, depth: int) -> Any:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return redact_text(value)
        case _ if depth >= MAX_DEPTH:
            return "…"
        case Mapping():
            return {
                str(key): REDACTED if is_secret(str(key)) else _redacted(inner, depth + 1)
                for key, inner in value.items()
            }
        case list() | tuple() | set() | frozenset():
            return [_redacted(inner, depth + 1) for inner in value]
        case _:
            return redact_text(str(value))


def _json(event: Any, **_kwargs: Any) -> str:
    # Whoever reads the lines as they are looks for these first.
    event = {**{name: event[name] for name in _FIRST if name in event}, **event}
    try:
        text = orjson.dumps(event, option=orjson.OPT_NON_STR_KEYS, default=str).decode()
    except TypeError:
        # A number of more than 64 bits, or half a character of a file name: it is better written than lost.
        text = json.dumps(event, default=str, ensure_ascii=False).encode(errors="replace").decode()
    # Lines are often read as they are, on a terminal.
    return escaped(text)


class _LineHandler(logging.StreamHandler[Any]):
    """Writes lines; what cannot be made one is told in one, and not as a raw stack between them."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Tells which place in the code logs what cannot be written; never what that was."""
        error = sys.exc_info()[1]
        told = {
            "event": "log.bug",
            "level": "error",
            "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "logger": record.name,
            "where": f"{record.pathname}:{record.lineno}",
            "error": "" if error is None else type(error).__name__,
        }
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(_json(told) + self.terminator)
