"""Active checks as processes: `turnout providers check`, and a provider that comes back while nobody calls it."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cli.processes import Ended, run
from tests.clients.real_sidecar import CONFIGURATION, MODEL, World, process, world
from turnout import Client
from turnout.errors import TurnoutError
from turnout.v1 import router_pb2 as pb

GENEROUS_SECONDS = 60


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("checking")) as running:
        yield running


def checked(address: str, *arguments: str) -> Ended:
    return run("providers", "check", *arguments, env={"TURNOUT_ADDRESS": address})


def test_check_says_what_was_asked_and_found(sidecar: World) -> None:
    ended = checked(sidecar.address, "north", "south/m")
    rows = ended.out.splitlines()

    assert ended.code == 0
    assert rows[0].split() == ["CHECKED", "RESULT", "TOOK", "COST", "FOUND"]
    assert rows[1].startswith("north ")
    assert rows[1].endswith("it answers when asked for its models")
    assert "$0 " in rows[1]
    assert rows[2].startswith("south/m ")
    assert rows[2].endswith("it answers a call of one token")


def test_check_that_finds_a_fault_ends_with_1(sidecar: World) -> None:
    sidecar.fault("north", kind="error", status=503)
    try:
        ended = checked(sidecar.address, "--json", "north/m", "south")
    finally:
        healed = httpx.patch(f"{sidecar.control_url}/north", json={"fault": None}, trust_env=False)
    results = json.loads(ended.out)["results"]

    assert healed.is_success
    assert ended.code == 1
    assert [(each["target"]["provider"], each.get("ok", False)) for each in results] == [
        ("north", False),
        ("south", True),
    ]
    assert results[0]["failure"] == "FAILURE_KIND_OVERLOADED"
    assert "1 of 2 did not answer" in ended.err


def test_name_of_nothing_is_answered_with_the_nearest(sidecar: World) -> None:
    ended = checked(sidecar.address, "nort")

    assert ended.code == 1
    assert "north" in ended.err


def test_provider_that_comes_back_is_found_by_a_check_and_by_no_call(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    text = CONFIGURATION.format(north=f"http://127.0.0.1:{port}/north/v1", south="http://127.0.0.1:9/v1", model=MODEL)
    text = text.replace("failover: {", "failover: {preset: conservative, ")
    file = tmp_path / "turnout.yaml"
    file.write_text(f"{text}checks: {{interval_seconds: 1, max_usd_per_day: 0}}\n")
    with process(tmp_path, "serve", "-c", str(file)) as serving, Client(serving["grpc"][0]) as client:
        lose(client)
        told = client.events("checked", after_sequence=0, timeout_seconds=GENEROUS_SECONDS)
        first = next(told)
        with process(tmp_path, "sim", "--port", str(port), "--provider", "north=openai"):
            well = next(event for event in told if event.fields["result"] == "ok")
            (north,) = client.status("north", timeout_seconds=GENEROUS_SECONDS).providers

    assert (first.target.provider, first.fields["result"], first.fields["means"]) == ("north", "CONNECTION", "list")
    assert well.target.provider == "north"
    # Open for five minutes, it is half-open at once, and stays so: a list of models closes nothing.
    assert north.endpoints[0].breaker == pb.BREAKER_STATE_HALF_OPEN
    assert north.targets[0].HasField("last_check_time")
    assert north.targets[0].availability < 1.0


def lose(client: Client) -> None:
    """Has calls fail until the endpoint is open."""
    for _ in range(10):
        with contextlib.suppress(TurnoutError):
            client.ask("Hi", options=pb.RoutingOptions(include=["north"]), timeout_seconds=GENEROUS_SECONDS)
        (north,) = client.status("north", timeout_seconds=GENEROUS_SECONDS).providers
        if north.endpoints[0].breaker != pb.BREAKER_STATE_CLOSED:
            return
    raise AssertionError("it never opened")
