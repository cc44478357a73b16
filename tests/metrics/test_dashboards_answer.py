"""Every panel of every dashboard shows something of a real sidecar, by a real Prometheus, while providers fail."""

from __future__ import annotations

import json
import math
import re
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.certificates import NEEDS_OPENSSL, self_signed
from tests.cli.processes import serving
from tests.deploy.dashboard_files import filled_in, other_queries, queries
from tests.metrics.busy_sidecar import (
    LONG_SECONDS,
    PROVIDERS,
    free_address,
    serving_busily,
    sidecar_configuration,
)
from tests.tool_paths import working

pytestmark = [pytest.mark.full, NEEDS_OPENSSL, pytest.mark.timeout(600)]

ENOUGH_SECONDS = 150.0
SCRAPED_TWICE = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: llm/turnout
    static_configs: [{{targets: ["{address}"], labels: {{namespace: llm, pod: turnout-6d5f-abcde}}}}]
  - job_name: host
    static_configs: [{{targets: ["{address}"]}}]
"""
"""As the Prometheus operator does it in a cluster, and as anybody does it outside of one."""

BETWEEN = {
    "fleet: Success A",
    "cost: Spent on failures A",
    "cost: Budget remaining A",
    "cost: Attempts without a price A",
    "decisions: Without a target A",
    "decisions: Answered from the cache A",
    "decisions: Shadow agrees A",
}
"""Queries whose answer is a share that is neither none nor all, as some calls fail and some do not."""


@dataclass(frozen=True)
class Prometheus:
    address: str

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=LONG_SECONDS) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def values(self, text: str) -> list[float]:
        """The values of a query's result; what is no number is left out, as panels do."""
        url = f"http://{self.address}/api/v1/query?{urllib.parse.urlencode({'query': text})}"
        with urllib.request.urlopen(url, timeout=LONG_SECONDS) as answer:
            result = json.load(answer)["data"]["result"]
        return [value for each in result if not math.isnan(value := float(each["value"][1]))]


@contextmanager
def scraping(folder: Path, address: str) -> Iterator[Prometheus]:
    program, own = working("prometheus", "--version"), free_address()
    (folder / "prometheus.yml").write_text(SCRAPED_TWICE.format(address=address))
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
            ends_at = time.monotonic() + LONG_SECONDS
            while not prometheus.ready():
                assert time.monotonic() < ends_at, (folder / "prometheus.log").read_text()
                time.sleep(0.2)
            yield prometheus
        finally:
            process.terminate()
            process.wait(timeout=LONG_SECONDS)


@pytest.mark.parametrize("profile", ["full", "small"])
def test_every_panel_shows_something(tmp_path: Path, profile: str) -> None:
    certificate, metrics = self_signed(tmp_path, "localhost"), free_address()
    with serving(["sim", "--port", "0", *PROVIDERS]) as sim:
        urls = {name: each["base_url"] for name, each in sim.line["providers"].items()}
        config = sidecar_configuration(tmp_path, certificate, urls, metrics, profile)
        with scraping(tmp_path, metrics) as prometheus:
            with serving_busily(config, certificate):
                until_restarts_can_be_seen(prometheus)
            # The same address begins anew: a restart of the container.
            with serving_busily(config, certificate):
                cluster = {"namespace": "llm", "job": "llm/turnout", "pod": "turnout-6d5f-abcde"}
                in_cluster = shown(prometheus, cluster, profile)
                outside = shown(prometheus, {"job": "host"}, profile)

    assert {name: "nothing" for name, values in in_cluster.items() if not values} == {}
    assert {name: "nothing" for name, values in outside.items() if not values} == {}
    for found in (in_cluster, outside):
        assert [1] == found["fleet: Sidecars A"]
        assert [1] == found["fleet: Restarts A"]
    assert {name: values for name, values in in_cluster.items() if not all(map(math.isfinite, values))} == {}
    # Shares of a whole are no more than that.
    whole = {f"{name}: {panel['title']} {query['refId']}" for name, panel, query in queries() if is_share(panel)}
    beyond = {name: in_cluster[name] for name in whole & set(in_cluster) if not all_within(in_cluster[name])}
    assert beyond == {}


def is_share(panel: dict[str, dict[str, dict[str, object]]]) -> bool:
    defaults = panel["fieldConfig"]["defaults"]
    return defaults["unit"] == "percentunit" and defaults.get("max") == 1


def all_within(values: list[float]) -> bool:
    return all(0 <= one <= 1 for one in values)


def until_restarts_can_be_seen(prometheus: Prometheus) -> None:
    ends_at = time.monotonic() + LONG_SECONDS
    while len(prometheus.values("turnout_start_timestamp_seconds")) < 2:
        assert time.monotonic() < ends_at, "the sidecar was not scraped"
        time.sleep(0.2)


def asked_in(profile: str) -> dict[str, str]:
    """All queries by name, in the profile small without those of panels that say that they need the other."""
    found = dict(other_queries())
    for name, panel, query in queries():
        if profile == "full" or not re.search("Profile full|The profile small has no", panel["description"]):
            found[f"{name}: {panel['title']} {query['refId']}"] = query["expr"]
    return found


def shown(prometheus: Prometheus, choices: dict[str, str], profile: str) -> dict[str, list[float]]:
    """What panels and choices showed last, once all showed what they should, or when there was time enough."""
    asked = asked_in(profile)
    found: dict[str, list[float]] = {}
    ends_at = time.monotonic() + ENOUGH_SECONDS
    while True:
        for name, text in asked.items():
            values = prometheus.values(filled_in(text, choices, rate="20s", time_range="5m"))
            # Providers fail and recover: what one moment lacks, another has.
            if values and (name not in BETWEEN or 0 < values[0] < 1):
                found[name] = values
            found.setdefault(name, [])
        if all(found.values()) or time.monotonic() > ends_at:
            return found
        time.sleep(1.0)
