"""The chart's alerts: each fires when it should, not just below, and ends; each asks for what there is."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.alert_cases import test_files, told
from tests.deploy.helm_chart import CHART, Helm, helm, one
from tests.deploy.sidecar_chart import Example, example
from tests.tool_paths import working
from turnout_server.core.model import HEALTH_FAILURES, BreakerState, FailureKind
from turnout_server.telemetry.genai import DURATION_BUCKETS
from turnout_server.telemetry.metrics.instruments import INSTRUMENTS, Kind, prometheus_label

__all__ = ["example", "helm"]  # fixtures

ALERTS: list[dict[str, Any]] = yaml.safe_load((CHART / "files/alerts.yaml").read_text())
NAMES = [alert["alert"] for alert in ALERTS]
SUFFIXES = {Kind.COUNTER: ("_total",), Kind.HISTOGRAM: ("_bucket", "_count", "_sum"), Kind.GAUGE: ("",)}
SERIES = {
    each.prometheus_name + suffix: {prometheus_label(label) for label in each.labels} | {"pod", "namespace", "le"}
    for each in INSTRUMENTS
    for suffix in SUFFIXES[each.kind]
}


@pytest.mark.full
@pytest.mark.timeout(300)
def test_alerts_fire_when_they_should_and_only_then(helm: Helm, tmp_path: Path) -> None:
    promtool = working("promtool", "--version")
    values = {"metrics": {"prometheusRule": {"enabled": True}}, "fullnameOverride": "turnout"}
    rules = one(helm.rendered(values), "PrometheusRule")["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    files = test_files({rule["alert"]: rule for rule in rules["groups"][0]["rules"]})
    for name, file in files.items():
        (tmp_path / name).write_text(yaml.safe_dump(file))

    for what in (["check", "rules", "rules.yaml"], ["test", "rules", *files]):
        ended = subprocess.run(  # noqa: S603 - a tool of ours
            [promtool, *what], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=240
        )
        assert 0 == ended.returncode, ended.stdout + ended.stderr


@pytest.mark.parametrize("name", NAMES)
def test_each_alert_is_shown_to_fire_after_it_did_not_and_to_end(name: str) -> None:
    looks: dict[str, list[bool]] = {}
    for case, alert, fires in told():
        if alert == name:
            looks.setdefault(case, []).append(fires)

    assert any(fires[0] is False and True in fires and fires[-1] is False for fires in looks.values())


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_an_alert_says_how_bad_it_is_and_where_to_read_on(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    assert alert["annotations"]["runbook_url"] == f"@RUNBOOKS@#{anchor(alert['alert'])}"
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    # Descriptions are the same for all: what differs is in the summary.
    assert "{{" not in alert["annotations"]["description"]


@pytest.mark.parametrize("name", NAMES)
def test_the_document_of_operations_has_a_heading_for_each_alert(name: str) -> None:
    lines = (CHART.parents[1] / "docs/operations.md").read_text().splitlines()
    titles = [line.lstrip("# ") for line in lines if line.startswith("#")]
    # As GitHub makes anchors of headings: small letters, dashes for spaces, and nothing but letters and dashes.
    anchors = {re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")) for title in titles}

    assert anchor(name) in anchors


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_the_document_of_metrics_has_each_alert_with_how_bad_it_is(alert: dict[str, Any]) -> None:
    lines = (CHART.parents[1] / "docs/metrics.md").read_text().splitlines()
    (row,) = (line for line in lines if line.startswith("| `Turnout") and f"`{alert['alert']}`" in line)

    assert alert["labels"]["severity"] in row.split("|")[2]


def anchor(name: str) -> str:
    return "-".join(["alert", *re.findall(r"[A-Z][a-z]+", name)]).lower()


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_an_alert_asks_for_what_the_metrics_page_has(alert: dict[str, Any]) -> None:
    text = alert["expr"]
    asked = re.findall(r"\b((?:turnout|gen_ai|rpc)_\w+)\{([^}]*)\}", text)
    # What is only looked at beside the rest gives it no labels.
    beside = set(re.findall(r"(\w+)\{", "".join(re.findall(r"and on \([^)]*\) (.*)", text))))
    made = set(re.findall(r'label_replace\(.*?, "(\w+)", "\$1", ', text))

    assert asked
    assert len(asked) == len(re.findall(r"(?<![\"\w.])(?:turnout|gen_ai|rpc)_(?!method|status)\w+\{", text))
    for name, matchers in asked:
        assert name in SERIES
        assert "@SELECTOR@" in matchers
        assert SERIES[name] >= set(re.findall(r"(\w+)[=!]", matchers.replace("@SELECTOR@", "")))
        if name in beside:
            continue
        assert SERIES[name] | made >= set(re.findall(r"\$labels\.(\w+)", str(alert["annotations"])))
        assert SERIES[name] | made >= {each for by in re.findall(r"by \(([^)]+)\)", text) for each in by.split(", ")}


def test_alerts_know_the_words_that_the_metrics_use() -> None:
    text = "".join(alert["expr"] for alert in ALERTS)
    failing = next(alert["expr"] for alert in ALERTS if alert["alert"] == "TurnoutTargetFailing")

    assert {kind.value for kind in HEALTH_FAILURES} == set(re.findall(r'outcome=~"([^"]+)"', failing)[0].split("|"))
    outcomes = {word for words in re.findall(r'outcome=~"([^"]+)"', text) for word in words.split("|")}
    assert {kind.value for kind in FailureKind} >= outcomes
    assert {state.value for state in BreakerState} >= set(re.findall(r'state="([^"]+)"', text))


def test_a_latency_can_be_asked_for_where_the_histogram_has_a_bound() -> None:
    schema = yaml.safe_load((CHART.parent / "documents/turnout.schema.yaml").read_text())
    rule = schema["properties"]["metrics"]["$section"]["prometheusRule"]["$section"]

    assert rule["latency"]["$section"]["thresholdSeconds"]["enum"] == list(DURATION_BUCKETS)


@pytest.mark.full
def test_the_library_chart_has_the_same_alerts_for_its_own_pods(helm: Helm, example: Example, tmp_path: Path) -> None:
    shared = {"maxErrorRatio": 0.2, "disabled": ["TurnoutSlow"], "latency": {"thresholdSeconds": 5.12}}
    application = one(helm.rendered({"metrics": {"prometheusRule": {"enabled": True, **shared}}}), "PrometheusRule")
    own = {"enabled": True, "labels": {"release": "prometheus"}, **shared}
    sidecars = one(example.rendered({"metrics": {"prometheusRule": own}}), "PrometheusRule")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(sidecars["spec"]))
    checked = subprocess.run(  # noqa: S603 - a tool of ours
        [working("promtool", "--version"), "check", "rules", tmp_path / "rules.yaml"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert 0 == checked.returncode, checked.stdout + checked.stderr
    assert "prometheus" == sidecars["metadata"]["labels"]["release"]
    assert neutral(application) == neutral(sidecars)
    assert "TurnoutSlow" not in str(sidecars)
    expressions = [rule["expr"] for rule in sidecars["spec"]["groups"][0]["rules"]]
    assert all('namespace="default",pod=~"answers-.+",container="turnout"' in each for each in expressions)


def neutral(rule: dict[str, Any]) -> list[dict[str, Any]]:
    """The alerts without what they know of their release."""
    return [
        {
            **each,
            "expr": re.sub(r'namespace="[^"]*",pod=~"[^"]*"(,container="[^"]*")?', "SELECTOR", each["expr"]),
            "annotations": {
                key: re.sub(r"\b(shop-turnout|answers)\b", "IT", text) for key, text in each["annotations"].items()
            },
        }
        for each in rule["spec"]["groups"][0]["rules"]
    ]


@pytest.mark.full
def test_the_library_chart_makes_no_alerts_that_nobody_asked_for_and_knows_their_names(example: Example) -> None:
    assert [] == [each for each in example.rendered() if each["kind"] == "PrometheusRule"]
    assert "disabled" in example.refusal({"metrics": {"prometheusRule": {"disabled": ["TurnoutGon"]}}})


@pytest.mark.full
@pytest.mark.parametrize(("url", "begins"), [("", "docs/operations.md#"), ("https://e.com/ops", "https://e.com/ops#")])
def test_alerts_lead_to_where_the_operator_reads_on(helm: Helm, url: str, begins: str) -> None:
    rendered = helm.rendered({"metrics": {"prometheusRule": {"enabled": True}, "runbookUrl": url}})
    rules = one(rendered, "PrometheusRule")["spec"]["groups"][0]["rules"]

    assert {rule["annotations"]["runbook_url"].partition("alert-")[0] for rule in rules} == {begins}
    assert "@" not in re.sub(r"b/m@\w+", "", yaml.safe_dump(rules))
