"""`turnout drain`, `undrain` and `reset` as processes, against the real sidecar in front of simulated providers."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.cli.processes import Ended, run
from tests.clients.real_sidecar import World, world
from turnout import Client

GENEROUS_SECONDS = 60


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("administration")) as running:
        yield running


def on(world_: World, *arguments: str) -> Ended:
    return run(*arguments, env={"TURNOUT_ADDRESS": world_.address})


def asked(world_: World) -> str:
    with Client(world_.address) as client:
        return client.ask("Hi", timeout_seconds=GENEROUS_SECONDS).target.provider


def test_drain_and_undrain_say_what_holds_now(sidecar: World) -> None:
    drained = on(sidecar, "drain", "north/m")
    elsewhere = asked(sidecar)
    status = on(sidecar, "status", "north")
    back = on(sidecar, "undrain", "north/m")

    assert (drained.code, drained.out) == (0, "north/m gets no new calls; those that run go on\n")
    assert elsewhere == "south"
    assert "drained" in status.out
    assert (back.code, back.out) == (0, "north/m gets calls again\n")
    assert asked(sidecar) == "north"


def test_what_is_still_drained_is_said(sidecar: World) -> None:
    on(sidecar, "drain", "north", "north/m")
    whole = on(sidecar, "undrain", "north")
    on(sidecar, "drain", "north")
    one = on(sidecar, "undrain", "north/m", "north")

    assert whole.out == "north gets calls again, but for what is drained alone: north/m\n"
    assert one.out.splitlines() == [
        "north/m still gets no calls: north is drained as a whole; `turnout undrain north` ends that",
        "north gets calls again",
    ]


def test_json_has_the_providers_as_they_are_now(sidecar: World) -> None:
    drained = json.loads(on(sidecar, "drain", "--json", "north/m", "south").out)["providers"]
    undrained = json.loads(on(sidecar, "undrain", "--json", "north/m", "south").out)["providers"]

    assert [(each["provider"], each["drained"]) for each in drained] == [("north", False), ("south", True)]
    assert drained[0]["drained_targets"] == ["north/m"]
    assert [each.get("drained_targets", []) for each in undrained] == [[], []]
    assert drained[0]["etag"] != undrained[0]["etag"]


def test_reset_has_a_target_called_at_once(sidecar: World) -> None:
    sidecar.fault("north", kind="error", status=404)
    # The simulated vendor's 404 takes the key out for the model.
    assert asked(sidecar) == "south"
    # The fault is over.
    answer = httpx.patch(f"{sidecar.control_url}/north", json={"fault": None}, trust_env=False)
    assert answer.is_success
    assert asked(sidecar) == "south"
    ended = on(sidecar, "reset", "north/m")

    assert (ended.code, ended.out) == (0, "reset: north/m\n")
    assert asked(sidecar) == "north"


def test_reset_of_everything_has_to_be_meant(sidecar: World) -> None:
    nothing, both = on(sidecar, "reset"), on(sidecar, "reset", "--all", "north")
    everything = on(sidecar, "reset", "--all", "--json")

    assert (nothing.code, both.code) == (2, 2)
    assert "give what to reset, or --all" in nothing.err
    assert [each["provider"] for each in json.loads(everything.out)["targets"]] == ["north", "south"]


def test_what_was_changed_before_a_wrong_name_is_said(sidecar: World) -> None:
    drained, reset = on(sidecar, "drain", "--json", "north/m", "nope"), on(sidecar, "reset", "north/m", "nope")
    as_json = on(sidecar, "reset", "--json", "north/m", "nope")
    on(sidecar, "undrain", "north/m")

    assert (drained.code, reset.code, as_json.code) == (1, 1, 1)
    assert json.loads(drained.out)["providers"][0]["drained_targets"] == ["north/m"]
    assert reset.out == "reset: north/m\n"
    assert json.loads(as_json.out)["targets"] == [{"provider": "north", "model": "m"}]
    assert all('no provider "nope"' in ended.err for ended in (drained, reset, as_json))


@pytest.mark.parametrize(
    ("command", "name", "message"),
    [
        ("drain", "nroth", 'there is no provider "nroth"; did you mean "north"?'),
        ("undrain", "north/x", 'there is no target "north/x"; did you mean "north/m"?'),
        ("reset", "quite-another", 'there is no provider "quite-another"; `turnout status` lists what there is'),
    ],
)
def test_a_typo_is_answered_with_the_nearest_name(sidecar: World, command: str, name: str, message: str) -> None:
    ended = on(sidecar, command, name)

    assert (ended.code, ended.out, ended.err) == (1, "", f"turnout: {message}\n")


def test_names_are_completed_by_the_sidecar(sidecar: World) -> None:
    def completed(*words: str, address: str = sidecar.address) -> list[str]:
        environment = {
            "TURNOUT_ADDRESS": address,
            "_TURNOUT_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(("turnout", *words)),
            "COMP_CWORD": str(len(words)),
        }
        return [line.partition(",")[2] for line in run(env=environment).out.splitlines() if line]

    assert completed("drain", "n") == ["north", "north/m"]
    assert completed("reset", "south/") == ["south/m"]
    assert completed("undrain", "", address="127.0.0.1:1") == []
    assert completed("drain", "--js") == ["--json"]


def test_the_group_of_providers_has_the_same_commands(sidecar: World) -> None:
    assert on(sidecar, "providers", "drain", "south").out == "south gets no new calls; those that run go on\n"
    assert on(sidecar, "providers", "undrain", "south").out == "south gets calls again\n"
    assert on(sidecar, "providers", "reset", "south").out == "reset: south/m\n"


def test_wrong_usage_and_a_sidecar_that_is_not_there_have_their_codes() -> None:
    nowhere = {"TURNOUT_ADDRESS": "127.0.0.1:1"}

    assert run("drain").code == 2
    assert run("drain", "/m", env=nowhere).code == 2
    assert run("undrain", "north", env=nowhere).code == 3
