"""What has been read of a sidecar so far: its messages as they came, and why what is missing could not be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from turnout.v1 import admin_pb2, router_pb2

WINDOWS_MINUTES = (1, 5, 15, 60)
"""What the contract lets statistics look back."""


class Part(StrEnum):
    """What is read beside the state of providers, each by a call of its own."""

    TRENDS = "trends"
    STATISTICS = "statistics"
    DECISIONS = "decisions"
    EVENTS = "events"
    BUDGETS = "budgets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One look at a sidecar.

    `trends` are by target, minute by minute; `statistics` are by target, as far back as sums are kept. `decisions` and
    `events` are newest first. `refused` says in words why a part is not there. `lost` says why the sidecar does not
    answer, "" while it does; `age_seconds` is how long ago `status` was read.
    """

    address: str
    status: router_pb2.ProviderStatusResponse
    trends: Mapping[str, admin_pb2.GetTrendResponse] = field(default_factory=lambda: MappingProxyType({}))
    statistics: admin_pb2.GetStatisticsResponse | None = None
    decisions: tuple[admin_pb2.DecisionRecord, ...] = ()
    events: tuple[admin_pb2.Event, ...] = ()
    budgets: tuple[admin_pb2.Budget, ...] = ()
    refused: Mapping[Part, str] = field(default_factory=lambda: MappingProxyType({}))
    lost: str = ""
    age_seconds: float = 0.0

    @property
    def now(self) -> datetime:
        """The time by the sidecar's own clock; that of the last values while it does not answer."""
        as_of = self.status.as_of.ToDatetime(UTC)
        return as_of if self.lost else as_of + timedelta(seconds=self.age_seconds)

    @property
    def window_seconds(self) -> float:
        """How far back rates and latencies look; less than asked for while the sidecar is young."""
        return self.status.actual_window.ToNanoseconds() / 1e9
