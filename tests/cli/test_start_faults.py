"""Whatever keeps `turnout serve` from starting is one clear line on stderr and a documented exit code: a table.

All of them are run at once, since each is a process of its own that takes half a second to load.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.processes import ANY_PORTS, Ended, run

CONFIGURATION_HAS_FAULTS = 1
CANNOT_START = 4

AT_ONCE = 4


@dataclass(frozen=True)
class Fault:
    """`text` is the configuration, or `file` names what stands for one. `line` must stand in the one line told.

    FOLDER is the test's own folder, PORT one that is taken.
    """

    code: int
    line: str
    text: str = ""
    file: str = ""


FAULTS = {
    "configuration that is missing": Fault(
        CONFIGURATION_HAS_FAULTS,
        "turnout: FOLDER/nowhere.yaml: the file cannot be read: No such file or directory",
        file="FOLDER/nowhere.yaml",
    ),
    "configuration that is a directory": Fault(
        CONFIGURATION_HAS_FAULTS, "turnout: FOLDER: the file cannot be read: Is a directory", file="FOLDER"
    ),
    "configuration that cannot be read": Fault(
        CONFIGURATION_HAS_FAULTS, "turnout: /proc/self/mem: the file cannot be read:", file="/proc/self/mem"
    ),
    "key file that is missing": Fault(
        CONFIGURATION_HAS_FAULTS,
        "providers.openai.api_key_file: file FOLDER/no-key cannot be read: No such file or directory",
        ANY_PORTS + "providers: {openai: {api_key_file: FOLDER/no-key}}",
    ),
    "authority that is none": Fault(
        CONFIGURATION_HAS_FAULTS,
        "providers.openai.ca_file: FOLDER/planted.pem cannot be used: it holds no PEM certificate",
        ANY_PORTS + "providers: {openai: {ca_file: FOLDER/planted.pem}}",
    ),
    "gRPC port that is taken": Fault(
        CANNOT_START,
        'turnout: cannot start: cannot listen on "127.0.0.1:PORT": another process listens there; stop it',
        'listen: {address: "127.0.0.1:PORT"}\nhealth: {address: ""}\nmetrics: {address: ""}\n',
    ),
    "health port that is taken": Fault(
        CANNOT_START,
        'turnout: cannot start: cannot listen on "127.0.0.1:PORT": another process listens there; stop it',
        'listen: {address: "127.0.0.1:0"}\nhealth: {address: "127.0.0.1:PORT"}\nmetrics: {address: ""}\n',
    ),
    "metrics port that is taken": Fault(
        CANNOT_START,
        'turnout: cannot start: cannot listen on "127.0.0.1:PORT": another process listens there; stop it',
        'listen: {address: "127.0.0.1:0"}\nhealth: {address: ""}\nmetrics: {address: "127.0.0.1:PORT"}\n',
    ),
    "socket in a folder that nobody can write to": Fault(
        CANNOT_START,
        'turnout: cannot start: cannot listen on socket "/proc/turnout.sock": it cannot be made there',
        'listen: {address: "", socket: /proc/turnout.sock}\nhealth: {address: ""}\nmetrics: {address: ""}\n',
    ),
}

needs_proc = pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="there is no /proc on this system")


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Ended, str]]]:
    """How each of them ended, and the line that was to be told."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "planted.pem").write_text("planted words that are neither a certificate nor a header\n")
    with ExitStack() as stack:
        port = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]

        def filled(text: str) -> str:
            return text.replace("FOLDER", str(folder)).replace("PORT", str(port))

        def started(name: str) -> tuple[Ended, str]:
            fault = FAULTS[name]
            file = folder / f"{name.replace(' ', '-')}.yaml"
            file.write_text(filled(fault.text))
            return run("serve", "-c", filled(fault.file) or str(file)), filled(fault.line)

        pool = stack.enter_context(ThreadPoolExecutor(AT_ONCE))
        yield dict(zip(FAULTS, pool.map(started, FAULTS), strict=True))


@needs_proc
@pytest.mark.parametrize("name", FAULTS)
def test_it_is_told_in_one_line_with_the_right_code(ended: dict[str, tuple[Ended, str]], name: str) -> None:
    process, expected = ended[name]

    assert process.out == ""
    assert len(process.error_lines) == 1, process.err
    assert expected in process.err
    assert process.code == FAULTS[name].code
    assert "planted words" not in process.err
