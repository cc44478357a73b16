"""A real Prometheus scrapes a real sidecar before real, simulated providers, and answers what operators ask."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.processes import Server, configuration, serving, simulated
from tests.tool_paths import tool, working
from turnout import Client
from turnout.v1 import router_pb2 as pb

pytestmark = pytest.mark.full

LONG_SECONDS = 60.0
PROVIDER_SECONDS = 0.5
CALLS = 4

CONFIGURATION = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: [{folder}/rules*.yaml]
scrape_configs:
  - job_name: turnout
    static_configs: [{{targets: ["{address}"], labels: {{namespace: llm, pod: turnout-6d5f-abcde}}}}]
"""
ROOT = Path(__file__).parents[2]
KNOWN = {
    "SELECTOR": 'namespace="llm",pod=~"turnout-.*"',
    "RELEASE": "turnout",
    "RUNBOOKS": "docs/operations.md",
    "LATENCY_SECONDS": "20.48",
    "LATENCY_OBJECTIVE": "0.95",
    "MAX_DELAY_SECONDS": "0.1",
}
"""What the chart fills into alerts; shares are all the same here."""

SELDOM = {
    "turnout_budget_limit_usd",
    "turnout_budget_remaining_usd",
    "turnout_listener_certificate_expiry_timestamp_seconds",
    "turnout_outcomes_total",
    "turnout_price_unknown_total",
    "turnout_snapshot_failures_total",
}
"""Series that are there only where something is configured, or has happened, that is not in this test."""

FAILING_FIRST = "routing: {provider_order: [south, north], policies: {default: {strategy: PRIORITY}}}"


class Prometheus:
    """One that runs, and what it has to say to queries."""

    def __init__(self, address: str) -> None:
        self._address = address

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self._address}/-/ready", timeout=LONG_SECONDS) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def ask(self, query: str) -> dict[str, float]:
        """The values of a query, by the one label that its result has; "" where there is none."""
        result = self._get(f"query?{urllib.parse.urlencode({'query': query})}")["result"]
        return {"".join(each["metric"].values()): float(each["value"][1]) for each in result}

    def alerts(self) -> dict[str, tuple[str, str]]:
        """How each alert does ("ok" or what is wrong with it), and its state."""
        groups = self._get("rules?type=alert")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return {rule["name"]: (rule.get("lastError") or rule["health"], rule["state"]) for rule in rules}

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://{self._address}/api/v1/{path}", timeout=LONG_SECONDS) as answer:
            return json.load(answer)["data"]


def until(holds: Callable[[], bool], what: str) -> None:
    ends_at = time.monotonic() + LONG_SECONDS
    while not holds():
        assert time.monotonic() < ends_at, what
        time.sleep(0.2)


@contextmanager
def scraping(folder: Path, address: str) -> Iterator[Prometheus]:
    program = working("prometheus", "--version")
    with socket.create_server(("127.0.0.1", 0)) as free:
        own = f"127.0.0.1:{free.getsockname()[1]}"
    (folder / "prometheus.yml").write_text(CONFIGURATION.format(address=address, folder=folder))
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(  # noqa: S603 - a tool of ours
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={own}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            prometheus = Prometheus(own)
            until(prometheus.ready, (folder / "prometheus.log").read_text())
            yield prometheus
        finally:
            process.terminate()
            process.wait(timeout=LONG_SECONDS)


@contextmanager
def sidecar(folder: Path, more: str = "") -> Iterator[Server]:
    """One before a provider that answers after half a second, and another that always fails."""
    providers = ["--provider", "north=openai", "--provider", "south=anthropic"]
    slow = ["--latency", f"north:first_token_seconds={PROVIDER_SECONDS}"]
    with serving(["sim", "--port", "0", *providers, *slow, "--fault", "south:error,status=529"]) as sim:
        urls = {name: each["base_url"] for name, each in sim.line["providers"].items()}
        text = f"{simulated(urls)}\n{FAILING_FIRST}\n{more}"
        with serving(["serve", "-c", configuration(folder, text)]) as server:
            yield server


def test_prometheus_scrapes_a_sidecar_and_answers_what_operators_ask(tmp_path: Path) -> None:
    with (
        sidecar(tmp_path) as server,
        scraping(tmp_path, server.line["metrics"]) as prometheus,
        Client(server.address) as client,
    ):
        ask = prometheus.ask
        client.execute("Hello", timeout_seconds=LONG_SECONDS)
        until(lambda: ask('sum(turnout_attempts_total{outcome="ok"})') == {"": 1}, "the first call was not scraped")
        for _ in range(CALLS - 1):
            client.execute("Hello", timeout_seconds=LONG_SECONDS)
        until(lambda: ask('sum(turnout_attempts_total{outcome="ok"})') == {"": CALLS}, "calls were not scraped")
        failed = ask('sum by (target) (turnout_attempts_total{outcome="OVERLOADED"})')
        moved = ask("sum by (to) (turnout_failovers_total)")
        p50 = ask(
            "histogram_quantile(0.5, sum by (le) "
            '(rate(gen_ai_client_operation_duration_seconds_bucket{error_type="",target="north/small"}[1m])))'
        )
        rpc = ask('sum by (rpc_method) (rpc_server_call_duration_seconds_count{rpc_status_code="OK"})')
        rpc_seconds = ask("sum(rpc_server_call_duration_seconds_sum)")[""]
        overhead = ask("sum(turnout_overhead_duration_seconds_sum)")[""]
        overhead_count = ask("sum(turnout_overhead_duration_seconds_count)")
        tokens = ask("sum by (gen_ai_token_type) (gen_ai_client_token_usage_count)")
        cost = ask("sum by (target) (turnout_cost_usd_total)")
        health = ask("turnout_target_health > 0")
        up = ask("sum(up)")

    assert up == {"": 1}
    assert set(failed) == {"south/small"}
    assert 1 <= failed["south/small"]
    assert set(moved) == {"north/small"}
    assert rpc == {"turnout.v1.RouterService/Execute": CALLS}
    # Half a second falls between 0.32 and 0.64 s; a busy machine only makes it longer.
    assert p50[""] >= 0.32
    # However slow the machine: what the provider took is no part of the overhead, and all else is.
    assert overhead_count == {"": CALLS}
    assert 0.0 < overhead <= rpc_seconds - CALLS * PROVIDER_SECONDS
    assert tokens == {"input": CALLS, "output": CALLS}
    assert cost["north/small"] > 0
    assert health


def documented() -> dict[str, str]:
    """The queries of the document, by what it says that they tell."""
    (block,) = re.findall(r"```promql\n(.*?)```", (ROOT / "docs" / "metrics.md").read_text(), re.DOTALL)
    return {
        question.removeprefix("# "): " ".join(lines)
        for question, *lines in (part.splitlines() for part in block.strip().split("\n\n"))
    }


def test_every_query_of_the_document_has_an_answer(tmp_path: Path) -> None:
    queries = documented()
    with (
        sidecar(tmp_path) as server,
        scraping(tmp_path, server.line["metrics"]) as prometheus,
        Client(server.address) as client,
    ):
        only_north = pb.RoutingOptions(include=["north/small"])
        for _ in range(2):
            client.execute("Hello", timeout_seconds=LONG_SECONDS)
            client.execute("Hello", options=only_north, timeout_seconds=LONG_SECONDS)
        # Twice at least, since rates are made of two.
        until(
            lambda: bool(prometheus.ask("min(count_over_time(turnout_rejections_total[1m])) >= 3")),
            "rejections were not scraped",
        )
        answers = {
            question: prometheus.ask(query.replace("openai/gpt-4o", "south/small"))
            for question, query in queries.items()
        }

    assert len(queries) >= 5
    assert [question for question, answer in answers.items() if not answer] == []


def quick_rules(folder: Path) -> None:
    """Writes the chart's alerts as rules that do not wait: what they ask for is the same."""
    text = (ROOT / "helm" / "turnout" / "files" / "alerts.yaml").read_text()
    text = re.sub(r"@(\w+)@", lambda mark: KNOWN.get(mark[1], "0.1"), text.replace("[2m]", "[3s]"))
    rules = [{key: value for key, value in rule.items() if key != "for"} for rule in yaml.safe_load(text)]
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "turnout", "rules": rules}]}))


def test_alerts_tell_of_a_provider_that_is_down_and_of_nothing_else(tmp_path: Path) -> None:
    quick_rules(tmp_path)
    down = {"TurnoutProviderDown", "TurnoutTargetDown", "TurnoutBreakerOpen"}
    with (
        sidecar(tmp_path) as server,
        scraping(tmp_path, server.line["metrics"]) as prometheus,
        Client(server.address) as client,
    ):

        def firing() -> set[str]:
            return {name for name, (_, state) in prometheus.alerts().items() if state == "firing"}

        until(lambda: bool(prometheus.ask("turnout_start_timestamp_seconds")), "nothing was scraped")
        until(lambda: "TurnoutGone" not in firing(), "it is still missed")
        ends_at = time.monotonic() + LONG_SECONDS
        while not down <= firing():
            assert time.monotonic() < ends_at, f"only {firing()} fire"
            client.execute("Hello", timeout_seconds=LONG_SECONDS)
        found = prometheus.alerts()
        series = set(prometheus.ask("count by (__name__) ({job='turnout'})"))

    assert {name: health for name, (health, _) in found.items() if health != "ok"} == {}
    # Those of attempts fire by right: half of them fail, and nobody waits here until that has gone on for long.
    assert {name for name, (_, state) in found.items() if state == "firing"} - down <= {"TurnoutTargetFailing"}
    assert asked_for() - series <= SELDOM


def asked_for() -> set[str]:
    text = (ROOT / "helm" / "turnout" / "files" / "alerts.yaml").read_text()
    return set(re.findall(r"\b((?:turnout|gen_ai|rpc)_\w+)\{@SELECTOR@", text))


@pytest.mark.parametrize("profile", ["small", "full"])
def test_page_follows_prometheus_naming_rules(tmp_path: Path, profile: str) -> None:
    promtool = tool("promtool")
    with sidecar(tmp_path, f"telemetry: {{metrics_profile: {profile}}}") as server, Client(server.address) as client:
        client.execute("Hello", timeout_seconds=LONG_SECONDS)
        with urllib.request.urlopen(f"http://{server.line['metrics']}/metrics", timeout=LONG_SECONDS) as answer:
            page = answer.read()
    checked = subprocess.run(  # noqa: S603 - a tool of ours
        [promtool, "check", "metrics"], input=page, capture_output=True, check=False, timeout=LONG_SECONDS
    )

    assert b"gen_ai_client_operation_duration_seconds_bucket" in page
    assert (b"gen_ai_request_model" in page) == (profile == "full")
    assert (0, b"") == (checked.returncode, checked.stdout + checked.stderr)
