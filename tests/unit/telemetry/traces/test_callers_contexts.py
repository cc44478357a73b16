"""Trace contexts as callers send them, by the rules of W3C Trace Context (level 2), one by one."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
from opentelemetry import context as trace_context
from opentelemetry import trace
from opentelemetry.trace import SpanContext

from turnout_server.telemetry.logs.logs import LogFormat, LogLevel, configure_logging
from turnout_server.telemetry.traces.tracing import carrier_of, outgoing_headers, parse

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
Metadata = list[tuple[str, str | bytes]]


def read(metadata: Metadata) -> SpanContext:
    carrier = carrier_of(metadata)
    return trace.get_current_span(parse(carrier or {})).get_span_context()


def passed_on(metadata: Metadata) -> dict[str, str]:
    token = trace_context.attach(parse(carrier_of(metadata) or {}))
    try:
        return dict(outgoing_headers())
    finally:
        trace_context.detach(token)


@pytest.mark.parametrize(
    ("traceparent", "flags"),
    [
        (PARENT, 1),
        (f"00-{TRACE}-{SPAN}-00", 0),
        (f"00-{TRACE}-{SPAN}-03", 3),
        (f"00-{TRACE}-{SPAN}-02", 2),
        # Flags that version 00 does not have are none.
        (f"00-{TRACE}-{SPAN}-ff", 3),
        (f"00-{TRACE}-{SPAN}-08", 0),
        (f"00-{TRACE}-{SPAN}-09", 1),
        # Later versions are read as far as they are like 00.
        (f"01-{TRACE}-{SPAN}-01", 1),
        (f"01-{TRACE}-{SPAN}-01-what-the-future-brings", 1),
        (f"cc-{TRACE}-{SPAN}-01-", 1),
        (f"fe-{TRACE}-{SPAN}-00-x", 0),
        # HTTP drops white space around a value.
        (f" \t{PARENT} ", 1),
        # The least that an id can be.
        (f"00-{'0' * 31}1-{'0' * 15}1-01", 1),
    ],
)
def test_a_callers_parent_is_taken(traceparent: str, flags: int) -> None:
    found = read([("traceparent", traceparent)])

    assert found.is_valid
    assert found.is_remote
    assert found.trace_flags == flags
    assert f"{found.trace_id:032x}-{found.span_id:016x}" in traceparent
    # Whatever version it came in, it is passed on in ours.
    assert passed_on([("traceparent", traceparent)]) == {
        "traceparent": f"00-{found.trace_id:032x}-{found.span_id:016x}-{flags:02x}"
    }


MALFORMED = (
    "",
    "00",
    "nonsense",
    f"ff-{TRACE}-{SPAN}-01",
    f"00-{'0' * 32}-{SPAN}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"00-{TRACE.upper()}-{SPAN}-01",
    f"00-{TRACE}-{SPAN.upper()}-01",
    f"00-{TRACE}-{SPAN}-0A",
    f"0A-{TRACE}-{SPAN}-01",
    f"00-{TRACE[:-1]}-{SPAN}-01",
    f"00-{TRACE}0-{SPAN}-01",
    f"00-{TRACE}-{SPAN[:-1]}-01",
    f"00-{TRACE}-{SPAN}0-01",
    f"00-{TRACE}-{SPAN}-1",
    f"00-{TRACE}-{SPAN}-001",
    f"00-{TRACE}-{SPAN}",
    f"00-{TRACE}-{SPAN}-",
    f"00-{TRACE}-{SPAN}-01-",
    f"00-{TRACE}-{SPAN}-01-extra",
    f"01-{TRACE}-{SPAN}-01.extra",
    f"0-{TRACE}-{SPAN}-01",
    f"000-{TRACE}-{SPAN}-01",
    f"00_{TRACE}_{SPAN}_01",
    f"00-{'g' * 32}-{SPAN}-01",
    f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01",
    f"01-{TRACE}-{SPAN}-01-" + "x" * 600,
)


@pytest.mark.parametrize("traceparent", MALFORMED)
def test_a_malformed_parent_is_none(traceparent: str) -> None:
    metadata: Metadata = [("traceparent", traceparent), ("tracestate", "a=b")]

    assert not read(metadata).is_valid
    # A state without its parent says nothing.
    assert passed_on(metadata) == {}


@pytest.mark.parametrize("version", ["00", "01"])
def test_two_parents_are_none(version: str) -> None:
    one, other = f"{version}-{TRACE}-{SPAN}-01", f"{version}-{TRACE}-{SPAN[::-1]}-01"

    assert not read([("traceparent", one), ("traceparent", other)]).is_valid
    # Not even where they would agree, or where the second looks like the first's future fields.
    assert not read([("traceparent", one), ("traceparent", one)]).is_valid
    assert not read([("traceparent", f"{version}-{TRACE}-{SPAN}-01-x"), ("traceparent", one)]).is_valid


MANY = [f"k{number}={number}" for number in range(32)]


@pytest.mark.parametrize(
    ("tracestate", "kept"),
    [
        (["a=b"], "a=b"),
        (["a=b,c=d"], "a=b,c=d"),
        # Several headers are one list, in their order.
        (["rojo=1", "congo=2", "k=3"], "rojo=1,congo=2,k=3"),
        ([" a=b \t,\t c=d "], "a=b,c=d"),
        # Empty members are allowed.
        (["a=b,,c=d,", ","], "a=b,c=d"),
        (["tenant@system=x", "a*b/c_d-e=y"], "tenant@system=x,a*b/c_d-e=y"),
        (["a= b c"], "a= b c"),
        ([",".join(MANY)], ",".join(MANY)),
        ([f"{'k' * 256}={'v' * 256}"], f"{'k' * 256}={'v' * 256}"),
        # All of a state is given up where a part of it cannot be read: a vendor's half would be wrong.
        ([",".join([*MANY, "one=more"])], None),
        (["a=b,a=c"], None),
        (["a=b", "a=c"], None),
        (["a=b,nonsense"], None),
        (["A=b"], None),
        (["a=b,=c"], None),
        (["a b=c"], None),
        (["a==="], None),
        (["a=b\x7f"], None),
        ([f"{'k' * 257}=v"], None),
        ([f"k={'v' * 257}"], None),
        ([",".join(f"k{number}={'v' * 256}" for number in range(32))], None),
        ([""], None),
    ],
)
def test_a_state_is_taken_whole_or_not_at_all(tracestate: list[str], kept: str | None) -> None:
    metadata: Metadata = [("traceparent", PARENT), *(("tracestate", one) for one in tracestate)]

    assert read(metadata).is_valid
    expected = {"traceparent": PARENT} if kept is None else {"traceparent": PARENT, "tracestate": kept}
    assert passed_on(metadata) == expected


@pytest.mark.parametrize("baggage", ["user=7", "a=1,b=2;ttl=30", ",;,", "x" * 9000, "ä=ü"])
def test_baggage_is_left_alone(baggage: str) -> None:
    assert passed_on([("traceparent", PARENT), ("baggage", baggage), ("baggage", "b=2")]) == {"traceparent": PARENT}
    assert carrier_of([("baggage", baggage)]) is None


def test_other_metadata_and_bytes_are_not_looked_at() -> None:
    assert carrier_of(None) is None
    assert carrier_of([("authorization", "Bearer x"), ("grpc-trace-bin", b"\0")]) is None
    assert carrier_of([("traceparent", PARENT.encode())]) is None


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    written = io.StringIO()
    configure_logging(LogLevel.INFO, LogFormat.JSON, written)
    try:
        yield written
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def test_what_callers_send_is_not_written_into_the_log(log: io.StringIO) -> None:
    for traceparent in (*MALFORMED, PARENT):
        read([("traceparent", traceparent), ("tracestate", "Quoted=by a library,"), ("baggage", "quoted too;=,ä=1")])
    read([("traceparent", PARENT), ("tracestate", ",".join([*MANY, "one=more"])), ("baggage", "x" * 9000)])

    assert log.getvalue() == ""
