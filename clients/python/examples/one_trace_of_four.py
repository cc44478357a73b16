"""Begins one trace and has the clients of four languages make the same request within it.

    python one_trace_of_four.py "What is a turnout?"
    python one_trace_of_four.py --language python --language go "What is a turnout?"

It runs `one_trace.py` and its like in Go, TypeScript and Java, one after the other, in a checkout in which the clients
are built; each gets its parent in TRACEPARENT, which is how a process hands its trace to one that it starts. Their
answers, a line of JSON each, go to stdout, the id of the trace to stderr. The spans of all go by OTLP over gRPC to
OTEL_EXPORTER_OTLP_ENDPOINT, else http://localhost:4317; have the sidecar send its own there too. Exit codes: 0 every
language answered, 1 one did not, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

CLIENTS = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The example of one language: `command` runs it in `folder`, after `build` was run there; "" for nothing to do."""

    folder: Path
    command: Sequence[str]
    build: str = ""


JARS = os.pathsep.join(["examples/target/turnout-examples.jar", "examples/target/lib/*"])
PROGRAMS: Mapping[str, Program] = {
    "python": Program(folder=CLIENTS / "python" / "examples", command=[sys.executable, "one_trace.py"]),
    "go": Program(folder=CLIENTS / "go" / "examples" / "onetrace", command=["go", "run", "."]),
    "typescript": Program(
        folder=CLIENTS / "typescript",
        command=["node", ".build/examples/one-trace.js"],
        build="npm ci && npm run build",
    ),
    "java": Program(
        folder=CLIENTS / "java",
        command=["java", "-cp", JARS, "dev.turnout.examples.OneTrace"],
        build="mvn package -DskipTests",
    ),
}


def complaint(program: Program, prompt: str, context: Mapping[str, str]) -> str:
    """Runs one program with its parent in the environment; returns what went wrong, "" where nothing did."""
    environment = {**os.environ, **{name.upper(): value for name, value in context.items()}}
    try:
        ended = subprocess.run([*program.command, prompt], cwd=program.folder, env=environment, check=False)  # noqa: S603 - our own examples
    except OSError as error:
        return f"{program.command[0]} cannot be run: {error.strerror}"
    if ended.returncode == 0:
        return ""
    built = f"; is it built? In {program.folder}: {program.build}" if program.build else ""
    return f"it ended with {ended.returncode}{built}"


def main() -> int:
    """Runs the programs within one span."""
    parser = argparse.ArgumentParser(prog="one_trace_of_four", description=__doc__)
    parser.add_argument("prompt")
    parser.add_argument("--language", action="append", choices=PROGRAMS, help="one of them, or several; all else")
    given = parser.parse_args()
    spans = TracerProvider(resource=Resource.create({"service.name": "one-trace"}))
    spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    failed = False
    with spans.get_tracer("one_trace_of_four").start_as_current_span("the same request in each language") as span:
        context: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(context)
        for language in given.language or PROGRAMS:
            why = complaint(PROGRAMS[language], given.prompt, context)
            if why:
                failed = True
                span.set_status(StatusCode.ERROR, f"{language} did not answer")
                sys.stderr.write(f"{language}: {why}\n")
    # Sends what is left.
    spans.shutdown()
    sys.stderr.write(f"one trace: {span.get_span_context().trace_id:032x}\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
