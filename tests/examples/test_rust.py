"""docs/examples/rust, built with cargo and run against a real sidecar: what a stack of other people makes of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from tests.certificates import NEEDS_OPENSSL, self_signed, signed
from tests.cli.processes import configuration, environment, serving, simulated
from tests.clients.scripted_sidecar import Refusal, Script, ScriptedSidecar, Serving
from tests.tool_paths import ROOT, working
from turnout.v1 import router_pb2 as pb

PROJECT = ROOT / "docs" / "examples" / "rust"
BUILD_SECONDS = 1500
WAIT_SECONDS = 90.0
NO_NETWORK = ("failed to download", "spurious network error", "failed to query", "Could not resolve", "failed to get")
FAST = ("--latency", "*:first_token_seconds=0.01,seconds_per_output_token=0.001,jitter=0")

pytestmark = [pytest.mark.full, pytest.mark.timeout(BUILD_SECONDS + 300)]


def cargo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - the tool that the tests found
        [working("cargo", "--version"), *arguments],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
    )


@pytest.fixture(scope="module")
def program() -> Path:
    """The program, built from the lock file; skips where there is no cargo, or nowhere to have crates from."""
    version = re.search(r"\d+\.\d+", cargo("--version").stdout)
    wanted = re.search(r'rust-version = "([\d.]+)"', (PROJECT / "Cargo.toml").read_text())
    assert version is not None
    assert wanted is not None
    if [int(part) for part in version[0].split(".")] < [int(part) for part in wanted[1].split(".")]:
        pytest.skip(f"cargo {version[0]} is too old: {wanted[1]} is wanted")
    fetched = cargo("fetch", "--locked")
    if fetched.returncode != 0 and any(words in fetched.stderr for words in NO_NETWORK):
        pytest.skip(f"crates cannot be had here: {fetched.stderr.strip()[-300:]}")
    assert fetched.returncode == 0, fetched.stderr
    built = cargo("build", "--locked", "--offline")
    assert built.returncode == 0, built.stderr
    folder = Path(os.environ.get("CARGO_TARGET_DIR", PROJECT / "target"))
    return folder / "debug" / "turnout-from-rust"


@dataclass(frozen=True)
class World:
    """A sidecar that calls north, then south, and the program before it."""

    program: Path
    address: str
    control_url: str
    environment: Mapping[str, str]

    def change(self, provider: str, **settings: Any) -> None:
        """Changes a simulated provider."""
        httpx.patch(f"{self.control_url}/{provider}", json=settings, trust_env=False).raise_for_status()

    def counts(self, provider: str) -> dict[str, Any]:
        """Returns what a simulated provider has counted."""
        found = httpx.get(f"{self.control_url}/{provider}", trust_env=False).raise_for_status().json()
        return dict(found["counts"])

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts the program."""
        return subprocess.Popen(  # noqa: S603 - our own example
            [self.program, *arguments],
            env={**environment(), "TURNOUT_ADDRESS": self.address, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def play(self, *arguments: str) -> tuple[int, str, str]:
        """Runs the program to its end; returns exit code, output and errors."""
        process = self.begin(*arguments)
        out, err = process.communicate(timeout=WAIT_SECONDS)
        return process.returncode, out, err

    def until_idle(self, provider: str) -> None:
        """Waits until no call to a provider is under way."""
        end = time.monotonic() + WAIT_SECONDS
        while self.counts(provider)["in_flight"]:
            assert time.monotonic() < end, "the provider's call goes on"
            time.sleep(0.05)


@contextmanager
def world(program: Path, folder: Path, settings: str = "", **variables: str) -> Iterator[World]:
    providers = ("--provider", "north=openai", "--provider", "south=anthropic")
    with serving(["sim", "--port", "0", *providers, *FAST]) as sim:
        urls = {name: str(found["base_url"]) for name, found in sim.line["providers"].items()}
        order = "routing: {provider_order: [north, south], policies: {default: {strategy: PRIORITY}}}\n"
        file = configuration(folder, simulated(urls) + order)
        if settings:
            Path(file).write_text(Path(file).read_text().replace('listen: {address: "127.0.0.1:0"}', settings))
        with serving(["serve", "-c", file]) as sidecar:
            yield World(program, sidecar.address, str(sim.line["control"]), variables)


@pytest.fixture
def usual(program: Path, tmp_path: Path) -> Iterator[World]:
    with world(program, tmp_path) as running:
        yield running


def whole(out: str) -> tuple[str, str]:
    """Returns what is said of the answer, after making sure that it is as long as it says. Restarts void what came."""
    text, _, said = out.rstrip("\n").rpartition("\n")
    counted = text.rpartition("]\n")[2]
    assert said.startswith(f"[{len(counted)} characters of ")
    assert counted
    return counted, said


def test_a_plan_is_shown(usual: World) -> None:
    code, out, err = usual.play("route", "chat")

    assert (code, err) == (0, "")
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [
        ["north/small", "speaks", "openai"],
        ["south/small", "speaks", "anthropic"],
    ]


def test_an_answer_comes_over_tcp(usual: World) -> None:
    code, out, err = usual.play("ask", "Hello")

    assert (code, err) == (0, "")
    assert whole(out)[1].endswith(" of north/small, attempts: 1]")


def test_an_answer_comes_over_a_unix_socket(program: Path, tmp_path: Path) -> None:
    with (
        TemporaryDirectory(prefix="turnout-") as short,
        world(program, tmp_path, f'listen: {{address: "", socket: "{short}/s"}}') as running,
    ):
        assert running.address == f"unix:{short}/s"
        code, out, err = running.play("ask", "Hello")

    assert (code, err) == (0, "")
    assert whole(out)[1].endswith(" of north/small, attempts: 1]")


def test_a_restart_voids_what_came_before(usual: World) -> None:
    usual.change("north", fault={"kind": "cut", "after_pieces": 4})
    code, out, err = usual.play("ask", "Hello")

    assert (code, err) == (0, "")
    assert re.search(r"\n\[it begins again: FAILURE_KIND_\w+\]\n", out)
    assert whole(out)[1].endswith(" of south/small, attempts: 2]")


def test_field_violations_are_read(usual: World) -> None:
    code, out, err = usual.play("route", "x" * 65)

    assert (code, out) == (1, "")
    assert err.startswith("INVALID_REQUEST (InvalidArgument): ")
    assert "\n  profile.task: has 65 characters; at most 64 are taken\n" in err


def test_attempts_decision_and_wait_are_read(usual: World) -> None:
    for name in ("north", "south"):
        usual.change(name, fault={"kind": "error", "status": 429, "retry_after_seconds": 50})
    code, _, err = usual.play("--seconds", "40", "ask", "Hello")

    assert code == 1
    assert err.startswith("ALL_ATTEMPTS_REFUSED (Unavailable): ")
    assert "\n  north/small: FAILURE_KIND_RATE_LIMITED: " in err
    assert "\n  south/small: FAILURE_KIND_RATE_LIMITED: " in err
    assert re.search(r"\n  again in [\d.]+ s\n  decision [0-9a-f-]{36}\n", err)


DELTA = pb.ExecuteStreamResponse(delta=pb.Delta(attempt_id="a", text="Hi"))
COMPLETION = pb.ExecuteStreamResponse(completion=pb.Completion(target=pb.Target(provider="north", model="m")))
ANSWER = (DELTA, COMPLETION)


def scripted(program: Path, *scripts: Script) -> tuple[int, str, str, int]:
    """Has the program ask a sidecar that answers by script; returns what it did, and how often it asked."""
    sidecar = ScriptedSidecar()
    sidecar.will("ExecuteStream", *scripts)
    with Serving(sidecar):
        code, out, err = World(program, sidecar.address, "", {}).play("ask", "Hello")
    return code, out, err, len(sidecar.calls)


@pytest.mark.parametrize(
    "reason", ["ALL_TARGETS_UNAVAILABLE", "ALL_ATTEMPTS_REFUSED", "SIDECAR_OVERLOADED", "DRAINING"]
)
def test_what_surely_was_not_billed_is_asked_again(program: Path, reason: str) -> None:
    soon = Refusal(reason=reason, retry_seconds=0.01)
    refusals = (soon, Refusal(reason=reason), Refusal(reason=reason, pushback="9"))
    answered = scripted(program, *refusals, ANSWER)
    given_up = scripted(program, *refusals, soon, ANSWER)

    assert answered == (0, "Hi\n[2 characters of north/m, attempts: 0]\n", "", 4)
    assert (given_up[0], given_up[3]) == (1, 4)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(Refusal(), id="no word of the sidecar"),
        pytest.param(Refusal(reason="DRAINING", pushback="-1"), id="forbidden"),
        pytest.param(Refusal(reason="DRAINING", domain="other.example"), id="another domain"),
        pytest.param(Refusal(reason="BUDGET_EXHAUSTED"), id="an answer"),
        pytest.param((DELTA, Refusal(reason="DRAINING")), id="after content"),
    ],
)
def test_nothing_else_is_asked_again(program: Path, script: Script) -> None:
    code, _, _, call_count = scripted(program, script, ANSWER)

    assert (code, call_count) == (1, 1)


def test_a_stream_without_its_completion_is_no_answer(program: Path) -> None:
    assert scripted(program, (DELTA,)) == (1, "Hi", "the stream ended without its completion\n", 1)


def test_what_may_have_been_billed_is_not_asked_again(usual: World) -> None:
    for name in ("north", "south"):
        usual.change(name, fault={"kind": "cut_clean", "after_pieces": 0})
    code, _, err = usual.play("ask", "Hello")

    assert code == 1
    assert err.startswith("ATTEMPTS_EXHAUSTED (Internal): ")
    assert [usual.counts(name)["requests"] for name in ("north", "south")] == [
        err.count(f"\n  {name}/small: ") for name in ("north", "south")
    ]


@pytest.mark.parametrize("seconds", ["-1", "nan", "1e19", "1e300", "soon"])
def test_seconds_that_are_no_time_are_told(usual: World, seconds: str) -> None:
    code, out, err = usual.play("--seconds", seconds, "route", "chat")

    assert (code, out) == (1, "")
    assert err == f"--seconds is {seconds}: give a number of seconds, at least 0\n"


def test_the_deadline_ends_the_providers_call(usual: World) -> None:
    for name in ("north", "south"):
        usual.change(name, fault={"kind": "silence"})
    code, out, _ = usual.play("--seconds", "1.5", "ask", "Hello")

    assert (code, out) == (1, "")
    usual.until_idle("north")
    usual.until_idle("south")


def test_an_interrupt_ends_the_providers_call(usual: World) -> None:
    usual.change("north", fault={"kind": "stall", "after_pieces": 3})
    process = usual.begin("ask", "Hello")
    assert process.stdout is not None
    assert process.stdout.read(1)
    assert usual.counts("north")["in_flight"] == 1
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=WAIT_SECONDS)

    assert process.returncode == 130
    usual.until_idle("north")
    assert "complete" not in usual.counts("north")["endings"]
    assert usual.counts("south")["requests"] == 0


@NEEDS_OPENSSL
def test_a_token_goes_along_over_tls(program: Path, tmp_path: Path) -> None:
    authority = self_signed(tmp_path, "authority", "-addext", "keyUsage=critical,keyCertSign,digitalSignature")
    own = signed(authority, tmp_path, "server")
    (tmp_path / "right").write_text("a-token-of-sixteen-or-more\n")
    (tmp_path / "wrong").write_text("another-token-of-sixteen-or-more\n")
    settings = (
        f'listen: {{address: "127.0.0.1:0", tls: {{cert_file: "{own.cert_file}", key_file: "{own.key_file}"}}, '
        f'auth: {{tokens: [{{token_file: "{tmp_path}/right"}}]}}}}'
    )
    with world(program, tmp_path, settings, TURNOUT_CA_FILE=str(authority.cert_file)) as running:
        (code, _, missing) = running.play("route", "chat")
        assert code == 1
        for name, expected in (("wrong", 1), ("right", 0)):
            with_token = {**running.environment, "TURNOUT_TOKEN_FILE": str(tmp_path / name)}
            shown = World(program, running.address, running.control_url, with_token).play("ask", "Hello")
            assert shown[0] == expected, shown
            if expected:
                assert shown[2].startswith("UNAUTHENTICATED (Unauthenticated): the token is not one of this sidecar's")

    assert missing.startswith("UNAUTHENTICATED (Unauthenticated): this listener needs a token")


def test_a_token_does_not_go_out_in_plain_text(usual: World) -> None:
    variables = {"TURNOUT_TOKEN_FILE": "not-read"}
    for address in ("turnout.example.com:50151", "192.0.2.7:50151", "[2001:db8::1]:50151"):
        code, _, err = World(usual.program, address, "", variables).play("route", "chat")

        assert (code, err.startswith(f"the token would go to {address} in plain text")) == (1, True)


def test_nobody_there_is_no_word_of_the_sidecar(usual: World) -> None:
    nobody = World(usual.program, "127.0.0.1:1", usual.control_url, {})
    code, _, err = nobody.play("route", "chat")

    assert code == 1
    assert err.startswith("no word of the sidecar (Unavailable): ")


def test_the_lock_file_names_no_registry_but_the_public_one() -> None:
    sources = set(re.findall(r'^source = "(.*)"$', (PROJECT / "Cargo.lock").read_text(), re.MULTILINE))

    assert sources == {"registry+https://github.com/rust-lang/crates.io-index"}
