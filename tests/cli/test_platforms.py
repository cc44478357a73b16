"""The core works where Unix is not: no fcntl, grp or uvloop, no signal handlers in the loop, no sysconf.

Our own imports of what Windows lacks fail in these processes, and the loop refuses signals as Windows' loops do.
Other people's packages look at the platform themselves, and are left alone.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest

from tests.cli.processes import configuration, run, serving, simulated

ELSEWHERE = """
import asyncio, builtins, os
missing = {"fcntl", "grp", "pwd", "resource", "termios", "uvloop"}
usual = builtins.__import__
def unlike_unix(name, globals=None, locals=None, fromlist=(), level=0):
    if name in missing and str((globals or {}).get("__name__", "")).startswith("turnout"):
        raise ImportError(f"No module named {name!r}", name=name)
    return usual(name, globals, locals, fromlist, level)
builtins.__import__ = unlike_unix
asyncio.SelectorEventLoop.add_signal_handler = asyncio.AbstractEventLoop.add_signal_handler
asyncio.SelectorEventLoop.remove_signal_handler = asyncio.AbstractEventLoop.remove_signal_handler
del os.sysconf
from turnout_server.main import main
main()
"""


COMMAND = (sys.executable, "-W", "error", "-c", ELSEWHERE)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["schema"], ["completion", "bash"], ["sim", "--help"]]
)
def test_commands_that_need_no_server_work(arguments: list[str]) -> None:
    assert 0 == run(*arguments, command=COMMAND).code


def test_sidecar_serves_decides_executes_and_stops_at_a_signal(tmp_path: Path) -> None:
    with serving(["sim", "--port", "0", "--provider", "north=openai"], command=COMMAND) as sim:
        text = simulated({"north": sim.line["providers"]["north"]["base_url"]})
        file = configuration(tmp_path, text)
        assert 0 == run("check", file, "--live", command=COMMAND).code
        with serving(["serve", "-c", file], command=COMMAND) as server:
            for arguments in (["route"], ["ask", "Hi"], ["status"], ["decisions"]):
                ended = run(*arguments, "--address", server.address, command=COMMAND)
                assert 0 == ended.code, ended.err

            assert 0 == server.stop(signal.SIGTERM)
        assert 0 == sim.stop(signal.SIGINT)


def test_unix_socket_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "turnout.sock"

    ended = run("serve", "-c", configuration(tmp_path, ""), env={"TURNOUT_LISTEN__SOCKET": str(path)}, command=COMMAND)

    assert 4 == ended.code
    assert f'"{path}": this platform has no Unix sockets; set listen.address instead' in ended.error_lines[-1]


@pytest.mark.full
def test_demo_works() -> None:
    ended = run("demo", "--seconds", "8", "--json", command=COMMAND)

    assert (0, []) == (ended.code, json.loads(ended.out)["problems"])
