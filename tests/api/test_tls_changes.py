"""Certificates that change while many connect: gRPC swaps them without a lock, and a process must live through it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.certificates import NEEDS_OPENSSL, self_signed

CHANGE_COUNT = 100
SIDECAR = """
import asyncio, contextlib, socket, sys, threading, time
from pathlib import Path
import grpc
from turnout_server.api.tls import Handshakes, Tls

tls = Tls(certificate=Path(sys.argv[1]).read_bytes(), key=Path(sys.argv[2]).read_bytes())
done = threading.Event()

def connect(port):
    while not done.is_set():
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                with contextlib.suppress(OSError):
                    stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        time.sleep(0.001)

async def main():
    handshakes = Handshakes(tls)
    server = grpc.aio.server()
    port = server.add_secure_port("127.0.0.1:0", handshakes.credentials())
    await server.start()
    threads = [threading.Thread(target=connect, args=(port,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(int(sys.argv[3])):
        handshakes.renew(tls)
        await asyncio.sleep(0.15)
    done.set()
    for thread in threads:
        thread.join()
    await server.stop(None)

asyncio.run(main())
print("alive")
"""


@pytest.mark.full
@NEEDS_OPENSSL
def test_a_process_lives_through_changes_of_its_certificate_under_many_new_connections(tmp_path: Path) -> None:
    pair = self_signed(tmp_path, "server")
    command = [sys.executable, "-c", SIDECAR, str(pair.cert_file), str(pair.key_file), str(CHANGE_COUNT)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=110)  # noqa: S603 - our own

    assert (ended.returncode, ended.stdout) == (0, "alive\n")
