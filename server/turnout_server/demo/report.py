"""Writes the summary for people."""

from __future__ import annotations

from collections.abc import Iterator

from turnout_server.demo.record import Act
from turnout_server.demo.show import duration_text
from turnout_server.demo.summary import Summary


def report_lines(summary: Summary) -> Iterator[str]:
    """Yields the summary line by line."""
    modes = ", ".join(f"{count} {mode}" for mode, count in summary.by_mode.items())
    yield f"requests    {summary.requests} in {summary.seconds:.1f} s ({modes})"
    yield f"answered    {summary.answered} = {summary.success_rate:.2%}"
    failed = ", ".join(f"{count} {kind}" for kind, count in summary.failed_attempts.items()) or "none"
    yield f"attempts    {summary.attempts}; failed: {failed}"
    yield f"failovers   {summary.failovers}; streams begun again: {summary.restarts}"
    p50, p95 = duration_text(summary.latency_p50_seconds), duration_text(summary.latency_p95_seconds)
    yield f"latency     p50 {p50}, p95 {p95}"
    dearest = f"the same tokens at the dearest target: {summary.dearest_usd:.5f} USD{_saved(summary)}"
    yield f"spend       {summary.spend_usd:.5f} USD; {dearest}"
    if summary.failed_provider:
        cut = f"{summary.cut_streams} running answers cut"
        yield f"failure     {summary.failed_provider} failed, {cut}{_breaker(summary)}"
    if summary.events:
        yield f"events      {', '.join(f'{count} {name}' for name, count in summary.events.items())}"
    width = max(map(len, summary.by_target), default=0)
    yield f"answered by {'':<{width}}  {'  '.join(f'{act.value:>6}' for act in Act)}"
    for target, counts in summary.by_target.items():
        yield f"            {target:<{width}}  {'  '.join(f'{counts[act.value]:6d}' for act in Act)}"
    for problem in summary.problems:
        yield f"PROBLEM     {problem}"


def _saved(summary: Summary) -> str:
    if summary.dearest_usd <= 0:
        return ""
    return f" ({1 - summary.spend_usd / summary.dearest_usd:.0%} saved)"


def _breaker(summary: Summary) -> str:
    if summary.opened_after_seconds is None:
        return "; no breaker opened"
    text = f"; opened: {', '.join(summary.opened)}, the first after {summary.opened_after_seconds:.1f} s"
    if summary.closed_after_seconds is None:
        return f"{text}; never closed again"
    return f"{text}; the first closed again {summary.closed_after_seconds:.1f} s after the recovery"
