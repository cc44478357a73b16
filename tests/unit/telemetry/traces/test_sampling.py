"""Which calls are recorded: `OTEL_TRACES_SAMPLER` as OpenTelemetry's specification has it, and whose they are."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from contextvars import copy_context

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import get_current_span

from turnout_server.telemetry.otlp.delivery import Delivery
from turnout_server.telemetry.otlp.resource import own_resource
from turnout_server.telemetry.traces.call_spans import NO_SPAN
from turnout_server.telemetry.traces.tracer import Tracing, make_tracing
from turnout_server.telemetry.traces.tracing import outgoing_headers, trace_ids

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SAMPLED, UNSAMPLED = (f"00-{TRACE_ID}-b7ad6b7169203331-{flags}" for flags in ("01", "00"))


class Nowhere:
    """Takes what comes."""

    def deliver(self, message: bytes, span_count: int) -> Delivery:
        del message, span_count
        return Delivery()

    def shutdown(self) -> None:
        pass


class Given(RandomIdGenerator):
    """Gives one trace the id that it is to have."""

    def __init__(self, trace_id: int) -> None:
        self._trace_id = trace_id

    def generate_trace_id(self) -> int:
        return self._trace_id


def tracing_by(monkeypatch: pytest.MonkeyPatch, **environ: str) -> Tracing:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return make_tracing(Nowhere(), environ, structlog.get_logger())


def records(tracing: Tracing, traceparent: str = "", trace_id: int | None = None) -> bool:
    if trace_id is not None:
        tracing = dataclasses.replace(tracing, ids=Given(trace_id))
    metadata = (("traceparent", traceparent),) if traceparent else ()
    # What it makes the current span is so for this call alone.
    return copy_context().run(tracing.begin, "Route", metadata) is not NO_SPAN


@pytest.mark.parametrize(
    ("sampler", "alone", "below_sampled", "below_unsampled"),
    [
        ("", True, True, False),
        ("always_on", True, True, True),
        ("always_off", False, False, False),
        ("parentbased_always_on", True, True, False),
        ("parentbased_always_off", False, True, False),
        ("parentbased_traceidratio", False, True, False),
        ("traceidratio", False, False, False),
    ],
)
def test_samplers_of_the_specification(
    monkeypatch: pytest.MonkeyPatch,
    sampler: str,
    alone: bool,  # noqa: FBT001 - a case
    below_sampled: bool,  # noqa: FBT001 - a case
    below_unsampled: bool,  # noqa: FBT001 - a case
) -> None:
    given = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": "0"} if sampler else {}
    tracing = tracing_by(monkeypatch, **given)

    assert records(tracing) is alone
    assert records(tracing, SAMPLED) is below_sampled
    assert records(tracing, UNSAMPLED) is below_unsampled


@given(ratio=st.floats(0, 1), trace_id=st.integers(1, 2**128 - 1))
def test_a_share_is_decided_by_the_lower_half_of_the_trace_id(ratio: float, trace_id: int) -> None:
    # Every sidecar, and every SDK that has the same share, decides the same for one trace.
    with pytest.MonkeyPatch.context() as patch:
        tracing = tracing_by(patch, OTEL_TRACES_SAMPLER="parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG=repr(ratio))
        recorded = records(tracing, trace_id=trace_id)

    assert recorded is (trace_id % 2**64 < round(ratio * 2**64))


@pytest.mark.parametrize("sampler", ["jaeger_remote", "half_of_them"])
def test_a_sampler_that_nobody_knows_is_told_and_the_default_holds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, sampler: str
) -> None:
    with caplog.at_level(logging.WARNING):
        tracing = tracing_by(monkeypatch, OTEL_TRACES_SAMPLER=sampler)

    assert [records(tracing), records(tracing, UNSAMPLED)] == [True, False]
    assert sampler in caplog.text


@pytest.mark.parametrize("share", ["half", "1.5", "-1", "nan", ""])
def test_a_share_that_is_none_is_told_and_all_are_recorded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, share: str
) -> None:
    with caplog.at_level(logging.WARNING):
        tracing = tracing_by(monkeypatch, OTEL_TRACES_SAMPLER="parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG=share)

    assert records(tracing, trace_id=2**64 - 1)
    assert "TRACES_SAMPLER_ARG" in caplog.text


async def test_a_call_that_is_not_recorded_has_an_identity_that_is_made_once_when_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tracing = tracing_by(monkeypatch, OTEL_TRACES_SAMPLER="always_off")
    seen = []

    async def asked() -> None:
        assert tracing.begin("Route", ()) is NO_SPAN
        seen.append((dict(outgoing_headers())["traceparent"], trace_ids()))
        assert seen[-1] == (dict(outgoing_headers())["traceparent"], trace_ids())
        assert "UnrecordedSpan" in repr(get_current_span())

    # Each in a context of its own, as calls are.
    await asyncio.gather(asked(), asked())

    assert [header.rpartition("-")[2] for header, _ in seen] == ["02", "02"]
    assert len({header for header, _ in seen}) == 2


def test_spans_and_metrics_are_of_one_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_RESOURCE_ATTRIBUTES", raising=False)
    first, second = own_resource({}).attributes, own_resource({}).attributes

    assert first["service.instance.id"] == second["service.instance.id"]
    assert first["service.name"] == "turnout"
    assert first["service.version"]


def test_what_the_environment_says_of_the_resource_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"OTEL_SERVICE_NAME": "mine", "OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=pod-1,service.version=7"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    attributes = own_resource(given).attributes

    assert attributes["service.name"] == "mine"
    assert attributes["service.instance.id"] == "pod-1"
