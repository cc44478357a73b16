"""One JSON object a line, with the trace of the call and without anything secret."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import structlog
from opentelemetry import context as trace_context

from turnout_server.execution.under_way import decision_under_way
from turnout_server.telemetry.logs.logs import REDACTED, LogFormat, LogLevel, configure_logging, redact_text
from turnout_server.telemetry.traces.tracing import parse

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


def test_a_terminal_gets_readable_lines_that_are_aligned_and_hold_no_control_characters() -> None:
    stream = Terminal()
    configure_logging(stream=stream, environ={"NO_COLOR": "1"})
    structlog.get_logger().info("breaker.opened", target="a/b", open_seconds=5.39611111, note="two\nlines \x1b[31m")
    structlog.get_logger().info("a", note="\x9b2J \u202e", listed=["\x9b2J", "\udcff"])
    structlog.get_logger().warning("a", empty="", providers=["a", "b"], count=3)
    first, third, second = stream.getvalue().split("\n")[:-1]

    assert first[20:] == (
        r' [info     ] breaker.opened       note="two\nlines \u001b[31m" open_seconds=5.39611 target=a/b'
    )
    assert second[20:] == ' [warning  ] a                    count=3 empty="" providers=["a","b"]'
    # Some terminals obey these as well, and others turn the line around.
    assert third[20:] == r' [info     ] a                    listed=["\u009b2J", "\udcff"] note="\u009b2J \u202e"'
    assert first[10] == " "
    assert first[19] == "Z"


@pytest.mark.parametrize(
    ("stream", "environ", "coloured"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_only_a_terminal_that_wants_them_gets_colours(
    stream: io.StringIO, environ: dict[str, str], *, coloured: bool
) -> None:
    configure_logging(log_format=LogFormat.TEXT, stream=stream, environ=environ)
    structlog.get_logger().info("started", a=1)

    assert ("\x1b[" in stream.getvalue()) is coloured


def test_a_terminal_gets_a_stack_as_it_is() -> None:
    stream = Terminal()
    configure_logging(stream=stream, environ={"NO_COLOR": "1"})
    structlog.get_logger().error("failed", exc_info=AttributeError("no such thing"))

    assert stream.getvalue().splitlines()[1:] == ["AttributeError: no such thing"]


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


def test_the_decision_of_the_call_stands_in_every_event_that_names_no_other() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    token = decision_under_way.set("d-1")
    structlog.get_logger().info("within")
    structlog.get_logger().info("other", decision_id="d-2")
    logging.getLogger("library").warning("odd")
    decision_under_way.reset(token)
    structlog.get_logger().info("outside")

    assert [line.get("decision_id") for line in logged(stream)] == ["d-1", "d-2", "d-1", None]


def test_what_json_cannot_hold_is_written_all_the_same() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    structlog.get_logger().info("odd", number=2**70, file="a\udc80")

    assert [(line["number"], line["file"]) for line in logged(stream)] == [(float(2**70), "a?")]


def test_a_stack_says_where_from_and_quotes_nothing() -> None:
    def fails() -> None:
        int("a whole prompt")

    stream = io.StringIO()
    configure_logging(stream=stream)
    try:
        try:
            fails()
        except ValueError:
            raise ExceptionGroup("a group", [KeyError("a prompt"), OSError(2, "No such file")]) from None
    except ExceptionGroup as error:
        error.__cause__ = None
        error.__suppress_context__ = False
        structlog.get_logger().error("failed", exc_info=error)
    [line] = logged(stream)
    lines = line["exception"].splitlines()

    assert "in fails" in line["exception"]
    assert "ValueError" in lines
    assert "During handling of the above exception, another exception occurred:" in lines
    assert "ExceptionGroup" in lines
    assert lines[-4:] == ["  1:", "    KeyError", "  2:", "    FileNotFoundError: [Errno 2] No such file"]
    assert "ValueError: " not in line["exception"]


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


def test_what_only_begins_like_a_token_is_kept_and_keys_within_it_are_not() -> None:
    assert redact_text("eyJhbGciOiJIUzI1NiJ9 eyJhbGciOiJIUzI1NiJ9.a eyJ") == (
        "eyJhbGciOiJIUzI1NiJ9 eyJhbGciOiJIUzI1NiJ9.a eyJ"
    )
    assert redact_text("eyJhbGciOiJIUzI1_sk-abcdefghijkl.") == f"eyJhbGciOiJIUzI1_{REDACTED}."
    assert redact_text("x://eyJhbGciOiJIUzI1:pass@host") == f"x://{REDACTED}@host"


def test_a_text_full_of_beginnings_of_tokens_is_read_once() -> None:
    # Looking for a token from each of them would take hours.
    assert redact_text("eyJ" * 1_000_000) == "eyJ" * 1_000_000


def test_lines_of_json_hold_nothing_that_a_terminal_obeys_and_say_the_same() -> None:
    stream = io.StringIO()
    configure_logging(log_format=LogFormat.JSON, stream=stream)
    said = "\x1b[2J \x9b2J \u202e é 😀 \U000e0041"
    structlog.get_logger().info("a", task=said)
    line = stream.getvalue().rstrip("\n")

    assert not {"\x1b", "\x9b", "\u202e"} & set(line)
    assert "é 😀" in line
    assert json.loads(line)["task"] == said


@pytest.mark.parametrize("name", ["risk-assessment", "network-fallback-2", "task-summarize", "a/park-and-ride"])
def test_names_that_words_are_joined_in_are_no_keys(name: str) -> None:
    assert redact_text(f"policy {name}") == f"policy {name}"


def test_a_key_behind_a_letter_is_known_by_its_length_and_digits() -> None:
    assert redact_text(r"{\"a\":\"\nsk-ant-api03-abcdefghijklmnop\"}") == rf"{{\"a\":\"\n{REDACTED}\"}}"


def test_a_password_in_a_url_is_taken_out() -> None:
    assert redact_text("http://user:pass@proxy:3128/") == f"http://{REDACTED}@proxy:3128/"
