"""The same request from four languages within one trace, run as a developer runs it and read from a real Jaeger."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from examples.one_trace_of_four import PROGRAMS
from tests.cli.jaeger import Jaeger, asked, jaeger, parent, tags
from tests.conformance.languages import COMMAND_SECONDS, Language, languages
from tests.examples.stage import EXAMPLES, Actor, Stage, stage
from turnout import Client

PROMPT = "What is a turnout?"
FOUR = ("go", "java", "python", "typescript")
SPANS_OF_ONE_CALL = 4
"""The program's own, the RPC, the decision and the attempt."""

pytestmark = pytest.mark.full


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One language's call, as its spans tell of it."""

    service: str
    caller: str
    """The span id of who started the program."""
    operation: str
    decision_id: str
    target: str
    input_messages: str


def told_by_four(address: str, endpoint: str) -> tuple[list[dict[str, str]], str]:
    """Runs all four as the page says; returns what each printed, and the id of the trace."""
    ended = subprocess.run(  # noqa: S603 - our own example
        [sys.executable, EXAMPLES / "one_trace_of_four.py", PROMPT],
        env={**os.environ, "TURNOUT_ADDRESS": address, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_SECONDS,
    )
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()], ended.stderr.rpartition("one trace: ")[2].strip()


def calls_of(spans: list[dict[str, Any]], services: dict[str, str]) -> list[Call]:
    """Reads the trace from each program's span down. Fails where one does not have just one call below it."""
    below: dict[str, list[dict[str, Any]]] = {}
    for span in spans:
        if span["references"]:
            below.setdefault(parent(span), []).append(span)
    calls = []
    for own in (span for span in spans if span["operationName"] == "ask"):
        own_calls = below.get(own["spanID"], [])
        assert 1 == len(own_calls), f"{services[own['processID']]}: {len(own_calls)} calls stand below its span"
        (rpc,) = own_calls
        assert "turnout" == services[rpc["processID"]]
        below_rpc = {span["operationName"]: span for span in below[rpc["spanID"]]}
        assert {"turnout.decide", "chat m"} == below_rpc.keys()
        decision, attempt = below_rpc["turnout.decide"], below_rpc["chat m"]
        calls.append(
            Call(
                service=services[own["processID"]],
                caller=parent(own),
                operation=rpc["operationName"],
                decision_id=tags(decision)["turnout.decision.id"],
                target=tags(attempt)["turnout.target"],
                input_messages=tags(attempt)["gen_ai.input.messages"],
            )
        )
    return calls


@pytest.mark.timeout(3600)
def test_four_languages_make_the_same_request_within_one_trace(
    tmp_path: Path, prepare: Callable[[Language], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for language in languages():
        if language.name in FOUR:
            prepare(language)
    # What a cold cache costs is not the example's.
    subprocess.run(["go", "vet", "."], cwd=PROGRAMS["go"].folder, check=True, timeout=COMMAND_SECONDS)  # noqa: S607 - where `go` is, it was found
    with jaeger(tmp_path) as collector:
        # For the sidecar.
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")
        with stage(tmp_path, north=Actor(wire="openai")) as running:
            told, trace_id = told_by_four(running.address, collector.endpoint)
            asked_for = [of_history(running, one["decision_id"]) for one in told]
            trace = whole_trace(collector, trace_id)
    spans = trace["spans"]
    services = {number: process["serviceName"] for number, process in trace["processes"].items()}
    (root,) = (span for span in spans if not span["references"])
    calls = calls_of(spans, services)

    assert sorted(FOUR) == sorted(one["language"] for one in told)
    assert all(one["text"] for one in told)
    assert [("chat", {"example": "one_trace"})] * len(FOUR) == asked_for
    assert "one-trace" == services[root["processID"]]
    assert {root["spanID"]} == {call.caller for call in calls}
    assert {"turnout.v1.RouterService/Execute"} == {call.operation for call in calls}
    assert {f"one-trace-{one['language']}": (one["decision_id"], one["target"]) for one in told} == {
        call.service: (call.decision_id, call.target) for call in calls
    }
    assert len(FOUR) == len(calls)
    assert [[{"role": "user", "parts": [{"type": "text", "content": PROMPT}]}]] * len(FOUR) == [
        json.loads(call.input_messages) for call in calls
    ]


def whole_trace(collector: Jaeger, trace_id: str) -> dict[str, Any]:
    """Waits for every span of the trace; returns it with its services. Fails with what is there if one is missing."""
    incomplete = ""
    try:
        collector.spans(trace_id, 1 + SPANS_OF_ONE_CALL * len(FOUR))
    except AssertionError as error:
        incomplete = str(error)
    found: dict[str, Any] = {"spans": [], "processes": {}}
    answer = asked(f"{collector.query}/api/traces/{trace_id}")
    if answer is not None:
        (found,) = answer["data"]
    services = {number: process["serviceName"] for number, process in found["processes"].items()}
    there = sorted(f"{services[span['processID']]}: {span['operationName']}" for span in found["spans"])
    assert not incomplete, "\n".join([incomplete, *there])
    return found


def of_history(running: Stage, decision_id: str) -> tuple[str, dict[str, str]]:
    """Returns the task and the caller's labels of a request, as the sidecar noted them."""
    with Client(running.address) as client:
        record = client.admin.decision(decision_id)
    return record.decision.task, dict(record.caller.labels)


def played(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the starter where nobody listens."""
    return subprocess.run(  # noqa: S603 - our own example
        [sys.executable, EXAMPLES / "one_trace_of_four.py", *arguments],
        env={**os.environ, "OTEL_SDK_DISABLED": "true", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_SECONDS,
    )


def test_a_language_that_does_not_answer_is_named(tmp_path: Path) -> None:
    ended = played("--language", "python", PROMPT, TURNOUT_ADDRESS=f"unix:{tmp_path}/nobody")

    assert ended.returncode == 1
    assert "one_trace: the sidecar cannot be reached" in ended.stderr
    assert "python: it ended with 1\n" in ended.stderr


def test_a_language_that_is_not_on_this_machine_is_named_and_the_others_are_run(tmp_path: Path) -> None:
    words = ["--language", "go", "--language", "python", PROMPT]
    ended = played(*words, PATH=str(tmp_path), TURNOUT_ADDRESS=f"unix:{tmp_path}/nobody")

    assert ended.returncode == 1
    assert "go: go cannot be run: No such file or directory\n" in ended.stderr
    assert "python: it ended with 1\n" in ended.stderr


def test_the_answer_does_not_wait_for_a_collector_that_is_away(tmp_path: Path) -> None:
    nobody = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    with stage(tmp_path, north=Actor(wire="openai")) as running:
        ended = subprocess.run(  # noqa: S603 - our own example
            [sys.executable, EXAMPLES / "one_trace.py", PROMPT],
            env={**os.environ, "TURNOUT_ADDRESS": running.address, **nobody},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )

    assert ended.returncode == 0, ended.stdout
    answer, complaint = ended.stdout.find('"decision_id"'), ended.stdout.find("Failed to export")
    assert -1 < answer < complaint, ended.stdout
