"""A sidecar that is told to stop while it still starts ends well, and at once."""

from __future__ import annotations

import signal
import subprocess
import sys

STARTING = """
import turnout_server.commands.early_stop as early
early.stop_while_starting()
print("starting", flush=True)
try:
    while True:
        try:
            input()
        except Exception:
            pass
except BaseException:
    print("an import could have caught this", flush=True)
"""


def test_a_stop_while_it_starts_ends_it_with_0_and_passes_through_nobody() -> None:
    with subprocess.Popen(  # noqa: S603 - our own words
        [sys.executable, "-c", STARTING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "starting\n"
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=60)
        rest = process.stdout.read()

    assert (code, rest) == (0, "")
