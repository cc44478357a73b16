"""The headers that OpenTelemetry's own propagators write, in four languages, handed to a call: it joins their trace."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.api.traced_sidecar import CALL, attributes, ids, named, traced
from tests.tool_paths import tool, working
from turnout.v1 import router_pb2 as pb

HERE = Path(__file__).parent
FETCH_SECONDS = 300
CALL_SECONDS = 60


class Case(NamedTuple):
    """What a caller's SDK holds when it makes a call."""

    trace_id: str
    span_id: str
    flags: int = 1
    tracestate: str = ""
    baggage: dict[str, str] = {}  # noqa: RUF012 - never changed


TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CASES = (
    Case(TRACE, SPAN),
    Case(f"1{TRACE[1:]}", SPAN, flags=0, tracestate="a=b"),
    Case(f"2{TRACE[1:]}", SPAN, flags=3, tracestate="vendor=x,tenant@system=y"),
    Case("0" * 31 + "1", "0" * 15 + "1", tracestate=",".join(f"k{number}=v{number}" for number in range(32))),
    Case(f"3{TRACE[1:]}", SPAN, baggage={"user": "7"}),
    Case(f"4{TRACE[1:]}", SPAN, baggage={"name": "Jürgen von, und; zu = 100 %", "empty-ish": "x"}),
)


def fetched(command: list[str | Path], folder: Path, what: str) -> None:
    """Runs what gets a language's packages; skips where there is no network to get them from."""
    try:
        ended = subprocess.run(  # noqa: S603 - a tool of ours
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=FETCH_SECONDS
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"OpenTelemetry's packages for {what} did not come within {FETCH_SECONDS} s")
    if ended.returncode != 0:
        pytest.skip(f"OpenTelemetry's packages for {what} cannot be had: {(ended.stderr or ended.stdout)[-300:]}")


def python(_: Path) -> list[str | Path]:
    return [sys.executable, HERE / "python_propagators.py"]


def go(folder: Path) -> list[str | Path]:
    program = working("go", "version")
    shutil.copytree(HERE / "go", folder, dirs_exist_ok=True)
    fetched([program, "mod", "download"], folder, "Go")
    subprocess.run([program, "build", "-o", "propagators", "."], cwd=folder, check=True, timeout=FETCH_SECONDS)  # noqa: S603
    return [folder / "propagators"]


def node(folder: Path) -> list[str | Path]:
    program = working("node", "--version")
    shutil.copytree(HERE / "node", folder, dirs_exist_ok=True)
    fetched([tool("npm"), "ci", "--no-audit", "--no-fund", "--ignore-scripts"], folder, "Node")
    return [program, folder / "main.js"]


def java(folder: Path) -> list[str | Path]:
    program = working("java", "-version")
    jars = f"-DoutputDirectory={folder}"
    fetched(
        [tool("mvn"), "-q", "-B", "-f", HERE / "java" / "pom.xml", "dependency:copy-dependencies", jars], folder, "Java"
    )
    return [program, "-cp", f"{folder}/*", HERE / "java" / "Main.java"]


def written(command: list[str | Path]) -> list[dict[str, str]]:
    ended = subprocess.run(  # noqa: S603 - our own command
        command,
        input=json.dumps([one._asdict() for one in CASES]),
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
        timeout=FETCH_SECONDS,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    found: list[dict[str, str]] = json.loads(ended.stdout)
    return found


LANGUAGES: dict[str, Callable[[Path], list[str | Path]]] = {"python": python, "go": go, "node": node, "java": java}


@pytest.mark.full
@pytest.mark.timeout(3 * FETCH_SECONDS)
@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_call_joins_the_trace_of_its_caller(language: str, tmp_path: Path) -> None:
    headers = written(LANGUAGES[language](tmp_path))
    assert len(headers) == len(CASES)
    for one, carrier in zip(CASES, headers, strict=True):
        await joins(one, carrier)


async def joins(one: Case, carrier: dict[str, str]) -> None:
    metadata = tuple(carrier.items())
    assert set(carrier) <= {"traceparent", "tracestate", "baggage"}
    # It comes with the rest, and does no harm.
    assert ("baggage" in carrier) is bool(one.baggage)
    async with traced() as sidecar:
        plan = partial(sidecar.sidecar.stub.Route, pb.RouteRequest(), timeout=CALL_SECONDS)
        await plan(metadata=metadata)
        # One that is recorded in any case, so that there is something to wait for.
        await plan()
        spans = await sidecar.spans(4 if one.flags & 1 else 2)

    of_trace = [span for span in spans if ids(span)[0] == one.trace_id]
    if not one.flags & 1:
        assert not of_trace
        return
    call = named(of_trace, f"{CALL}Route")
    assert ids(call)[2] == one.span_id
    assert attributes(call)["rpc.status_code"] == "OK"
    for span in of_trace:
        context: Any = span.get_span_context()
        assert context.trace_state.to_header() == one.tracestate
        # Whether the id is random is for its maker to say, and Go's does not.
        assert context.trace_flags == int(carrier["traceparent"][-2:], 16)
