"""The way that docs/operations.md goes from a symptom leads to the cause that was planted, with real processes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.tool_paths import working
from tools.operations.scenes import played

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def _tools() -> None:
    working("jaeger", "version")
    working("prometheus", "--version")


def values(text: str, query: str) -> dict[str, float]:
    """What stands below a query that begins so, by the labels as they are written; "" where there are none."""
    below = next(part for part in text.split("\n\n") if part.startswith(query)).splitlines()[1:]
    rows = [line.rsplit(maxsplit=1) for line in below if line.strip() != "(no series)"]
    return {" ".join(row[0].split()) if len(row) > 1 else "": float(row[-1]) for row in rows}


def test_a_slow_target_is_told_from_attempts_that_fail_late(tmp_path: Path) -> None:
    seen = played("slow", tmp_path)

    # One target is slow: the status names it, the event says since when, and what Turnout adds is none of it.
    assert re.search(r"north/north-1 +\w+ +\d+ +CLOSED", seen["slow/status"])
    assert "high_latency" in seen["slow/events"]
    assert "north/north-1" in seen["slow/events"]
    assert "TIMEOUT" not in seen["slow/status"]
    queries = seen["slow/queries"]
    of_target = values(queries, "histogram_quantile(0.95, sum by (le, target)")
    of_calls = values(queries, "histogram_quantile(0.95, sum by (le, rpc_method)")
    overhead = values(queries, "histogram_quantile(0.99")
    assert set(of_target) == {"target=north/north-1"}
    assert of_calls["rpc_method=turnout.v1.RouterService/ExecuteStream"] > 1.0
    assert of_target["target=north/north-1"] > max(1.0, overhead[""])
    assert values(queries, "sum by (from, failure)") == {}
    # The whole attempt was waiting for its first content.
    assert re.search(r"chat north-1 +\d+\.\d+ s", seen["slow/trace"])
    assert float(re.findall(r"time_to_first_chunk = ([\d.]+)", seen["slow/trace"])[0]) > 1.0
    # An attempt that failed late: it moved, and its trace has the attempt with its kind before the one that answered.
    assert values(seen["slow/moved"], "sum by (from, failure)")["failure=TIMEOUT from=north/north-1"] > 0
    kinds = re.findall(r"turnout.target = (\S+)\n +error.type = (\w+)", seen["slow/moved-trace"])
    assert ("north/north-1", "timeout") in kinds
    assert "rpc.status_code = OK" in seen["slow/moved-trace"]


def test_a_broken_stream_leads_to_the_target_and_to_how_it_broke(tmp_path: Path) -> None:
    seen = played("broken", tmp_path)

    queries = seen["broken/queries"]
    assert values(queries, "sum by (rpc_status_code)")["rpc_status_code=DATA_LOSS"] > 0
    assert set(values(queries, "sum by (target, outcome)")) == {"outcome=TRUNCATED target=north/north-1"}
    assert re.search(r"1 +north/north-1 +TRUNCATED +200", seen["broken/explain"])
    assert "the connection broke in the middle of the answer" in seen["broken/explain"]
    assert re.search(r"the stream broke after \d+ bytes", seen["broken/log"])
    assert "rpc.status_code = DATA_LOSS" in seen["broken/trace"]
    assert "error.type = truncated" in seen["broken/trace"]
    # Content had come before.
    assert "time_to_first_chunk" in seen["broken/trace"]
    (logged,) = re.findall(r'"decision_id":"([\w-]+)"', seen["broken/log"])
    assert seen["broken/explain"].startswith(f"$ turnout explain {logged}")


def test_prometheus_is_asked_once_it_has_scraped_what_happened(tmp_path: Path) -> None:
    # Calls before and after a scrape are a rate; a refused configuration is seen at once.
    (tmp_path / "never").mkdir()
    (tmp_path / "refused").mkdir()
    never, refused = played("never", tmp_path / "never"), played("refused", tmp_path / "refused")

    assert values(never["never/queries"], "sum by (chosen)")["chosen=north/north-1"] > 0
    assert values(never["never/queries"], "sum by (target, reason)")["reason=UNKNOWN_PRICE target=west/west-1"] > 0
    assert values(refused["refused/queries"], "max(turnout_config_refused)") == {"": 1.0}
