"""A call that fails over, and a plan that is reported on, read back from a real Jaeger: it says why, by itself."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.cli.jaeger import Jaeger, jaeger, parent, tags
from tests.cli.processes import configuration, serving
from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CALLERS_SPAN = "b7ad6b7169203331"
CALL_SECONDS = 60
PIECES = (
    {"id": "r-1", "model": "large-7", "choices": [{"index": 0, "delta": {"content": "Hello"}}]},
    {"id": "r-1", "model": "large-7", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"id": "r-1", "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}},
)
WHOLE = {
    **{name: value for name, value in PIECES[2].items() if name != "choices"},
    "model": "large-7",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
}


class Provider(BaseHTTPRequestHandler):
    """Providers: /down is overloaded, /up answers, /cut breaks off, /slow waits. Keeps the headers of each request."""

    protocol_version = "HTTP/1.1"
    seen: dict[str, dict[str, str]]
    held: threading.Event

    def do_POST(self) -> None:
        which = self.path.split("/")[1]
        self.seen[which] = {name.lower(): value for name, value in self.headers.items()}
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if which == "down":
            self._answer(503, "application/json", b'{"error": {"message": "overloaded", "type": "overloaded"}}')
        elif which == "slow":
            self.held.wait(CALL_SECONDS)
        elif which == "cut":
            self.close_connection = True
            self._answer(200, "text/event-stream", f"data: {json.dumps(PIECES[0])}\n\n".encode(), missing=100)
        elif asked.get("stream"):
            lines = [f"data: {json.dumps(piece)}\n\n" for piece in PIECES]
            self._answer(200, "text/event-stream", "".join([*lines, "data: [DONE]\n\n"]).encode())
        else:
            self._answer(200, "application/json", json.dumps(WHOLE).encode())

    def _answer(self, status: int, kind: str, body: bytes, missing: int = 0) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body) + missing))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def providers() -> Iterator[tuple[str, dict[str, dict[str, str]]]]:
    seen: dict[str, dict[str, str]] = {}
    held = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("All", (Provider,), {"seen": seen, "held": held}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        held.set()
        server.shutdown()
        thread.join()
        server.server_close()


def providers_block(base_url: str, **order: str) -> str:
    """Two, `down` and `up`, or those of `order`, each with a model of its own name."""
    model = "context_window_tokens: 128000, max_output_tokens: 8192, capabilities: [STREAMING], "
    model += "price: {input_per_million_usd: 1, output_per_million_usd: 2}"
    if order:
        blocks = "".join(
            f"""
  {name}: {{wire: openai, base_url: "{base_url}/{name}/v1", allow_insecure: true, allow_private: true,
           models: [{{name: {name}, quality: 80, latency_prior_seconds: 0.1, {model}}}]}}"""
            for name in order.values()
        )
        return f"""
routing: {{provider_order: [{", ".join(order.values())}], policies: {{default: {{strategy: PRIORITY}}}}}}
providers: {blocks}
"""
    return f"""
routing: {{default_policy: fixed, policies: {{fixed: {{strategy: PRIORITY}}}}}}
providers:
  down: {{wire: openai, base_url: "{base_url}/down/v1", allow_insecure: true, allow_private: true,
         models: [{{name: first, quality: 90, {model}}}]}}
  up: {{wire: openai, base_url: "{base_url}/up/v1", allow_insecure: true, allow_private: true, propagate_trace: true,
       models: [{{name: second, quality: 80, {model}}}]}}
"""


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    with jaeger(tmp_path_factory.mktemp("jaeger")) as running:
        yield running


def exported(collector: Jaeger, protocol: str) -> dict[str, str]:
    """What the environment says for each protocol: an endpoint of traces alone, or a base that gets their path."""
    if protocol == "grpc":
        return {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collector.endpoint}
    return {
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.http_endpoint,
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_METRICS_EXPORTER": "none",
    }


@pytest.mark.full
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_failover_and_a_report_can_be_read_in_jaeger_alone(collector: Jaeger, tmp_path: Path, protocol: str) -> None:
    first_digit = "1" if protocol == "grpc" else "2"
    trace_id, reports_trace_id = first_digit + TRACE_ID[1:], first_digit + TRACE_ID[::-1][1:]
    with providers() as (base_url, seen):
        file = configuration(tmp_path, providers_block(base_url))
        with serving(["serve", "-c", file], exported(collector, protocol)) as server:
            with grpc.insecure_channel(server.address) as channel:
                stub = router_pb2_grpc.RouterServiceStub(channel)
                hello = pb.ChatInput(messages=[pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text="Hi")])])
                answer = stub.Execute(pb.ExecuteRequest(input=hello), metadata=metadata(trace_id), timeout=CALL_SECONDS)
                plan = stub.Route(pb.RouteRequest(), timeout=CALL_SECONDS).decision
                outcome = pb.Outcome(
                    decision_id=plan.decision_id, attempt_id="mine", target=plan.candidates[0].target, ok=True
                )
                stub.ReportOutcome(
                    pb.ReportOutcomeRequest(outcomes=[outcome]),
                    metadata=metadata(reports_trace_id),
                    timeout=CALL_SECONDS,
                )
            # What waits for its batch is sent before the end.
            assert server.stop() == 0, "".join(server.log)

        executed = collector.spans(trace_id, 5)
        reported = collector.spans(reports_trace_id, 2)

    again = next(span for span in executed if "turnout.decision.hop" in tags(span))
    by_name = {span["operationName"]: span for span in executed if span is not again}
    assert sorted(by_name) == sorted(
        ["turnout.v1.RouterService/Execute", "turnout.decide", "chat first", "chat second"]
    )
    assert again["operationName"] == "turnout.decide"
    assert parent(again) == by_name["turnout.v1.RouterService/Execute"]["spanID"]
    assert tags(again)["turnout.decision.cause"] == "down/first failed: OVERLOADED"
    assert json.loads(tags(again)["turnout.candidates.targets"]) == ["up/second"]
    call = by_name["turnout.v1.RouterService/Execute"]
    assert parent(call) == CALLERS_SPAN
    assert {parent(span) for name, span in by_name.items() if span is not call} == {call["spanID"]}
    assert tags(call)["rpc.status_code"] == "OK"
    assert tags(call)["span.kind"] == "server"

    decide = tags(by_name["turnout.decide"])
    assert decide["turnout.decision.id"] == answer.decision.decision_id
    assert decide["turnout.decision.chosen"] == "down/first"
    assert decide["turnout.decision.policy"] == "fixed"
    assert decide["turnout.decision.reason"]
    assert json.loads(decide["turnout.candidates.targets"]) == ["down/first", "up/second"]
    for name in ("scores", "expected_seconds", "expected_cost_usd", "health"):
        assert len(json.loads(decide[f"turnout.candidates.{name}"])) == 2
    assert [fields(log)["event"] for log in by_name["turnout.decide"]["logs"]] == ["turnout.candidate"] * 2

    first, second = by_name["chat first"], by_name["chat second"]
    assert tags(first).items() >= {"error.type": "overloaded", "error": True, "span.kind": "client"}.items()
    assert (
        tags(second).items()
        >= {
            "gen_ai.request.model": "second",
            "gen_ai.response.model": "large-7",
            "gen_ai.usage.input_tokens": 10,
            "gen_ai.usage.output_tokens": 5,
            "server.address": "127.0.0.1",
            "turnout.attempt.number": 2,
        }.items()
    )
    assert first["startTime"] <= second["startTime"]
    # Only the one that is configured so is told the trace, and none the baggage.
    assert seen["up"]["traceparent"] == f"00-{trace_id}-{second['spanID']}-01"
    assert seen["up"]["tracestate"] == "vendor=x"
    assert not {"traceparent", "tracestate"} & set(seen["down"])
    assert "baggage" not in {*seen["up"], *seen["down"]}

    report = next(span for span in reported if span["operationName"] == "turnout.report")
    assert tags(report)["turnout.decision.id"] == plan.decision_id
    linked = [r for r in report["references"] if r["refType"] == "FOLLOWS_FROM"]
    (planned,) = (
        span for span in collector.spans(linked[0]["traceID"], 2) if span["operationName"] == "turnout.decide"
    )
    assert planned["spanID"] == linked[0]["spanID"]
    assert tags(planned)["turnout.decision.id"] == plan.decision_id


@pytest.mark.full
def test_a_stream_that_begins_anew_and_a_hedge_can_be_read_in_jaeger_alone(collector: Jaeger, tmp_path: Path) -> None:
    restarted_id, hedged_id = "3" + TRACE_ID[1:], "4" + TRACE_ID[1:]
    hello = pb.ChatInput(messages=[pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text="Hi")])])
    with providers() as (base_url, _):
        file = configuration(tmp_path, providers_block(base_url, first="cut", second="slow", third="up"))
        with serving(["serve", "-c", file], {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}) as server:
            with grpc.insecure_channel(server.address) as channel:
                stub = router_pb2_grpc.RouterServiceStub(channel)
                restarting = pb.RoutingOptions(exclude=["slow"], mid_stream=pb.MID_STREAM_POLICY_RESTART)
                stream = stub.ExecuteStream(
                    pb.ExecuteStreamRequest(input=hello, options=restarting),
                    metadata=metadata(restarted_id),
                    timeout=CALL_SECONDS,
                )
                events = [message.WhichOneof("event") for message in stream]
                hedging = pb.RoutingOptions(exclude=["cut"], hedge=True)
                answer = stub.Execute(
                    pb.ExecuteRequest(input=hello, options=hedging), metadata=metadata(hedged_id), timeout=CALL_SECONDS
                )
            assert server.stop() == 0, "".join(server.log)
        restarted = collector.spans(restarted_id, 5)
        hedged = collector.spans(hedged_id, 5)

    assert "restart" in events
    call, broken, whole = (
        named(restarted, name) for name in ("turnout.v1.RouterService/ExecuteStream", "chat cut", "chat up")
    )
    assert parent(call) == CALLERS_SPAN
    assert {parent(span) for span in restarted if span is not call} == {call["spanID"]}
    assert tags(call)["rpc.status_code"] == "OK"
    assert "error" not in tags(call)
    assert tags(broken).items() >= {"error": True, "error.type": "truncated", "turnout.attempt.number": 1}.items()
    assert tags(whole)["turnout.attempt.number"] == 2
    assert "error" not in tags(whole)
    for span in (broken, whole):
        assert tags(span)["gen_ai.request.stream"] is True
        assert 0 < tags(span)["gen_ai.response.time_to_first_chunk"] <= span["duration"] / 1e6
    # All ends with the stream, and no sooner than the attempts.
    assert ended(call) >= ended(whole) >= ended(broken)
    happened = {fields(log)["event"]: fields(log) for log in call["logs"]}
    assert (
        happened["turnout.restarted"].items()
        >= {
            "turnout.attempt.id": tags(broken)["turnout.attempt.id"],
            "error.type": "truncated",
        }.items()
    )
    (again,) = (tags(span) for span in restarted if "turnout.decision.hop" in tags(span))
    assert again["turnout.decision.cause"] == "cut/cut failed: TRUNCATED"

    assert answer.target.provider == "up"
    call, late, second = (named(hedged, name) for name in ("turnout.v1.RouterService/Execute", "chat slow", "chat up"))
    assert {parent(span) for span in hedged if span is not call} == {call["spanID"]}
    assert late["startTime"] < second["startTime"] < ended(late)
    assert tags(late)["error.type"] == "cancelled"
    assert "error" not in tags(late)
    assert tags(second)["turnout.attempt.hedge"] is True
    assert "turnout.attempt.hedge" not in tags(late)
    assert {fields(log)["event"] for log in call["logs"]} >= {"turnout.hedged"}


def metadata(trace_id: str) -> tuple[tuple[str, str], ...]:
    return (("traceparent", f"00-{trace_id}-{CALLERS_SPAN}-01"), ("tracestate", "vendor=x"), ("baggage", "user=7"))


def named(spans: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (span,) = (span for span in spans if span["operationName"] == name)
    return span


def ended(span: dict[str, Any]) -> int:
    return int(span["startTime"]) + int(span["duration"])


def fields(log: dict[str, Any]) -> dict[str, Any]:
    return {field["key"]: field["value"] for field in log["fields"]}
