"""`turnout strategy`, `costs`, `budgets add`, `providers add`, `state` and their like, against a real sidecar."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from google.protobuf.duration_pb2 import Duration

from tests.cli.processes import configuration, serving, simulated
from turnout import Client
from turnout.v1 import router_pb2 as pb
from turnout_server.commands.exits import Exit, Failure
from turnout_server.main import cli

MORE = """
routing: {provider_order: [north], policies: {default: {strategy: PRIORITY}, nightly: {strategy: COST}}}
admin: {allow_register: true, allowed_hosts: [llm.example.com]}
limits: {max_message_mib: 8}
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("commands")
    providers = simulated({"north": "http://127.0.0.1:9", "south": "http://127.0.0.1:9"})
    with serving(["serve", "-c", configuration(folder, providers + MORE)]) as server:
        yield server.address


class Ended(NamedTuple):
    code: int
    out: str
    err: str


def on(address: str, *arguments: str) -> Ended:
    """Runs a command as `turnout` does, in this process: what a process adds is held by the tests of other commands."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            cli.main([*arguments, "--address", address], prog_name="turnout", standalone_mode=False)
        except Failure as error:
            error.show()
            code = error.code
        except click.UsageError as error:
            error.show()
            code = Exit.USAGE
    return Ended(code, out.getvalue(), err.getvalue())


def test_strategy_shows_changes_and_gives_back_the_rules(address: str) -> None:
    shown = on(address, "strategy")
    changed = on(address, "strategy", "cost", "--weight", "cost=0.7", "--preset", "aggressive", "--order", "south")
    read = json.loads(on(address, "strategy", "--json").out)
    back = json.loads(on(address, "strategy", "--undo", "all", "--json").out)["routing"]

    preferred = json.loads(on(address, "strategy", "--prefer", "south/small", "--json").out)["routing"]
    on(address, "strategy", "--undo", "prefer")

    assert preferred["preferences"] == ["south/small"]
    assert [line.split()[:2] for line in shown.out.splitlines()[:2]] == [
        ["policy", "default"],
        ["strategy", "PRIORITY"],
    ]
    assert shown.out.splitlines()[-1] == "other policies: nightly (--policy NAME)"
    assert "cost=0.7 latency=0.3 availability=0.3" in changed.out
    assert (read["routing"]["strategy"], read["policies"]) == ("STRATEGY_COST", ["default", "nightly"])
    assert read["routing"]["failover_preset"] == "FAILOVER_PRESET_AGGRESSIVE"
    assert read["routing"]["provider_order"] == ["south", "north"]
    assert (back["strategy"], back["provider_order"]) == ("STRATEGY_PRIORITY", ["north", "south"])


def test_strategy_says_in_one_line_what_is_wrong(address: str) -> None:
    stale = on(address, "strategy", "cost", "--etag", "0")
    weights = on(address, "strategy", "--weight", "cost=-1")
    unknown = on(address, "strategy", "--policy", "weekly", "latency")
    misspelt = on(address, "strategy", "--weight", "speed=1")
    both = on(address, "strategy", "--weight", "cost=1", "--undo", "weights")

    assert (stale.code, "STALE_ETAG" in stale.err) == (1, True)
    assert (weights.code, "routing.weights.cost: is -1" in weights.err) == (1, True)
    assert (unknown.code, 'policy "weekly" does not exist; the policies are default, nightly' in unknown.err) == (
        1,
        True,
    )
    assert (misspelt.code, '"speed=1" is no weight' in misspelt.err) == (2, True)
    assert (both.code, "both given and to be undone" in both.err) == (2, True)
    assert json.loads(on(address, "strategy", "--json").out)["routing"]["strategy"] == "STRATEGY_PRIORITY"


def test_budgets_are_added_and_deleted(address: str) -> None:
    added = on(address, "budgets", "add", "hourly", "--limit-usd", "2", "--scope", "task", "--period", "hour")
    again = on(address, "budgets", "add", "hourly", "--limit-usd", "2", "--scope", "task", "--json")
    alone = on(address, "budgets", "add", "daily", "--limit-usd", "2")
    deleted = on(address, "budgets", "delete", "hourly")
    none = on(address, "budgets", "delete", "hourly")

    assert added.out.splitlines()[1].split() == ["hourly", "task", "hour", "$2.00", "$0", "$0", "$2.00", "-", "-"]
    assert (again.code, "ALREADY_EXISTS" in again.err) == (1, True)
    assert (alone.code, "each sidecar counts alone" in alone.err) == (1, True)
    assert (deleted.code, deleted.out) == (0, "hourly limits nothing any more\n")
    assert (none.code, "UNKNOWN_BUDGET" in none.err) == (1, True)


def test_budgets_are_told_as_csv(address: str) -> None:
    on(address, "budgets", "add", "by-tier", "--limit-usd", "2", "--scope", "tier")
    (line,) = csv.DictReader(on(address, "budgets", "--csv").out.splitlines())
    both = on(address, "budgets", "--csv", "--json")
    on(address, "budgets", "delete", "by-tier")

    assert (line["budget"], line["scope"], line["key"], line["period"]) == ("by-tier", "tier", "", "month")
    assert (float(line["limit_usd"]), float(line["remaining_usd"]), float(line["spent_usd"])) == (2.0, 2.0, 0.0)
    assert both.code == 2


def test_costs_are_told_by_name_and_as_csv(address: str) -> None:
    with Client(address) as client:
        for number, cost in enumerate((0.5, 0.25)):
            outcome = pb.Outcome(
                attempt_id=f"attempt-{number}",
                target=pb.Target(provider="north", model="small"),
                ok=not number,
                failure=pb.FAILURE_KIND_STALLED if number else pb.FAILURE_KIND_UNSPECIFIED,
                latency=Duration(seconds=1),
                cost_usd=cost,
                task="chat, of course",
            )
            (told,) = client.report([outcome], timeout_seconds=60).results
            assert told.status == pb.OUTCOME_STATUS_ACCEPTED, told
    shown = on(address, "costs", "--by", "provider", "--series")
    lines = list(csv.DictReader(on(address, "costs", "--by", "task", "--csv").out.splitlines()))
    as_json = json.loads(on(address, "costs", "--since", "10", "--step", "1", "--json").out)
    month = list(csv.DictReader(on(address, "costs", "--since", "44640", "--csv").out.splitlines()))
    wrong = on(address, "costs", "--step", "7")

    assert shown.out.splitlines()[0].endswith("UTC: $0.75, $0.25 of it for failures")
    assert shown.out.splitlines()[2].split() == ["north", "$0.75", "$0.25", "100%", "-"]
    assert {line["name"] for line in lines} == {"chat, of course"}
    assert sum(float(line["cost_usd"]) for line in lines) == 0.75
    assert sum(float(line["failed_cost_usd"]) for line in lines) == 0.25
    assert all(line["time"].endswith(":00:00Z") for line in lines)
    assert (as_json["total_usd"], as_json["failed_usd"]) == (0.75, 0.25)
    assert sum(float(line["cost_usd"]) for line in month) == 0.75
    assert all(line["time"].endswith("T00:00:00Z") for line in month)
    assert (wrong.code, "step: is 420 s" in wrong.err) == (1, True)


def test_callers_words_are_obeyed_by_no_terminal_and_no_spreadsheet(address: str) -> None:
    words = {"=HYPERLINK(A1)", "+1+cmd", "-2+3", "@SUM(A1)", "\x1b[2Jgone", "\x1b]0;mine\x07", "plain"}
    on(address, "budgets", "add", "by-user", "--limit-usd", "2", "--scope", "user", "--per-pod")
    with Client(address) as client:
        for number, word in enumerate(sorted(words)):
            outcome = pb.Outcome(
                attempt_id=f"word-{number}",
                target=pb.Target(provider="north", model="small"),
                ok=True,
                latency=Duration(seconds=1),
                cost_usd=0.01,
                caller=pb.Caller(tenant=word, user=word),
            )
            client.report([outcome], timeout_seconds=60)
            client.route(caller=pb.Caller(tenant=word), timeout_seconds=60)
    printed = [
        on(address, "costs", "--by", "tenant", "--csv").out,
        on(address, "budgets", "--csv").out,
        on(address, "decisions", "--csv").out,
    ]
    on(address, "budgets", "delete", "by-user")

    for out in printed:
        cells = {cell for row in csv.reader(out.splitlines()) for cell in row}
        assert {"plain", "'=HYPERLINK(A1)", "'+1+cmd", "'-2+3", "'@SUM(A1)"} <= cells
        assert all(line.isprintable() for line in out.splitlines())


def test_providers_are_added_changed_and_removed(address: str, tmp_path: Path) -> None:
    models = tmp_path / "models.yaml"
    models.write_text("- {name: small, quality: 70, price: {input_per_million_usd: 1, output_per_million_usd: 2}}\n")
    house = ("house", "--wire", "openai", "--base-url", "https://llm.example.com/v1")
    added = on(address, "providers", "add", *house, "--models-file", str(models), "--drained")
    again = on(address, "providers", "add", *house, "--model", "m")
    elsewhere = on(
        address, "providers", "add", "x", "--wire", "openai", "--base-url", "https://x.example", "--model", "m"
    )
    changed = json.loads(on(address, "providers", "set", "house", "--region", "eu", "--json").out)
    nothing = on(address, "providers", "set", "house")
    faults = []
    for text in (
        "- {quality: 70}",
        "- {name: m, qualty: 70}",
        "- {name: m}\n- {name: n, price: {input_per_million: 1}}",
        "{name: m}",
        "- m\n- {name: n, price: 3, custom_capabilities: {a: b}, api_key:sk-planted: }",
    ):
        models.write_text(text)
        faulty = on(address, "providers", "set", "house", "--models-file", str(models))
        faults.append((faulty.code, faulty.err.partition("models.yaml: ")[2].strip()))
    removed = on(address, "providers", "remove", "house")
    own = on(address, "providers", "remove", "north")

    assert added.out.splitlines()[0].split() == ["provider", "house", "(drained)"]
    assert (again.code, "ALREADY_EXISTS" in again.err) == (1, True)
    assert (elsewhere.code, "on none of the hosts that admin.allowed_hosts has" in elsewhere.err) == (1, True)
    assert (changed["region"], changed["models"][0]["quality"], changed["drained"]) == ("eu", 70.0, True)
    assert nothing.code == 2
    assert faults == [
        (2, "[0].name: the key is required"),
        (2, '[0].qualty: unknown key; did you mean "quality"?'),
        (
            2,
            (
                "[1].price.input_per_million_usd: the key is required; [1].price.output_per_million_usd: the key is "
                'required; [1].price.input_per_million: unknown key; did you mean "input_per_million_usd"?'
            ),
        ),
        (2, "a list is needed here, one row for each model"),
        (
            2,
            (
                "[0]: a block of keys is needed here; [1].price: a block of keys is needed here; "
                "[1].custom_capabilities: a list is needed here; [1]: unknown key, not repeated since it may hold a "
                "secret; write keys as in `key: value`, with the space"
            ),
        ),
    ]
    assert (removed.code, removed.out) == (0, "removed: house/small\n")
    assert (own.code, "is the configuration's" in own.err) == (1, True)


def test_a_state_that_the_sidecar_takes_in_no_message_is_told_with_its_size(address: str, tmp_path: Path) -> None:
    file = tmp_path / "state"
    file.write_bytes(bytes(9 * 1024 * 1024))
    refused = on(address, "state", "import", str(file))
    says = "has 9.0 MiB, more than the sidecar takes in one message; raise its limits.max_message_mib"

    assert (refused.code, f"{file} {says}" in refused.err) == (1, True)


def test_state_is_written_to_a_file_of_our_own_and_taken_over_from_one(address: str, tmp_path: Path) -> None:
    file = tmp_path / "state"
    written = on(address, "state", "export", str(file), "--history")
    taken = on(address, "state", "import", str(file))
    as_json = json.loads(on(address, "state", "import", str(file), "--json").out)
    file.write_bytes(file.read_bytes()[:-1])
    damaged = on(address, "state", "import", str(file))
    missing = on(address, "state", "import", str(tmp_path / "other"))

    assert written.out == f"{file.stat().st_size + 1} bytes written to {file}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert taken.out.startswith("taken over: ")
    assert "targets" in as_json
    assert (damaged.code, "is not whole" in damaged.err) == (1, True)
    assert (missing.code, "cannot be read" in missing.err) == (2, True)


def test_a_file_that_others_could_read_is_ours_alone_once_a_state_is_in_it(address: str, tmp_path: Path) -> None:
    file = tmp_path / "state"
    file.write_text("of before")
    file.chmod(0o644)
    on(address, "state", "export", str(file))

    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_bytes().startswith(b"turnout-snapshot")
