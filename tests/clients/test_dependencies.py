"""The client stays small: what `import turnout` and a new client bring in beside its three dependencies."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
import grpc.aio, google.protobuf.message, google.rpc.status_pb2
before = {name.partition(".")[0] for name in sys.modules}
sys.modules["opentelemetry"] = None
import turnout
turnout.Client("127.0.0.1:1").close()
loaded = {name.partition(".")[0] for name in sys.modules}
print(*sorted(loaded - before - set(sys.stdlib_module_names)))
"""


def test_the_client_loads_nothing_but_grpc_and_protobuf_and_works_without_opentelemetry() -> None:
    outcome = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60
    )

    assert outcome.stdout.split() == ["opentelemetry", "turnout"]
