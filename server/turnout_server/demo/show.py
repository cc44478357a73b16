"""What is shown of the demonstration while it runs; there is one way for terminals and one for everything else."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from turnout.answer import target_name
from turnout.v1 import router_pb2 as pb
from turnout_server.demo.record import RequestRecord
from turnout_server.demo.watch import StatusWatch


class Source(StrEnum):
    """Who says an event line."""

    STAGE = "stage"
    """The demonstration itself: what it did to the simulated providers."""
    SIDECAR = "sidecar"
    """The sidecar's log."""


class Show(Protocol):
    """Takes what happens, in order; times are seconds from the first request."""

    def event(self, at_seconds: float, source: Source, text: str) -> None:
        """Shows one event."""
        ...

    def request(self, record: RequestRecord) -> None:
        """Shows one request that has ended."""
        ...

    def status(self, at_seconds: float, watch: StatusWatch) -> None:
        """Shows the sidecar's present view of the targets."""
        ...

    def close(self) -> None:
        """Ends the show; nothing is shown after it."""
        ...


class NoShow:
    """Shows nothing, where only the summary is wanted."""

    def event(self, at_seconds: float, source: Source, text: str) -> None:
        """Does nothing."""

    def request(self, record: RequestRecord) -> None:
        """Does nothing."""

    def status(self, at_seconds: float, watch: StatusWatch) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


def route_taken(record: RequestRecord) -> str:
    """Writes a request's attempts as one line: `boreal/small OVERLOADED → atlas/small`."""
    steps = [f"{attempt.target} {attempt.failure}".rstrip() for attempt in record.attempts]
    return " → ".join(steps) if steps else record.target or "no target"


def choice_text(decision: pb.Decision) -> str:
    """Writes why the first candidate came first, where there is no room for the sidecar's sentence.

    As in `COST 1.00, then cirrus/medium 0.69; 2 BREAKER_OPEN`: strategy and score, the runner-up's, who was rejected.
    """
    strategy = pb.Strategy.Name(decision.strategy).removeprefix("STRATEGY_")
    if not decision.candidates:
        text = f"{strategy}: no candidate"
    else:
        text = f"{strategy} {decision.candidates[0].score:.2f}"
        if len(decision.candidates) > 1:
            runner_up = decision.candidates[1]
            text += f", then {target_name(runner_up.target)} {runner_up.score:.2f}"
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(decision.rejection_counts.items()))
    return f"{text}; {counts}" if counts else text


def quantiles(state: pb.TargetState) -> tuple[float | None, float | None]:
    """Returns a target's median and 95th percentile of latency in seconds, None where there is none yet."""
    summary = state.latency
    p50 = summary.p50.ToNanoseconds() / 1e9 if summary.HasField("p50") else None
    p95 = summary.p95.ToNanoseconds() / 1e9 if summary.HasField("p95") else None
    return p50, p95


def quantile_text(seconds: float | None) -> str:
    """Writes a latency that may not be known yet."""
    return "-" if seconds is None else duration_text(seconds)


def duration_text(seconds: float) -> str:
    """Writes a duration as people read it: 85 ms, 1.24 s."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
