"""Active checks on the metrics page: by what was checked and the result, while there is something to tell."""

from __future__ import annotations

from turnout_server.telemetry.metrics.metrics import Metrics


def lines(metrics: Metrics) -> list[str]:
    body, _ = metrics.render("")
    return [line for line in body.decode().splitlines() if line.startswith("turnout_checks_total")]


def test_checks_are_told_by_what_was_checked_and_the_result() -> None:
    counts: dict[tuple[str, str], int] = {}
    metrics = Metrics()
    metrics.watch_checks(lambda: counts)
    metrics.watch(list)
    before = lines(metrics)
    counts |= {("openai@eu", "CONNECTION"): 3, ("openai/gpt-4o@eu", "ok"): 1}

    assert before == []
    # An endpoint is no target; what of it is told ends with the sidecar's own word alone.
    assert (
        lines(metrics)
        == lines(metrics)
        == [
            'turnout_checks_total{result="CONNECTION",target="openai@eu"} 3.0',
            'turnout_checks_total{result="ok",target="openai/gpt-4o@eu"} 1.0',
        ]
    )
