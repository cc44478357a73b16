"""Dashboards ask only for what there is, in words that Prometheus takes, in a model that Grafana takes."""

from __future__ import annotations

import json
import re
import subprocess
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from helm.documents.dashboards import MARK, SOURCES, document, read_dashboard
from helm.documents.panels import DashboardError
from tests.deploy.dashboard_files import (
    NAMES,
    SERIES,
    UnknownPromqlError,
    apart,
    dashboard,
    everything,
    filled_in,
    labels_of,
    panels,
    queries,
)
from tests.deploy.helm_chart import CHART
from tests.tool_paths import tool
from turnout.v1 import router_pb2
from turnout_server.config.describe import json_schema
from turnout_server.core.hedging import HedgeResult
from turnout_server.core.model import BreakerState, FailureKind, RejectionReason
from turnout_server.main import COMMANDS
from turnout_server.telemetry.metrics.instruments import Kind, Profile

UNITS = frozenset(
    {"bool_yes_no", "bytes", "cps", "currencyUSD", "dateTimeFromNow", "ops", "percentunit", "reqps", "s", "short"}
)
"""Those of Grafana's value formats that are in use; whoever adds one looks it up there."""
COLORS = frozenset({"green", "yellow", "orange", "red"})
UIDS = {
    "fleet": "turnout-fleet",
    "provider": "turnout-provider",
    "cost": "turnout-cost",
    "decisions": "turnout-decisions",
}
"""They stand in people's links: none ever changes."""
METHODS = router_pb2.DESCRIPTOR.services_by_name["RouterService"]
VALUES: dict[str, set[str]] = {
    "outcome": {"ok", "", *FailureKind},
    "state": set(BreakerState),
    "reason": set(RejectionReason),
    "rpc_status_code": {code.name for code in grpc.StatusCode},
    "rpc_method": {f"{METHODS.full_name}/{method}" for method in METHODS.methods_by_name},
    "result": {*HedgeResult, "hit", "miss"},
    "gen_ai_token_type": {"input", "output"},
    "error_type": {""},
    "chosen": {""},
    "agreed": {"true", "false"},
}
"""What labels are held to in selectors, besides the dashboard's choices."""
QUERIES = tuple(queries())
ALL = tuple(everything())
"""Those of the panels first, then what fills the choices and the vertical lines."""


def promtool_says(folder: Path, expressions: list[str]) -> subprocess.CompletedProcess[str]:
    """What promtool says of expressions, as rules."""
    rules = [{"record": f"asked_{number}", "expr": text} for number, text in enumerate(expressions)]
    file = folder / "rules.yaml"
    file.write_text(json.dumps({"groups": [{"name": "dashboards", "rules": rules}]}))
    return subprocess.run(  # noqa: S603 - a tool of ours
        [tool("promtool"), "check", "rules", "--lint=none", file],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_prometheus_parses_every_expression(tmp_path: Path) -> None:
    ended = promtool_says(tmp_path, [filled_in(text) for _, text in ALL])

    assert len(ALL) > 100
    assert (0, f"{len(ALL)} rules found") == (ended.returncode, "".join(re.findall(r"\d+ rules found", ended.stdout)))


def test_a_faulty_expression_would_be_seen(tmp_path: Path) -> None:
    assert promtool_says(tmp_path, ["sum(rate(turnout_attempts_total[5m])"]).returncode != 0


@pytest.mark.parametrize("text", [text for _, text in ALL], ids=[name for name, _ in ALL])
def test_every_series_and_label_is_there(text: str) -> None:
    expression = apart(text)
    series = {each.series for each in expression.selected}

    assert series
    assert series <= set(SERIES)
    for each in expression.selected:
        labels = {label for label, _, _ in each.matchers}
        assert labels <= labels_of(each.series)
    known = set().union(*(labels_of(each) for each in series))
    assert expression.grouping <= known | set(expression.made)
    assert set(expression.made.values()) <= known


def test_words_that_are_not_understood_are_not_passed_over() -> None:
    with pytest.raises(UnknownPromqlError, match="turnout_attempts"):
        apart("sum(turnout_attempts)")


@pytest.mark.parametrize("text", [text for _, text in ALL], ids=[name for name, _ in ALL])
def test_rates_are_of_counters_and_quantiles_of_buckets(text: str) -> None:
    expression = apart(text)
    for series in expression.in_rates:
        assert SERIES[series].kind is not Kind.GAUGE
    for each in expression.selected:
        if SERIES[each.series].kind is not Kind.GAUGE and not text.startswith("count by"):
            assert each.series in expression.in_rates
        assert each.series.endswith("_bucket") == ("histogram_quantile" in text)
    if "histogram_quantile" in text:
        assert "le" in expression.grouping


@pytest.mark.parametrize("text", [text for _, text in ALL], ids=[name for name, _ in ALL])
def test_selectors_hold_labels_to_values_that_they_can_have(text: str) -> None:
    for each in apart(text).selected:
        for label, operator, value in each.matchers:
            if value.startswith("$"):
                assert operator == "=~"
                continue
            allowed = VALUES[label]
            if "~" in operator:
                assert [one for one in allowed if re.fullmatch(value, one)], value
                # Every word of a list is one of them, unless it is a pattern.
                words = set() if re.search(r"[*(]", value) else set(value.split("|"))
                assert words <= allowed
            else:
                assert value in allowed


@pytest.mark.parametrize(("name", "panel", "query"), QUERIES, ids=[name for name, _ in ALL[: len(QUERIES)]])
def test_every_query_is_held_to_the_choices_above_the_panels(
    name: str, panel: dict[str, Any], query: dict[str, Any]
) -> None:
    chosen = {"namespace", "job", "pod", "instance"}
    for each in apart(query["expr"]).selected:
        assert chosen <= {label for label, _, value in each.matchers if value == f"${label}"}
        if "target" in {variable["name"] for variable in dashboard(name)["templating"]["list"]} and name == "provider":
            assert "$target" in {value for _, _, value in each.matchers}
    legend = set(re.findall(r"{{(\w+)}}", query["legendFormat"]))
    assert legend <= apart(query["expr"]).grouping
    assert (panel["type"] == "table") == (query["format"] == "table")


@pytest.mark.parametrize(("name", "panel", "query"), QUERIES, ids=[name for name, _ in ALL[: len(QUERIES)]])
def test_panels_that_the_small_profile_leaves_poorer_say_so(
    name: str, panel: dict[str, Any], query: dict[str, Any]
) -> None:
    expression = apart(query["expr"])
    poorer = any(not SERIES[each.series].in_small for each in expression.selected)
    for label in expression.grouping & {"target", "from", "to", "outcome"}:
        poorer |= any(
            label in labels_of(each.series) - labels_of(each.series, Profile.SMALL) for each in expression.selected
        )
    poorer |= "outcome!~" in expression.text and "cost_usd" in expression.text

    assert not poorer or re.search(r"rofile (small|full)", panel["description"]), f"{name}: {panel['title']}"


@pytest.mark.parametrize("name", NAMES)
def test_panels_neither_overlap_nor_leave_the_grid(name: str) -> None:
    places = [panel["gridPos"] for panel in dashboard(name)["panels"]]
    ids = [panel["id"] for panel in dashboard(name)["panels"]]

    assert len(ids) == len(set(ids))
    assert all(0 <= place["x"] and place["x"] + place["w"] <= 24 and place["h"] > 0 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_ = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or apart_, (one, other)


@pytest.mark.parametrize("name", NAMES)
def test_panels_say_in_which_unit_and_what_to_do(name: str) -> None:
    titles = [panel["title"] for panel in panels(name)]

    assert len(titles) == len(set(titles))
    for panel in panels(name):
        defaults = panel["fieldConfig"]["defaults"]
        steps = defaults["thresholds"]["steps"]
        values = [step["value"] for step in steps]
        assert defaults["unit"] in UNITS
        assert len(panel["description"]) > 60
        assert panel["description"].endswith((".", ".)"))
        assert {step["color"] for step in steps} <= COLORS
        assert values[0] is None
        assert all(one < other for one, other in pairwise(values[1:]))
        assert panel["pluginVersion"]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_belongs_to_one_grafana(name: str) -> None:
    whole = dashboard(name)
    text = json.dumps(whole)
    variables = {variable["name"]: variable for variable in whole["templating"]["list"]}

    assert UIDS[name] == whole["uid"]
    assert {"id", "version", "gnetId"}.isdisjoint(whole)
    assert {"datasource", "namespace", "job", "pod", "instance"} <= set(variables)
    assert ("datasource", "prometheus") == (variables["datasource"]["type"], variables["datasource"]["query"])
    for query in [*whole["panels"], *(target for panel in panels(name) for target in panel["targets"])]:
        if query.get("type") != "row":
            assert {"type": "prometheus", "uid": "${datasource}"} == query["datasource"]
    assert "http" not in text
    # Dashboards lead to each other by their tag, with time and choices.
    (link,) = whole["links"]
    assert ("dashboards", ["turnout"], True, True) == (
        link["type"],
        link["tags"],
        link["includeVars"],
        link["keepTime"],
    )
    assert "turnout" in whole["tags"]


def test_every_file_fits_into_a_config_map_and_the_annotation_that_kubectl_keeps_of_it() -> None:
    files = sorted((CHART / "files/dashboards").iterdir())

    assert sorted(f"{name}.json" for name in NAMES) == [file.name for file in files]
    assert all(file.stat().st_size < 200_000 for file in files)


def test_descriptions_name_only_panels_commands_and_keys_that_there_are() -> None:
    titles = {panel["title"] for name in NAMES for panel in panels(name)}
    lines = {"Configuration taken", "Starts"}
    sections = set(re.findall(r"^## (.+)$", (CHART / "README.md").read_text(), re.MULTILINE))
    for name in NAMES:
        for panel in panels(name):
            for quoted in re.findall(r'"([^"]+)"', panel["description"]):
                words = quoted.split()
                if words[0] == "turnout":
                    assert words[1] in COMMANDS, quoted
                elif quoted != "none":
                    assert quoted in titles | sections | lines, quoted
            for key in re.findall(r"\bconfig\.([\w.]+\w)", panel["description"]):
                assert exists(key.split(".")), key


def exists(path: list[str]) -> bool:
    """Whether a key of turnout.yaml is one; NAME stands for any name."""
    schema = json_schema()
    node: Any = schema
    for word in path:
        while "$ref" in node or "anyOf" in node or "items" in node:
            node = (
                node["anyOf"][0]
                if "anyOf" in node
                else node["items"]
                if "items" in node
                else schema["$defs"][node["$ref"].rpartition("/")[2]]
            )
        if word == "NAME":
            node = node["additionalProperties"]
        elif word in node.get("properties", {}):
            node = node["properties"][word]
        else:
            return False
    return True


def source() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((SOURCES / "fleet.yaml").read_text())
    return found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "pie"}, "fleet: Calls: the kind 'pie' is none of stat"),
        ({"colour": "red"}, "fleet: Calls: .*'colour'"),
        ({"queries": []}, "fleet: Calls: needs a description and at least one query"),
        ({"queries": [{"expression": "1"}]}, "fleet: Calls: .*'expression'"),
        ({"description": " "}, "fleet: Calls: needs a description"),
    ],
)
def test_a_panel_that_cannot_be_made_is_named(change: dict[str, Any], words: str) -> None:
    written = source()
    written["rows"][0]["panels"][0].update(change)

    with pytest.raises(DashboardError, match=words):
        read_dashboard("fleet", yaml.safe_dump(written))


def test_a_dashboard_without_what_it_needs_is_named() -> None:
    written = source()
    del written["since"]

    with pytest.raises(DashboardError, match=r"fleet: .*'since'"):
        read_dashboard("fleet", yaml.safe_dump(written))
    with pytest.raises(DashboardError, match=MARK):
        document("# Title\n", ())
