"""The official SDKs through a plan: their failures move the plan on, and the sidecar learns from what they report."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples.stage import Actor, Stage, stage
from turnout import Client
from turnout.v1 import router_pb2 as pb

pytest.importorskip("openai", reason="the openai SDK is not installed: clients/python/examples/requirements.txt")
pytest.importorskip("anthropic", reason="the anthropic SDK is not installed: clients/python/examples/requirements.txt")

from examples.vendor_sdks import MissingKeyError, ask

pytestmark = pytest.mark.full

KEYS = {"NORTH_API_KEY": "sk-n", "SOUTH_API_KEY": "sk-s"}
NORTH, SOUTH = Actor(wire="openai"), Actor(wire="anthropic")


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


def states(client: Client) -> dict[str, pb.TargetState]:
    assert client.flush(60)
    return {provider.provider: provider.targets[0] for provider in client.status().providers}


def test_it_answers_and_says_who_did(tmp_path: Path) -> None:
    with stage(tmp_path, south=SOUTH, north=NORTH) as running:
        ended = running.play("vendor_sdks.py", "What is a turnout?", environment=KEYS)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip()
    assert "answered by south/m" in ended.stderr


@pytest.mark.parametrize("first", ["north", "south"])
def test_each_sdk_reports_what_its_call_took(tmp_path: Path, first: str) -> None:
    actors = {first: {"north": NORTH, "south": SOUTH}[first]}
    with stage(tmp_path, **actors) as running, Client(running.address) as client:
        said = ask(client, "What is a turnout?")
        state = states(client)[first]

    assert said.target == f"{first}/m"
    assert state.success_rate == 1
    assert state.output_tokens == len(said.text.split(" "))
    assert state.input_tokens > 0
    assert state.HasField("time_to_first_token")


FAULTS = {
    "overloaded": {"kind": "error", "status": 503},
    "rate limited": {"kind": "error", "status": 429, "retry_after_seconds": 30},
    "hung up": {"kind": "reset"},
    "cut off": {"kind": "cut", "after_pieces": 3},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.parametrize("first", ["north", "south"])
def test_a_failure_of_one_sdk_is_an_answer_of_the_other_and_one_call_each(
    tmp_path: Path, first: str, fault: dict[str, object]
) -> None:
    second = "south" if first == "north" else "north"
    actors = {"north": NORTH, "south": SOUTH}
    with stage(tmp_path, **{name: actors[name] for name in (first, second)}) as running, Client(running.address) as c:
        running.change(first, fault=fault)
        said = ask(c, "What is a turnout?")
        found = states(c)

        assert said.target == f"{second}/m"
        # One call: the SDK's own retries are off.
        assert (running.request_count(first), running.request_count(second)) == (1, 1)
        assert (found[first].success_rate, found[second].success_rate) == (0, 1)


def test_a_plan_is_used_again_without_asking(tmp_path: Path) -> None:
    with stage(tmp_path, north=NORTH) as running, Client(running.address) as client:
        for _ in range(3):
            ask(client, "What is a turnout?")

        assert client.plan(task="chat", input_tokens=5, max_output_tokens=300, options=_options()).reused


def test_a_missing_key_comes_out_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NORTH_API_KEY")
    with stage(tmp_path, north=NORTH, south=SOUTH) as running, Client(running.address) as client:
        with pytest.raises(MissingKeyError, match="NORTH_API_KEY is not set"):
            ask(client, "Hi")

        assert _calls(running) == 0


def test_a_target_for_which_there_is_no_sdk_comes_out_at_once_and_nothing_is_said_against_it(tmp_path: Path) -> None:
    with stage(tmp_path, star=Actor(wire="gemini"), north=NORTH) as running, Client(running.address) as client:
        ended = running.play("vendor_sdks.py", "Hi", environment=KEYS)
        plan = client.plan(task="chat")

        assert _calls_of(running, "star", "north") == 0
    assert ended.returncode == 1
    assert (
        ended.stderr
        == "vendor_sdks: star/m speaks gemini, and there is no SDK for that here: leave it out with exclude\n"
    )
    assert [candidate.target.provider for candidate in plan.candidates] == ["star", "north"]


def _options() -> pb.RoutingOptions:
    return pb.RoutingOptions(mid_stream=pb.MID_STREAM_POLICY_RESTART)


def _calls(running: Stage) -> int:
    return _calls_of(running, "north", "south")


def _calls_of(running: Stage, *providers: str) -> int:
    return sum(map(running.request_count, providers))
