"""One JSON object a line on stderr, a readable line on a terminal, and nothing secret in either.

Everything that logs, libraries included, ends up here. Credentials are taken out twice: by the name of the key they
stand under, and by the shape that vendors give their keys, wherever it appears in a text.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from enum import StrEnum
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import Processor

from turnout_server.telemetry.tracing import trace_ids

REDACTED = "[redacted]"
MAX_DEPTH = 6
CHATTY = ("aiohttp.access", "httpx", "httpcore", "asyncio")
"""aiohttp's and httpx's lines at INFO are one per request and may hold URLs."""

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

_SECRET_SHAPES = re.compile(
    r"""
    (?:sk|pk|rk)-[A-Za-z0-9_-]{8,}          # openai sk-proj-…, anthropic sk-ant-…, openrouter sk-or-…, kimi sk-…
    | gsk_[A-Za-z0-9]{8,}                   # groq
    | csk-[A-Za-z0-9]{8,}                   # cerebras
    | xai-[A-Za-z0-9]{8,}                   # xai
    | AIza[A-Za-z0-9_-]{16,}                # google
    | eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+   # JSON web tokens
    | (?i:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}
    | (?<=://)[^/\s:@]+:[^/\s@]+(?=@)       # user and password in a URL
    """,
    re.VERBOSE,
)


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


def configure_logging(
    level: LogLevel = LogLevel.INFO, log_format: LogFormat = LogFormat.AUTO, stream: TextIO | None = None
) -> None:
    """Sets up structlog and the standard library's logging to write to `stream` (stderr where None).

    Called once, by whoever starts the process.
    """
    out = stream if stream is not None else sys.stderr
    as_text = log_format is LogFormat.TEXT or (log_format is LogFormat.AUTO and out.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_trace,
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=out.isatty())
        if as_text
        else structlog.processors.JSONRenderer(serializer=_json)
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
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


def add_trace(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Adds `trace_id` and `span_id` of the call under way, where there is one."""
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
    return _SECRET_SHAPES.sub(REDACTED, text)


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
    return orjson.dumps(event, option=orjson.OPT_NON_STR_KEYS, default=str).decode()
