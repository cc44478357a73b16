"""One JSON object a line, with the trace of the call and without anything secret."""

import io
import logging
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import structlog
from opentelemetry import context as trace_context

from turnout_server.telemetry.logs import REDACTED, LogFormat, LogLevel, configure_logging, redact_text
from turnout_server.telemetry.tracing import parse

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def logged(stream: io.StringIO) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


def test_each_event_is_one_json_object_on_one_line() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    structlog.get_logger().info("breaker.opened", target="openai/gpt-4o", open_seconds=5.0, text="two\nlines")

    [event] = logged(stream)

    assert event["event"] == "breaker.opened"
    assert event["level"] == "info"
    assert event["open_seconds"] == 5.0


def test_events_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    configure_logging(level=LogLevel.WARNING, stream=stream)
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")

    assert [event["event"] for event in logged(stream)] == ["loud"]


def test_a_terminal_gets_readable_lines() -> None:
    stream = Terminal()
    configure_logging(stream=stream)
    structlog.get_logger().info("started")

    assert "started" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_what_libraries_log_comes_in_the_same_form() -> None:
    stream = io.StringIO()
    configure_logging(log_format=LogFormat.JSON, stream=stream)
    logging.getLogger("some.library").warning("odd %s", "thing")

    [event] = logged(stream)

    assert (event["event"], event["logger"]) == ("odd thing", "some.library")


def test_the_trace_of_the_call_stands_in_every_event() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    token = trace_context.attach(parse({"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01"}))
    structlog.get_logger().info("within")
    trace_context.detach(token)
    structlog.get_logger().info("outside")

    within, outside = logged(stream)

    assert (within["trace_id"], within["span_id"]) == (TRACE_ID, "b7ad6b7169203331")
    assert "trace_id" not in outside


def test_secrets_are_taken_out_by_key_and_by_shape_at_every_depth() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    secret = "sk-ant-api03-0123456789abcdef"
    structlog.get_logger().info(
        "call", api_key="plain", nested={"Authorization": "Basic xyz", "list": [f"key is {secret}"]}, input_tokens=5
    )
    structlog.get_logger().error("failed", exc_info=ValueError(secret))

    call, failed = logged(stream)

    assert secret not in stream.getvalue()
    assert call["api_key"] == REDACTED
    assert call["nested"] == {"Authorization": REDACTED, "list": [f"key is {REDACTED}"]}
    assert call["input_tokens"] == 5
    assert "ValueError" in failed["exception"]


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghijkl",
        "gsk_abcdefghijkl",
        "csk-abcdefghijkl",
        "xai-abcdefghijkl",
        "AIzaSyabcdefghijklmnop",
        "Bearer abcdefghijkl",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
    ],
)
def test_keys_are_known_by_their_shape(secret: str) -> None:
    assert redact_text(f"before {secret} after") == f"before {REDACTED} after"


def test_a_password_in_a_url_is_taken_out() -> None:
    assert redact_text("http://user:pass@proxy:3128/") == f"http://{REDACTED}@proxy:3128/"
