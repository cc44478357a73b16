"""docs/deployment.md as a newcomer has it: its files are written as they stand there, and its commands are run.

Only paths, ports, image and users are replaced. Here are the commands of a single machine; what the other ways need a
cluster's or a container's tools for is beside, in `test_deployment_in_containers` and `test_deployment_in_a_cluster`.
"""

from __future__ import annotations

import grp
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.cli.processes import Server, run, serving
from tests.deploy.document import Block, blocks
from tests.tool_paths import ROOT, working

BLOCKS = blocks(ROOT / "docs/deployment.md")
UNIT = (ROOT / "docs/turnout.service").read_text()
TRIED = {
    ("", "sh"): 1,
    ("Process", "sh"): 4,
    ("Process", "yaml"): 2,
    ("Container", "sh"): 2,
    ("Library chart", "sh"): 1,
    ("Injection", "sh"): 2,
    ("Injection", "yaml"): 1,
    ("Shared", "sh"): 2,
}
"""Every block, by the section and the language that the tests here and beside find it by."""

ANYWHERE = {"TURNOUT_HEALTH__ADDRESS": "127.0.0.1:0", "TURNOUT_METRICS__ADDRESS": "127.0.0.1:0"}
WAIT_SECONDS = 60
OWN_GROUP = grp.getgrgid(os.getgid()).gr_name


def of(section: str, language: str) -> list[Block]:
    return [block for block in BLOCKS if (block.section, block.language) == (section, language)]


def test_every_block_is_one_that_a_test_tries() -> None:
    assert TRIED == Counter((block.section, block.language) for block in BLOCKS)


@pytest.mark.full
def test_what_is_shown_to_look_at_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "turnout.yaml"
    file.write_text(of("Process", "yaml")[0].text.replace(":50151", ":0"))
    started, looked = of("Process", "sh")[:2]
    said: dict[str, str] = {}

    with ExitStack() as stack:
        address = ""
        for _, command, *arguments in map(shlex.split, started.commands + looked.commands):
            if command == "sim":
                simulated = stack.enter_context(serving([command, "--port=0"]))
                file.write_text(file.read_text().replace("http://127.0.0.1:50160", simulated.line["url"]))
            elif command == "serve":
                address = stack.enter_context(serving([command, *arguments], ANYWHERE)).address
            elif command != ".venv/bin/activate":
                ended = run(command, *arguments, env={"TURNOUT_ADDRESS": address})
                assert 0 == ended.code, ended.err
                said[command] = ended.out

    assert said["check"].strip() in started.text
    assert said["ask"].strip()
    assert re.search(r"^simulated/medium +HEALTHY +100 +CLOSED +1 +100%", said["status"], re.MULTILINE)


@contextmanager
def service(folder: Path) -> Iterator[tuple[Server, socket.socket, str]]:
    """Runs what the unit starts, with the files of the document in a folder, and listens as systemd does."""
    notify = folder / "notify"
    text = re.sub(r"/(run|etc|var)/", rf"{folder}/\1/", of("Process", "yaml")[1].text)
    (folder / "etc/turnout/turnout.yaml").write_text(text)
    (started,) = re.findall(r"^ExecStart=/opt/turnout/bin/turnout (.*)$", UNIT, re.MULTILINE)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(notify))
        manager.settimeout(WAIT_SECONDS)
        arguments = started.replace("/etc/", f"{folder}/etc/").split()
        with serving(arguments, {**ANYWHERE, "NOTIFY_SOCKET": str(notify)}) as server:
            yield server, manager, text


def test_the_service_is_ready_when_it_says_so_reloads_and_ends_with_0(tmp_path: Path) -> None:
    for made in ("run/turnout", "var/lib/turnout"):
        (tmp_path / made).mkdir(parents=True)
    for command in of("Process", "sh")[2].commands:
        if "/etc/turnout" in command:
            subprocess.run(  # noqa: S602 - the document's words
                command.replace("/etc/turnout", f"{tmp_path}/etc/turnout").replace("-g turnout", f"-g {OWN_GROUP}"),
                shell=True,
                check=True,
                env={"PATH": os.environ["PATH"], "ANTHROPIC_API_KEY": "sk-ant-a-key-of-nobody"},
            )
    address = {"TURNOUT_ADDRESS": f"unix:{tmp_path}/run/turnout/turnout.sock"}

    with service(tmp_path) as (server, manager, configured):
        told = manager.recv(100)
        looked = run("status", env=address)
        faulty = configured.replace("anthropic: {", "anthropic: {api_kee_file: x, ")
        (tmp_path / "etc/turnout/turnout.yaml").write_text(faulty)
        server.process.send_signal(signal.SIGHUP)
        until = time.monotonic() + WAIT_SECONDS
        while not any("api_kee_file" in line for line in server.log):
            assert time.monotonic() < until, server.log
            time.sleep(0.02)
        ended = server.stop()

    assert b"READY=1" == told
    assert 0 == looked.code, looked.err
    assert "anthropic/" in looked.out
    assert not any("no key is known" in line for line in server.log), server.log
    assert 0 == ended
    assert (tmp_path / "var/lib/turnout/state").exists()


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    analyze = working("systemd-analyze", "--version")
    file = tmp_path / "turnout.service"
    # systemd looks for the program, and for the user when it starts.
    file.write_text(UNIT.replace("/opt/turnout/bin/turnout", sys.executable))

    verified = subprocess.run([analyze, "verify", file], capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - a tool

    if "initialize manager" in verified.stderr:
        pytest.skip(f"systemd-analyze cannot look at units here: {verified.stderr}")
    # What it does not know it only warns of; it may have something to say of the machine's own units, too.
    assert [] == [line for line in verified.stderr.splitlines() if file.name in line]


def test_more_time_is_left_for_the_stop_than_calls_get() -> None:
    container = of("Container", "sh")[0]

    for left in (*re.findall(r"TimeoutStopSec=(\d+)", UNIT), *re.findall(r"--stop-timeout (\d+)", container.text)):
        assert int(left) >= 25 + 5


@pytest.mark.full
@pytest.mark.timeout(600)
def test_what_the_lock_names_is_installed_as_shown(tmp_path: Path) -> None:
    installing = [line for line in of("Process", "sh")[2].commands if "/opt/turnout" in line and "ln " not in line]
    for command in installing:
        ended = subprocess.run(  # noqa: S602 - the document's words
            command.replace("python3 ", f"{sys.executable} ").replace("/opt/turnout", str(tmp_path / "opt")),
            shell=True,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert 0 == ended.returncode, ended.stderr[-2000:]
    shown = run("--version", command=[str(tmp_path / "opt/bin/turnout")])

    assert 3 == len(installing)
    assert shown.out.startswith("turnout, version ")
