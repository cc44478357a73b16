"""Makes one request within a span of OpenTelemetry's, so that the sidecar's spans stand below the application's own.

    TRACEPARENT=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 python one_trace.py "What is a turnout?"

The same program is there in Go, TypeScript and Java; `one_trace_of_four.py` runs all four within one trace. TRACEPARENT
and TRACESTATE say whose trace it is; without them, or where they are malformed, a new one begins. The span goes by
OTLP over gRPC to OTEL_EXPORTER_OTLP_ENDPOINT, else http://localhost:4317; the answer does not wait for it. The client
passes on the span that is current: there is nothing to be done for that. The answer comes as one line of JSON with
`language`, `target`, `decision_id` and `text`. The sidecar is found as every client finds it: TURNOUT_ADDRESS, else
127.0.0.1:50151. Exit codes: 0 an answer, 1 failure, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import turnout

LABELS = {"example": "one_trace"}
"""What the four programs say of their caller."""


def parent_context() -> Context:
    """Returns the context of whoever started this process; one without a span where that did not say."""
    carrier = {name.lower(): os.environ.get(name, "") for name in ("TRACEPARENT", "TRACESTATE")}
    return TraceContextTextMapPropagator().extract(carrier, Context())


def ask(client: turnout.Client, prompt: str) -> turnout.Answer:
    """Makes the request that all four programs make."""
    return client.execute(prompt, task="chat", caller=turnout.Caller(labels=LABELS))


def main() -> int:
    """Asks one question."""
    parser = argparse.ArgumentParser(prog="one_trace", description=__doc__)
    parser.add_argument("prompt")
    given = parser.parse_args()
    if not given.prompt:
        parser.error("the prompt is empty")
    spans = TracerProvider(resource=Resource.create({"service.name": "one-trace-python"}))
    spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    tracer = spans.get_tracer("one_trace")
    try:
        with turnout.Client() as client, tracer.start_as_current_span("ask", parent_context()):
            answer = ask(client, given.prompt)
    except turnout.TurnoutError as error:
        sys.stderr.write(f"one_trace: {error}\n")
        return 1
    except ValueError as error:
        sys.stderr.write(f"one_trace: {error}\n")
        return 2
    else:
        told = {
            "language": "python",
            "target": turnout.target_name(answer.target),
            "decision_id": answer.decision.decision_id,
            "text": answer.text,
        }
        sys.stdout.write(f"{json.dumps(told)}\n")
        sys.stdout.flush()
        return 0
    finally:
        # Sends what is left.
        spans.shutdown()


if __name__ == "__main__":
    sys.exit(main())
