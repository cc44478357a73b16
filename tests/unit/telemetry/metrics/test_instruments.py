"""The table of instruments: names as OpenTelemetry makes them, all that was promised, all that alerts ask for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from turnout_server.telemetry.metrics.document import metrics_table
from turnout_server.telemetry.metrics.instruments import INSTRUMENTS, TARGET_LABELS, Kind, Profile

ROOT = Path(__file__).parents[4]
OF_THE_DESIGN = {
    "gen_ai.client.operation.duration": {"gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model"},
    "gen_ai.client.operation.time_to_first_chunk": {"gen_ai.operation.name", "gen_ai.provider.name"},
    "gen_ai.client.token.usage": {"gen_ai.token.type"},
    "rpc.server.call.duration": {"rpc.system.name", "rpc.method", "rpc.status_code"},
    "turnout.decisions": {"strategy", "chosen", "policy"},
    "turnout.rejections": {"target", "reason"},
    "turnout.failovers": {"from", "to", "failure"},
    "turnout.attempts": {"target", "outcome"},
    "turnout.cost": {"target"},
    "turnout.budget.remaining": {"budget"},
    "turnout.target.health": {"target"},
    "turnout.target.breaker": {"target", "state"},
    "turnout.target.in_flight": {"target"},
    "turnout.overhead.duration": set(),
    "turnout.retry_budget.remaining": set(),
    "turnout.config.reloads": {"result"},
    "turnout.price.unknown": {"target"},
    "turnout.outcomes": {"result"},
    "turnout.overload.shed": set(),
    "turnout.telemetry.dropped": {"signal"},
    "turnout.events": {"name"},
}


def test_every_metric_that_is_promised_is_there_with_its_attributes() -> None:
    labels = {each.name: set(each.labels) for each in INSTRUMENTS}

    assert {name: wanted for name, wanted in OF_THE_DESIGN.items() if not wanted <= labels.get(name, {"absent"})} == {}


def test_names_are_told_once_on_both_ways_out() -> None:
    assert len({each.name for each in INSTRUMENTS}) == len(INSTRUMENTS)
    assert len({each.prometheus_name for each in INSTRUMENTS}) == len(INSTRUMENTS)


@pytest.mark.parametrize(
    ("name", "prometheus_name"),
    [
        ("gen_ai.client.operation.duration", "gen_ai_client_operation_duration_seconds"),
        ("gen_ai.client.token.usage", "gen_ai_client_token_usage"),
        ("rpc.server.call.duration", "rpc_server_call_duration_seconds"),
        ("turnout.journal", "turnout_journal_bytes"),
        ("turnout.target.throttle", "turnout_target_throttle_ratio"),
        ("turnout.cost", "turnout_cost_usd"),
    ],
)
def test_names_on_the_page_follow_opentelemetrys_rules(name: str, prometheus_name: str) -> None:
    found = {each.name: each.prometheus_name for each in INSTRUMENTS}

    assert found[name] == prometheus_name


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda each: each.name)
def test_small_profile_only_leaves_labels_out(instrument: object) -> None:
    each = next(one for one in INSTRUMENTS if one is instrument)

    assert set(each.labels_in(Profile.SMALL)) <= set(each.labels_in(Profile.FULL))
    assert bool(each.buckets) == (each.kind is Kind.HISTOGRAM)
    if each.kind is not Kind.GAUGE and set(each.labels) & TARGET_LABELS:
        # A counter that sums over targets must go on when one of them goes: it has none of them then, or all.
        kept = set(each.labels_in(Profile.SMALL)) & TARGET_LABELS
        assert kept in (set(), set(each.labels) & TARGET_LABELS)


def test_document_has_the_table_that_the_instruments_make() -> None:
    document = (ROOT / "docs" / "metrics.md").read_text()

    assert metrics_table() in document, f"write what {metrics_table.__module__} prints into docs/metrics.md"


def test_alerts_of_the_chart_ask_for_series_that_both_profiles_have() -> None:
    alerts = yaml.safe_load((ROOT / "helm" / "turnout" / "files" / "alerts.yaml").read_text())
    text = "\n".join(alert["expr"] for alert in alerts)
    suffixes = {Kind.COUNTER: ("_total",), Kind.GAUGE: ("",), Kind.HISTOGRAM: ("_bucket", "_sum", "_count")}
    series = {f"{each.prometheus_name}{suffix}": each for each in INSTRUMENTS for suffix in suffixes[each.kind]}
    # Braces hold the selector: the labels that it asks for come after a comma.
    asked = re.findall(r"\b((?:turnout|gen_ai|rpc)_\w+)\{@SELECTOR@([^}]*)\}", text)
    unknown = {name for name, _ in asked} - set(series)
    lacking = {
        (name, label)
        for name, selector in asked
        if name in series
        for label in set(re.findall(r",(\w+)=", selector)) - {"le"}
        if label not in {each.replace(".", "_") for each in series[name].labels_in(Profile.SMALL)}
    }

    assert asked
    assert unknown == set()
    assert lacking == set()
    assert all(series[name].in_small for name, _ in asked)


def test_no_family_is_made_beside_the_table() -> None:
    package = ROOT / "server" / "turnout_server"
    makers = [file.name for file in package.rglob("*.py") if "MetricFamily(" in file.read_text()]

    assert makers == ["recording.py"]
