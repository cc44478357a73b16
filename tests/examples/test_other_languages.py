"""docs/other-languages.md: what it shows to be copied is taken from it and used; what it says of the wire is looked at.

Its rules of streams, errors and retries are held in Rust by `test_rust`, what it says of HTTP/2 by `test_other_stacks`.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import cast

import grpc
import pytest
from google.protobuf.json_format import MessageToDict, Parse
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # has no types

from tests.cli.processes import Server, serving, simulated
from tests.clients.scripted_sidecar import Refusal, ScriptedSidecar, Serving
from tests.deploy.document import Block, blocks
from tests.tool_paths import ROOT, found, working
from turnout.v1 import router_pb2 as pb
from turnout.v1 import router_pb2_grpc

BLOCKS = blocks(ROOT / "docs" / "other-languages.md")
UNAVAILABLE, EXHAUSTED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED
WAIT_SECONDS = 60
REQUESTS: dict[str, object] = {
    "Route": pb.RouteRequest(),
    "ReportOutcome": pb.ReportOutcomeRequest(),
    "ProviderStatus": pb.ProviderStatusRequest(),
    "Execute": pb.ExecuteRequest(),
    "ExecuteStream": pb.ExecuteStreamRequest(),
}
ANSWERS = {
    "Route": pb.RouteResponse(),
    "ReportOutcome": pb.ReportOutcomeResponse(),
    "ProviderStatus": pb.ProviderStatusResponse(),
}


def block(section: str, language: str) -> Block:
    """Returns the one block of a section in a language."""
    (one,) = [shown for shown in BLOCKS if (shown.section, shown.language) == (section, language)]
    return one


def test_every_block_is_one_that_a_test_tries() -> None:
    assert [(shown.section, shown.language) for shown in BLOCKS] == [
        ("Stubs", "sh"),
        ("Stubs", "yaml"),
        ("Deadlines and retries", "json"),
        ("Outcomes", "json"),
    ]


def protoc(folder: Path) -> Path:
    """Returns a protoc that can be run: this machine's, or the one that Maven got for the Java client."""
    own = found("protoc")
    if own is not None:
        return own
    by_maven = sorted((Path.home() / ".m2/repository/com/google/protobuf/protoc").glob("*/protoc-*.exe"))
    if not by_maven:
        pytest.skip("protoc is not on this machine, nor has building clients/java put one into Maven's repository")
    copy = folder / "protoc"
    copy.write_bytes(by_maven[-1].read_bytes())
    copy.chmod(0o755)
    return copy


@pytest.mark.full
def test_protoc_makes_messages_for_each_language_named(tmp_path: Path) -> None:
    (command,) = block("Stubs", "sh").commands
    program, *arguments = shlex.split(command)
    assert program == "protoc"
    (tmp_path / "gen").mkdir()
    (tmp_path / "protos").symlink_to(ROOT / "protos")
    # A protoc that was installed has Google's own files beside it; Maven's has not.
    with_googles = [*arguments, f"--proto_path={files('grpc_tools') / '_proto'}"]
    subprocess.run([protoc(tmp_path), *with_googles], cwd=tmp_path, check=True, timeout=WAIT_SECONDS)  # noqa: S603 - the page's words
    made = {file.suffix for file in (tmp_path / "gen").rglob("*") if file.is_file()}

    assert made == {".cc", ".h", ".cs", ".php", ".rb"}


@pytest.mark.full
def test_buf_makes_stubs_with_the_plugin_that_is_there(tmp_path: Path) -> None:
    shown = block("Stubs", "yaml").text
    comment, _, template = shown.partition("\n")
    program, *arguments = shlex.split(comment.rpartition("for: ")[2])
    assert program == "buf"
    plugin = working("protoc-gen-go", "--version")
    assert template.count("local: protoc-gen-es\n") == 1
    (tmp_path / "buf.gen.yaml").write_text(template.replace("local: protoc-gen-es", f"local: {plugin}"))
    (tmp_path / "protos").symlink_to(ROOT / "protos")
    buf = Path(sys.executable).with_name("buf")
    subprocess.run([buf, *arguments], cwd=tmp_path, check=True, timeout=WAIT_SECONDS)  # noqa: S603 - the page's words

    assert [file.name for file in (tmp_path / "gen").rglob("*.go")] == ["router.pb.go"]


def called(sidecar: ScriptedSidecar, method: str) -> grpc.StatusCode:
    """Makes one call with the service config of the page, and nothing beside it that tries again."""
    config = block("Deadlines and retries", "json").text
    with grpc.insecure_channel(sidecar.address, [("grpc.service_config", config)]) as channel:
        call = getattr(router_pb2_grpc.RouterServiceStub(channel), method)
        try:
            answer = call(REQUESTS[method])
            if method == "ExecuteStream":
                list(answer)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
        return grpc.StatusCode.OK


@pytest.mark.parametrize("method", ["Route", "ReportOutcome", "ProviderStatus"])
@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(),
        Refusal(reason="DRAINING"),
        Refusal(reason="SIDECAR_OVERLOADED", code=EXHAUSTED, retry_seconds=0.01, pushback="10"),
    ],
    ids=["lost", "draining", "overloaded"],
)
def test_the_service_config_tries_again_what_is_harmless(method: str, refusal: Refusal) -> None:
    sidecar = ScriptedSidecar()
    sidecar.will(method, refusal, refusal, ANSWERS[method])
    with Serving(sidecar):
        code = called(sidecar, method)

    assert (code, len(sidecar.calls)) == (grpc.StatusCode.OK, 3)


def test_the_service_config_does_not_try_again_what_is_forbidden() -> None:
    sidecar = ScriptedSidecar()
    sidecar.will("Route", Refusal(reason="BUDGET_EXHAUSTED", code=EXHAUSTED, pushback="-1"), ANSWERS["Route"])
    with Serving(sidecar):
        code = called(sidecar, "Route")

    assert (code, len(sidecar.calls)) == (EXHAUSTED, 1)


@pytest.mark.parametrize("method", ["Execute", "ExecuteStream"])
@pytest.mark.parametrize(
    "refusal",
    [Refusal(), Refusal(reason="ALL_TARGETS_UNAVAILABLE", retry_seconds=0.01, pushback="10")],
    ids=["lost", "unavailable"],
)
def test_the_service_config_leaves_calls_of_providers_to_the_caller(method: str, refusal: Refusal) -> None:
    sidecar = ScriptedSidecar()
    sidecar.will(method, refusal, refusal)
    with Serving(sidecar):
        code = called(sidecar, method)

    assert (code, len(sidecar.calls)) == (UNAVAILABLE, 1)


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    file = tmp_path_factory.mktemp("sidecar") / "turnout.yaml"
    providers = simulated({"north": "http://127.0.0.1:1/v1", "south": "http://127.0.0.1:1"})
    listen = 'listen: {address: "127.0.0.1:0"}\nhealth: {address: ""}\nmetrics: {address: ""}\n'
    file.write_text(listen + providers)
    with serving(["serve", "-c", str(file)]) as server:
        yield server


def test_the_outcomes_that_are_shown_are_accepted_once(sidecar: Server) -> None:
    with grpc.insecure_channel(sidecar.address) as channel:
        stub = router_pb2_grpc.RouterServiceStub(channel)
        plan = stub.Route(pb.RouteRequest(), timeout=WAIT_SECONDS).decision
        shown = block("Outcomes", "json").text.replace("DECISION_ID", plan.decision_id)
        report = Parse(shown, pb.ReportOutcomeRequest())
        for outcome, candidate in zip(report.outcomes, plan.candidates, strict=True):
            outcome.target.CopyFrom(candidate.target)
        results = [MessageToDict(stub.ReportOutcome(report, timeout=WAIT_SECONDS))["results"] for _ in range(2)]

    assert results[0] == [{"status": "OUTCOME_STATUS_ACCEPTED"}] * 2
    assert [result["status"] for result in results[1]] == ["OUTCOME_STATUS_DUPLICATE"] * 2


def test_health_answers_for_the_names_on_the_page(sidecar: Server) -> None:
    with grpc.insecure_channel(sidecar.address) as channel:
        statuses = (
            health_pb2_grpc.HealthStub(channel).List(health_pb2.HealthListRequest(), timeout=WAIT_SECONDS).statuses
        )
    text = (ROOT / "docs" / "other-languages.md").read_text()

    assert set(statuses) == {"", "turnout.v1.RouterService", "turnout.v1.AdminService"}
    assert "answers for ``, `turnout.v1.RouterService` and\n`turnout.v1.AdminService`" in text


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"x": "y" * 9000}, "received metadata size exceeds"),
        ({}, "vs. 33554432)"),
    ],
    ids=["metadata", "message"],
)
def test_what_is_too_large_has_no_reason(sidecar: Server, more: dict[str, str], words: str) -> None:
    hint = "" if more else "x" * (32 * 1024 * 1024)
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(sidecar.address, options) as channel, pytest.raises(grpc.RpcError) as caught:
        router_pb2_grpc.RouterServiceStub(channel).Route(
            pb.RouteRequest(profile=pb.RequestProfile(text_hint=hint)),
            metadata=tuple(more.items()),
            timeout=WAIT_SECONDS,
        )
    error = cast("grpc.Call", caught.value)

    assert error.code() == EXHAUSTED
    assert words in (error.details() or "")
    assert "grpc-status-details-bin" not in dict(error.trailing_metadata() or ())


def test_the_service_config_tries_again_three_methods_alone() -> None:
    (part,) = json.loads(block("Deadlines and retries", "json").text)["methodConfig"]

    assert {name["method"] for name in part["name"]} == {"Route", "ReportOutcome", "ProviderStatus"}
    assert {name["service"] for name in part["name"]} == {"turnout.v1.RouterService"}
