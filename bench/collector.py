"""A collector that takes what comes and keeps nothing, in a process of its own, whose work delays nobody's call.

Run as `python -m bench.collector`: it prints its port, and ends with its standard input.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager

import grpc

from bench.processes import started

_SERVICES = (
    "opentelemetry.proto.collector.trace.v1.TraceService",
    "opentelemetry.proto.collector.metrics.v1.MetricsService",
)


@contextmanager
def collector() -> Iterator[str]:
    """Starts one; yields its endpoint, for OTLP over gRPC."""
    with started([sys.executable, "-m", "bench.collector"], stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"


def main() -> None:
    """Collects until standard input ends."""
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")
    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers(
        tuple(grpc.method_handlers_generic_handler(service, {"Export": handler}) for service in _SERVICES)
    )
    sys.stdout.write(f"{server.add_insecure_port('127.0.0.1:0')}\n")
    sys.stdout.flush()
    server.start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
