"""The commands that speak to a running sidecar, against a real one with simulated providers behind it."""

from __future__ import annotations

import csv
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.processes import Ended, Server, configuration, run, serving, simulated

NOBODY = "127.0.0.1:1"


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    flags = ["--provider", "north=openai", "--provider", "south=anthropic", "--latency", "*:first_token_seconds=0.01"]
    with serving(["sim", "--port", "0", *flags]) as sim:
        urls = {name: provider["base_url"] for name, provider in sim.line["providers"].items()}
        file = configuration(tmp_path_factory.mktemp("sidecar"), simulated(urls))
        with serving(["serve", "-c", file]) as server:
            yield server


def on(sidecar: Server, *arguments: str, stdin: str = "") -> Ended:
    return run(*arguments, env={"TURNOUT_ADDRESS": sidecar.address}, stdin=stdin)


def test_ask_prints_the_answer_on_stdout_and_who_gave_it_on_stderr(sidecar: Server) -> None:
    ended = on(sidecar, "ask", "Why is the sky blue?", "--target", "south/small")

    assert ended.code == 0
    assert ended.out.strip()
    assert "[south/small, " in ended.err


def test_ask_reads_the_prompt_from_standard_input(sidecar: Server) -> None:
    ended = on(sidecar, "ask", "-", stdin="Why is the sky blue?")

    assert ended.code == 0
    assert ended.out.strip()


def test_ask_as_json_is_one_event_a_line_and_ends_with_the_completion(sidecar: Server) -> None:
    events = [json.loads(line) for line in on(sidecar, "ask", "hello", "--json").out.splitlines()]

    assert next(iter(events[0])) == "decision"
    assert next(iter(events[-1])) == "completion"


def test_ask_with_an_empty_prompt_is_wrong_usage(sidecar: Server) -> None:
    assert on(sidecar, "ask", " ").code == 2


def test_route_prints_candidates_with_the_reason(sidecar: Server) -> None:
    ended = on(sidecar, "route", "--input-tokens", "100", "--strategy", "cost")

    assert ended.code == 0
    assert "north/small" in ended.out
    assert "strategy COST" in ended.out


def test_route_as_json_has_the_names_of_the_contract(sidecar: Server) -> None:
    decision = json.loads(on(sidecar, "route", "--json", "--full").out)["decision"]

    assert {"north/small", "south/small"} == {
        f"{one['target']['provider']}/{one['target']['model']}" for one in decision["candidates"]
    }


def test_route_that_no_target_can_serve_says_why_with_code_1(sidecar: Server) -> None:
    ended = on(sidecar, "route", "--capability", "AUDIO")

    (line,) = ended.error_lines
    assert ended.code == 1
    assert line.startswith("turnout: NO_ELIGIBLE_TARGET: ")


def test_route_with_an_unknown_policy_is_code_1(sidecar: Server) -> None:
    ended = on(sidecar, "route", "--policy", "nope")

    assert ended.code == 1
    assert "UNKNOWN_POLICY" in ended.err


def test_status_lists_every_target(sidecar: Server) -> None:
    ended = on(sidecar, "status")

    assert ended.code == 0
    assert "north/small" in ended.out
    assert "south/small" in ended.out


def test_status_of_one_provider_as_json(sidecar: Server) -> None:
    report = json.loads(on(sidecar, "status", "north", "--json", "--window", "1").out)

    assert ["north"] == [provider["provider"] for provider in report["providers"]]


def test_status_of_an_unknown_provider_is_code_1(sidecar: Server) -> None:
    ended = on(sidecar, "status", "nope")

    assert ended.code == 1
    assert "UNKNOWN_PROVIDER" in ended.err


def test_decision_is_listed_and_explained_with_its_attempts(sidecar: Server) -> None:
    on(sidecar, "ask", "hello", "--task", "explained")
    (record,) = json.loads(on(sidecar, "decisions", "--task", "explained", "--json").out)["decisions"]

    text = on(sidecar, "explain", record["decision"]["decision_id"]).out

    assert "CANDIDATE" in text
    assert "ATTEMPT" in text
    assert "result    OK after 1 attempt, 0 failovers" in text


def test_decisions_are_limited_and_newest_first(sidecar: Server) -> None:
    for task in ("older", "newer"):
        on(sidecar, "route", "--task", task)

    records = json.loads(on(sidecar, "decisions", "--limit", "2", "--json").out)["decisions"]

    assert ["newer", "older"] == [record["decision"]["task"] for record in records]


def test_decisions_are_exported_as_csv(sidecar: Server) -> None:
    on(sidecar, "ask", "hello", "--task", "exported", "--target", "south/small")
    rows = list(csv.DictReader(on(sidecar, "decisions", "--task", "exported", "--csv").out.splitlines()))

    assert [(row["answered"], row["result"], row["attempts"], row["failures"]) for row in rows] == [
        ("south/small", "OK", "1", "")
    ]
    assert float(rows[0]["cost_usd"]) > 0


def test_statistics_are_grouped_and_say_what_time_they_cover(sidecar: Server) -> None:
    on(sidecar, "ask", "hello", "--task", "counted", "--target", "south/small")
    heading, row, covered = on(sidecar, "statistics", "--by", "task", "--task", "counted").out.splitlines()

    assert heading.split()[:3] == ["TASK", "DECISIONS", "UNSERVED"]
    assert row.split()[:5] == ["counted", "1", "0", "1", "100.0%"]
    assert row.endswith("south/small 100%")
    assert covered.endswith(" UTC")


def test_targets_are_compared_line_by_line(sidecar: Server) -> None:
    on(sidecar, "ask", "hello", "--task", "compared", "--target", "south/small")
    rows = on(sidecar, "compare", "north/small", "south/small", "--task", "compared").out.splitlines()

    assert [row.split()[0] for row in rows[:3]] == ["TARGET", "north/small", "south/small"]


def test_trend_has_a_line_for_each_minute(sidecar: Server) -> None:
    on(sidecar, "ask", "hello", "--target", "south/small")
    rows = on(sidecar, "trend", "south", "--measure", "cost").out.splitlines()

    assert rows[0].split()[:3] == ["TIME", "(UTC)", "VALUE"]
    assert "#" in "".join(rows)


def test_status_shows_how_well_tokens_and_cost_are_estimated(sidecar: Server) -> None:
    on(sidecar, "ask", "hello", "--target", "south/small")
    text = on(sidecar, "status", "--estimates").out

    assert "INPUT TOKENS" in text
    assert [line for line in text.splitlines() if line.startswith("south/small") and "%)" in line]


def test_what_is_forgotten_is_confirmed_first(sidecar: Server) -> None:
    on(sidecar, "route", "--task", "forgotten")

    assert on(sidecar, "forget", stdin="n\n").code != 0
    assert "no decisions" not in on(sidecar, "decisions", "--task", "forgotten").out
    assert on(sidecar, "forget", "--yes").out.endswith("decisions forgotten\n")
    assert on(sidecar, "decisions", "--task", "forgotten").out == "no decisions\n"


def test_explaining_an_unknown_decision_is_code_1(sidecar: Server) -> None:
    ended = on(sidecar, "explain", "nope")

    assert ended.code == 1
    assert "UNKNOWN_DECISION" in ended.err


COMMANDS = [
    *(["status"], ["route"], ["ask", "hello"], ["decisions"], ["explain", "x"]),
    *(["statistics"], ["trend", "a"]),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_dead_sidecar_is_one_line_and_code_3(command: list[str]) -> None:
    ended = run(*command, "--address", NOBODY)

    (line,) = ended.error_lines
    assert ended.code == 3
    assert line == f"turnout: cannot reach the sidecar at {NOBODY}: Connection refused; is it running there?"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_address_that_is_none_is_one_line_and_code_2(command: list[str]) -> None:
    ended = run(*command, "--address", "nowhere")

    (line,) = ended.error_lines
    assert ended.code == 2
    assert "'nowhere' is not an address of a sidecar" in line


def test_missing_unix_socket_is_code_3(tmp_path: Path) -> None:
    ended = run("status", "--address", f"unix:{tmp_path}/none.sock")

    assert ended.code == 3
    assert len(ended.error_lines) == 1


def test_server_that_never_answers_is_code_3() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()[:2]
        ended = run("status", "--address", f"{host}:{port}", "--timeout", "0.5")

    assert ended.code == 3
    assert len(ended.error_lines) == 1


def test_label_without_a_value_is_wrong_usage() -> None:
    assert run("route", "--label", "team", "--address", NOBODY).code == 2


BEYOND = [
    ["route", "--max-latency", "1e300"],
    ["route", "--max-latency", "nan"],
    ["route", "--max-first-token", "inf"],
    ["route", "--max-cost", "nan"],
    ["route", "--input-tokens", "9" * 30],
    ["route", "--max-output-tokens", "9" * 30],
    ["ask", "hello", "--temperature", "nan"],
    ["ask", "hello", "--max-output-tokens", "9" * 12],
    ["status", "--timeout", "nan"],
    ["status", "--timeout", "1e300"],
    ["decisions", "--since", "nan"],
    ["decisions", "--since", "1e12"],
    ["trend", "a", "--window", "1441"],
]


@pytest.mark.parametrize("command", BEYOND, ids=" ".join)
def test_number_that_the_contract_cannot_hold_is_wrong_usage_and_names_the_option(command: list[str]) -> None:
    ended = run(*command, "--address", NOBODY)

    assert ended.code == 2
    assert f"Invalid value for '{command[-2]}': " in ended.error_lines[-1]


NOT_UTF8 = b"a\xffb".decode(errors="surrogateescape")


@pytest.mark.parametrize("command", [["ask", NOT_UTF8], ["route", "--task", NOT_UTF8], ["explain", NOT_UTF8]])
def test_text_that_is_not_utf8_is_one_line_and_code_2(command: list[str]) -> None:
    ended = run(*command, "--address", NOBODY)

    assert ended.code == 2
    assert ended.error_lines == ["turnout: what was given is not UTF-8 text"]


def test_host_that_is_not_known_is_one_plain_line_and_code_3() -> None:
    ended = run("status", "--address", "nobody.invalid:50151")

    (line,) = ended.error_lines
    assert ended.code == 3
    assert "]" not in line
