"""`turnout shadow` and what `turnout explain` says of shadows and rules, as processes, against a real sidecar."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.processes import Ended, configuration, run, serving, simulated

LONG_SECONDS = 60
POLICIES = """
routing:
  select: [{when: {task: nightly}, policy: plain}]
  policies:
    default: {strategy: PRIORITY, shadow_policy: other}
    other: {strategy: PRIORITY, preferences: [south]}
    plain: {}
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("shadows")
    providers = simulated({"north": "http://127.0.0.1:9", "south": "http://127.0.0.1:9"})
    with serving(["serve", "-c", configuration(folder, providers + POLICIES)]) as server:
        yield server.address


@pytest.fixture(scope="module")
def regional(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One whose policy and shadow differ, and whose targets are in a region."""
    folder: Path = tmp_path_factory.mktemp("regional")
    providers = simulated({"north": "http://127.0.0.1:9", "south": "http://127.0.0.1:9"})
    providers = providers.replace("allow_private: true", "allow_private: true\n    region: eu")
    with serving(["serve", "-c", configuration(folder, providers + POLICIES)]) as server:
        yield server.address


def on(address: str, *arguments: str) -> Ended:
    return run(*arguments, env={"TURNOUT_ADDRESS": address})


def listed(address: str, count: int) -> dict[str, Any]:
    """Waits until so many differences are listed."""
    ends_at = time.monotonic() + LONG_SECONDS
    while True:
        answer: dict[str, Any] = json.loads(on(address, "shadow", "--json").out)
        if len(answer["differences"]) >= count or time.monotonic() > ends_at:
            return answer


def test_differences_are_shown_with_tallies_and_on_demand_with_reasons(address: str) -> None:
    first = json.loads(on(address, "route", "--json").out)["decision"]["decision_id"]
    second = json.loads(on(address, "route", "--input-tokens", "1000", "--json").out)["decision"]["decision_id"]
    answer = listed(address, 2)
    shown = on(address, "shadow", "--limit", "1")
    whole = on(address, "shadow", "--reasons", "--policy", "default")
    lines = shown.out.splitlines()

    assert [each["decision_id"] for each in answer["differences"]] == [second, first]
    assert [tally["differed_count"] for tally in answer["tallies"]] == ["2"]
    assert lines[0].split() == ["POLICY", "SHADOW", "DECISIONS", "AGREED", "DIFFERED", "NOT", "ASKED"]
    assert lines[1].split() == ["default", "other", "2", "0.0%", "2", "0"]
    assert (lines[2], lines[3].split()[0], lines[4].split()[0], len(lines)) == ("", "DECISION", second, 5)
    assert "+0.000000 USD" in lines[4]
    assert whole.out.count("  other: PRIORITY (policy other): south/") == 2
    assert whole.out.count("  default: PRIORITY (policy default): north/") == 2


def test_one_decision_is_explained_with_its_rule_and_its_shadow(address: str) -> None:
    watched = json.loads(on(address, "route", "--input-tokens", "1000", "--json").out)["decision"]["decision_id"]
    plain = json.loads(on(address, "route", "--task", "nightly", "--json").out)["decision"]["decision_id"]
    listed(address, 1)
    ends_at = time.monotonic() + LONG_SECONDS
    explained = on(address, "explain", watched).out
    while "shadow    " not in explained and time.monotonic() < ends_at:
        explained = on(address, "explain", watched).out
    other = on(address, "explain", plain).out

    assert "policy    default was chosen by routing.default_policy\n" in explained
    assert "shadow    other would have chosen south/" in explained
    assert ", expected cost +0.000000 USD, latency +0.00 s\n" in explained
    assert "policy    plain was chosen by routing.select[0] (task nightly)\n" in other
    assert "shadow    " not in other


def test_what_callers_ask_for_is_obeyed_by_no_terminal(regional: str) -> None:
    on(regional, "route", "--region", "eu", "--region", "\x1b]0;mine\x07", "--json")
    listed(regional, 1)
    shown = on(regional, "shadow", "--reasons")

    assert "in eu, else \N{REPLACEMENT CHARACTER}]0;mine\N{REPLACEMENT CHARACTER}" in shown.out
    assert all(line.isprintable() for line in shown.out.splitlines())


def test_a_policy_without_a_shadow_and_one_that_is_not_there_say_so(address: str) -> None:
    plain = on(address, "shadow", "--policy", "plain")
    unknown = on(address, "shadow", "--policy", "othre")

    assert (plain.code, plain.out) == (
        0,
        "policy plain has no shadow: routing.policies.NAME.shadow_policy names one\n",
    )
    assert (unknown.code, "policy 'othre' does not exist; the policies are default, other, plain" in unknown.err) == (
        1,
        True,
    )
