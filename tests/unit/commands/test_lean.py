"""A sidecar loads nothing that is only for looks, and nobody else goes without."""

from __future__ import annotations

import subprocess
import sys

SIDECAR = """
import sys
from turnout_server.commands.lean import without_looks
with without_looks():
    import turnout_server.app
print([name for name in ("rich", "pygments") if name in sys.modules])
import rich.console
print(rich.console.Console.__name__)
"""


def test_what_is_for_looks_stays_out_of_a_sidecar_and_can_be_loaded_later() -> None:
    command = [sys.executable, "-c", SIDECAR]
    run = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603  # our own words

    assert run.stdout.splitlines() == ["[]", "Console"]
