"""The lines of grpcurl in README.md and docs/listening.md, taken as they stand and run against a real sidecar.

Only port and socket are others. A line that is added there fails here until somebody says what it must answer.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.certificates import NEEDS_OPENSSL
from tests.cli.processes import Server, environment, serving
from tests.deploy.document import blocks
from tests.tool_paths import ROOT, working

SERVICES = {
    "grpc.health.v1.Health",
    "grpc.reflection.v1alpha.ServerReflection",
    "turnout.v1.AdminService",
    "turnout.v1.RouterService",
    "turnout.v1.SessionService",
}
ANYWHERE = {
    "TURNOUT_LISTEN__ADDRESS": "127.0.0.1:0",
    "TURNOUT_HEALTH__ADDRESS": "127.0.0.1:0",
    "TURNOUT_METRICS__ADDRESS": "127.0.0.1:0",
}
PRINTED_ADDRESS = "127.0.0.1:50151"
WAIT_SECONDS = 60
PRINTED_SOCKET = "/run/turnout/turnout.sock"


def commands(document: Path, start: str) -> list[str]:
    """Returns the commands of a document's shell blocks that begin so."""
    shown = (block for block in blocks(document) if block.language == "sh")
    return [command for block in shown for command in block.commands if command.startswith(start)]


COMMANDS = commands(ROOT / "README.md", "grpcurl ")
OF_LISTENING = commands(ROOT / "docs" / "listening.md", "grpcurl ")

pytestmark = pytest.mark.full


def line(*words: str) -> str:
    """Returns the one line of README.md with these words; one with a token or protos only where they are named."""
    special = [word for word in ("app.token", "-proto") if word not in words]
    (found,) = [
        command
        for command in COMMANDS
        if all(word in command for word in words) and not any(word in command for word in special)
    ]
    return found


@pytest.fixture(scope="module")
def ollama() -> Iterator[str]:
    """The address of a simulated local server with one model."""
    with serving(
        ["sim", "--port", "0", "--provider", "local=ollama", "--set", "local:models=small,output_tokens=12"]
    ) as sim:
        yield str(sim.line["providers"]["local"]["base_url"])


@pytest.fixture(scope="module")
def sidecar(ollama: str) -> Iterator[Server]:
    """As `make serve` starts it: without a file, with what is in the environment."""
    with serving(["serve"], {**ANYWHERE, "OLLAMA_HOST": ollama}) as server:
        yield server


def ran(command: str, sidecar: Server, folder: Path) -> str:
    """Runs a line of the README in a checkout and returns what it wrote."""
    tools = working("grpcurl", "-version").parent
    if not (folder / "protos").exists():
        (folder / "protos").symlink_to(ROOT / "protos")
    env = environment()
    assert PRINTED_ADDRESS in command or PRINTED_SOCKET in command
    socket = next((where.removeprefix("unix:") for where in sidecar.line["grpc"] if where.startswith("unix:")), "")
    ended = subprocess.run(  # noqa: S602 - the README's words are meant for a shell
        command.replace(PRINTED_ADDRESS, sidecar.address).replace(PRINTED_SOCKET, socket),
        shell=True,
        cwd=folder,
        env={**env, "PATH": f"{tools}:{env['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_SECONDS,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_every_line_is_one_that_a_test_tries() -> None:
    tried = [
        line("list"),
        line("RouterService/Route"),
        line("RouterService/Execute"),
        line("RouterService/ProviderStatus"),
        line("Health/Check"),
        line("-proto"),
        line("app.token"),
    ]

    assert sorted(tried) == sorted(COMMANDS)


def test_services_are_listed(sidecar: Server, tmp_path: Path) -> None:
    assert set(ran(line("list"), sidecar, tmp_path).split()) == SERVICES


def test_a_plan_is_answered(sidecar: Server, tmp_path: Path) -> None:
    decision = json.loads(ran(line("RouterService/Route"), sidecar, tmp_path))["decision"]

    assert decision["task"] == "chat"
    assert decision["candidates"][0]["target"] == {"provider": "ollama", "model": "small"}


def test_a_question_is_answered(sidecar: Server, tmp_path: Path) -> None:
    answer = json.loads(ran(line("RouterService/Execute"), sidecar, tmp_path))

    assert answer["output"]["parts"][0]["text"]
    assert answer["attempts"][-1]["ok"]


def test_a_question_is_answered_as_a_stream(sidecar: Server, tmp_path: Path) -> None:
    assert "ExecuteStream: the same" in (ROOT / "README.md").read_text()
    command = line("RouterService/Execute").replace("/Execute", "/ExecuteStream")
    written, events = ran(command, sidecar, tmp_path), []
    while written.strip():
        event, end = json.JSONDecoder().raw_decode(written.lstrip())
        events.append(next(iter(event)))
        written = written.lstrip()[end:]

    assert events[:2] == ["decision", "attempt"]
    assert set(events[2:-1]) == {"delta"}
    assert events[-1] == "completion"


def test_state_is_answered(sidecar: Server, tmp_path: Path) -> None:
    (provider,) = json.loads(ran(line("RouterService/ProviderStatus"), sidecar, tmp_path))["providers"]

    assert provider["provider"] == "ollama"


def test_health_is_answered(sidecar: Server, tmp_path: Path) -> None:
    assert json.loads(ran(line("Health/Check"), sidecar, tmp_path)) == {"status": "SERVING"}


def test_protos_of_a_checkout_do_where_reflection_is_off(ollama: str, tmp_path: Path) -> None:
    off = {**ANYWHERE, "OLLAMA_HOST": ollama, "TURNOUT_LISTEN__REFLECTION": "false"}
    with serving(["serve"], off) as sidecar:
        with pytest.raises(AssertionError, match="does not support the reflection API"):
            ran(line("list"), sidecar, tmp_path)
        (provider,) = json.loads(ran(line("-proto"), sidecar, tmp_path))["providers"]

    assert provider["provider"] == "ollama"


def test_a_token_goes_along_where_one_is_asked_for(ollama: str, tmp_path: Path) -> None:
    (tmp_path / "app.token").write_text("a-token-of-sixteen-or-more\n")
    file = tmp_path / "turnout.yaml"
    file.write_text(f"listen: {{auth: {{tokens: [{{token_file: {tmp_path / 'app.token'}}}]}}}}\n")
    with serving(["serve", "-c", str(file)], {**ANYWHERE, "OLLAMA_HOST": ollama}) as sidecar:
        with pytest.raises(AssertionError, match="this listener needs a token"):
            ran(line("list"), sidecar, tmp_path)
        listed = set(ran(line("app.token"), sidecar, tmp_path).split())

    assert listed == SERVICES


@NEEDS_OPENSSL
def test_tls_tokens_and_sockets_are_reached_as_the_page_on_listening_says(ollama: str, tmp_path: Path) -> None:
    (making,) = [shown for shown in blocks(ROOT / "docs" / "listening.md") if "openssl req" in shown.text]
    subprocess.run(making.text, shell=True, cwd=tmp_path, check=True, capture_output=True, timeout=WAIT_SECONDS)  # noqa: S602 - the page's words
    (tmp_path / "app.token").write_text("a-token-of-sixteen-or-more\n")
    file = tmp_path / "turnout.yaml"
    tls = f"tls: {{cert_file: {tmp_path}/server.pem, key_file: {tmp_path}/server.key}}"
    (without, *with_tokens) = OF_LISTENING
    assert len(with_tokens) == 2
    with TemporaryDirectory(prefix="turnout-") as short:
        for auth, lines in (
            ("", [without]),
            (f", auth: {{tokens: [{{token_file: {tmp_path}/app.token}}]}}", with_tokens),
        ):
            file.write_text(f"listen: {{socket: {short}/s, {tls}{auth}}}\n")
            with serving(["serve", "-c", str(file)], {**ANYWHERE, "OLLAMA_HOST": ollama}) as sidecar:
                listed = [set(ran(command, sidecar, tmp_path).split()) for command in lines]

            assert listed == [SERVICES] * len(lines)
