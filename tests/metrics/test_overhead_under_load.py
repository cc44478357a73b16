"""A real sidecar that is kept busy: whatever the load, its overhead is what is left of a call beside its provider."""

from __future__ import annotations

import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cli.processes import configuration, serving, simulated
from turnout import Client

LONG_SECONDS = 120.0
PROVIDER_SECONDS = 0.3
"""What the provider keeps each call waiting before its first word, on its own clock."""
CALLERS, CALLS = 8, 4
PROMPT = "All that they had ever asked was to be told the time. " * 4000
"""Some 200 KB, which take milliseconds to read, to write and to check: eight callers of it keep the loop busy."""


def summed(address: str) -> dict[str, float]:
    """What the page has, each name summed up over its labels."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=LONG_SECONDS) as answer:
        page = answer.read().decode()
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return sums


@pytest.mark.full
@pytest.mark.parametrize("streaming", [False, True])
def test_overhead_is_what_is_left_of_calls_beside_their_provider(tmp_path: Path, *, streaming: bool) -> None:
    slow = ["--latency", f"north:first_token_seconds={PROVIDER_SECONDS},jitter=0"]
    with serving(["sim", "--port", "0", "--provider", "north=openai", *slow]) as sim:
        file = configuration(tmp_path, simulated({"north": sim.line["providers"]["north"]["base_url"]}))
        with serving(["serve", "-c", file]) as server, Client(server.address) as client:

            def call(_number: int) -> None:
                if streaming:
                    with client.stream(PROMPT, timeout_seconds=LONG_SECONDS) as stream:
                        list(stream)
                else:
                    client.execute(PROMPT, timeout_seconds=LONG_SECONDS)

            with ThreadPoolExecutor(CALLERS) as callers:
                list(callers.map(call, range(CALLERS * CALLS)))
            calls, ends_at = CALLERS * CALLS, time.monotonic() + LONG_SECONDS
            # Callers have their answer a moment before the call has ended.
            while (sums := summed(server.line["metrics"]))["turnout_overhead_duration_seconds_count"] < calls:
                assert time.monotonic() < ends_at, sums
                time.sleep(0.2)
    rpc_seconds = sums["rpc_server_call_duration_seconds_sum"]
    attempt_seconds = sums["gen_ai_client_operation_duration_seconds_sum"]
    overhead_seconds = sums["turnout_overhead_duration_seconds_sum"]

    assert sums["turnout_overhead_duration_seconds_count"] == calls
    assert sums["turnout_attempts_total"] == calls
    # All that is not in an attempt is ours, and what its provider kept it waiting for is not. Both hold on any machine.
    if not streaming:
        assert overhead_seconds >= rpc_seconds - attempt_seconds - 1e-3 * calls
    assert 0.0 < overhead_seconds <= rpc_seconds - PROVIDER_SECONDS * calls
    # Writing hundreds of kilobytes is work of ours while the attempt runs.
    assert overhead_seconds > 1e-4 * calls
