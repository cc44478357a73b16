"""What commands leave behind is collected by who inherits it, as the first process of a container does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LIKE_THE_FIRST_PROCESS = """
import asyncio, ctypes, os, pathlib, time
from turnout_server.providers.connection import SecretReference
from turnout_server.providers.token_commands import TokenCommands

PR_SET_CHILD_SUBREAPER = 36
if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
    raise SystemExit(77)
clock = iter(range(0, 10**9, 1000)).__next__

def inherited():
    states = [pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
              for pid in pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    return states.count("Z"), len(states)

async def main():
    commands = TokenCommands(clock=clock, limit_seconds=0.2)
    quick = SecretReference(command=("sh", "-c", "(true; true) >/dev/null & echo token"), is_token=True)
    slow = SecretReference(command=("sh", "-c", "sleep 600 & sleep 600"), is_token=True)
    for _ in range(3):
        for each in (quick, slow):
            commands.start_due([each])
            await asyncio.gather(*(token.running for token in commands._tokens.values()), return_exceptions=True)
    # What has just ended is collected with the next run.
    until = time.monotonic() + 60
    while inherited() != (0, 0) and time.monotonic() < until:
        commands.start_due([quick])
        await asyncio.gather(*(token.running for token in commands._tokens.values()), return_exceptions=True)
        await asyncio.sleep(0.05)
        commands._orphans.collect()
    print(*inherited())

asyncio.run(main())
"""


@pytest.mark.skipif(
    not Path(f"/proc/self/task/{os.getpid()}/children").exists(), reason="this system does not list children"
)
@pytest.mark.timeout(120)
def test_processes_that_a_command_leaves_behind_do_not_pile_up() -> None:
    ended = subprocess.run(  # noqa: S603 - ours
        [sys.executable, "-c", LIKE_THE_FIRST_PROCESS], capture_output=True, text=True, check=False, timeout=100
    )
    if ended.returncode == 77:
        pytest.skip("this system does not hand processes over")

    assert "0 0" == ended.stdout.strip(), ended.stderr
