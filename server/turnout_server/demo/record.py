"""What the demonstration's client saw: one record for each request, written once, when the request has ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Mode(StrEnum):
    """How a request was made."""

    ADVISE = "advise"
    """Route, an HTTP call of our own, ReportOutcome."""
    EXECUTE = "execute"
    STREAM = "stream"


class Act(StrEnum):
    """The three acts."""

    BEFORE = "before"
    DURING = "during"
    AFTER = "after"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenAttempt:
    """One call to one target; `failure` is empty for success."""

    target: str
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """One request from the client's side.

    `at_seconds` counts from the first request. `target` gave the answer, "" if there was none; then `error` says why.
    `reason` is the sidecar's sentence why it decided so, `choice` the same in a few words.
    `cost_usd` is of all attempts, None where unknown.
    """

    number: int
    at_seconds: float
    act: Act
    mode: Mode
    ask: str
    latency_seconds: float
    target: str = ""
    reason: str = ""
    choice: str = ""
    decision_id: str = ""
    attempts: tuple[SeenAttempt, ...] = ()
    restart_count: int = 0
    probe: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether a complete answer came."""
        return not self.error

    @property
    def provider(self) -> str:
        """The provider that answered."""
        return self.target.partition("/")[0]

    @property
    def failed_over(self) -> bool:
        """Whether more than one target was tried."""
        return len({attempt.target for attempt in self.attempts}) > 1


@dataclass(slots=True, kw_only=True)
class Ledger:
    """All requests that have ended; the demonstration's length bounds it."""

    records: list[RequestRecord] = field(default_factory=list)

    def add(self, record: RequestRecord) -> None:
        """Takes one request that has ended."""
        self.records.append(record)

    def busiest_provider(self) -> str:
        """Returns the provider that answered most requests so far, "" before the first."""
        answered: dict[str, int] = {}
        for record in self.records:
            if record.ok:
                answered[record.provider] = answered.get(record.provider, 0) + 1
        return max(answered, key=lambda name: answered[name], default="")

    def answered_by(self, provider: str, *, since_seconds: float) -> int:
        """Returns how many requests that began since then were answered by the provider."""
        return sum(
            record.ok and record.provider == provider and record.at_seconds >= since_seconds for record in self.records
        )
