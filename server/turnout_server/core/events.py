"""What an operator would want to hear of, as data; the shell logs it, counts it and streams it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from turnout_server.core.model import Target


class EventName(StrEnum):
    """Names as they stand in logs and metrics."""

    FAILURE = "failure"
    SWITCH = "switch"
    UNAVAILABLE = "unavailable"
    RECOVERED = "recovered"
    HIGH_LATENCY = "high_latency"
    HIGH_ERROR_RATE = "high_error_rate"
    BREAKER_OPENED = "breaker.opened"
    BREAKER_HALF_OPEN = "breaker.half_open"
    BREAKER_CLOSED = "breaker.closed"
    ENDPOINT_OPENED = "endpoint.opened"
    ENDPOINT_HALF_OPEN = "endpoint.half_open"
    ENDPOINT_CLOSED = "endpoint.closed"
    LOCAL_NETWORK = "local_network"
    COOLING_DOWN = "cooling_down"
    CREDENTIAL_OUT = "credential.out"
    CREDENTIAL_BACK = "credential.back"
    SUSPECT = "suspect"
    PROBE_EXPIRED = "probe.expired"
    BUDGET_ALERT = "budget.alert"
    BUDGET_EXHAUSTED = "budget.exhausted"
    HEDGED = "hedged"
    THROTTLED = "throttled"
    CROWDED = "crowded"
    CONFIG_RELOADED = "config.reloaded"
    CONFIG_REFUSED = "config.refused"
    DRAINED = "drained"
    UNDRAINED = "undrained"
    HEALTH_RESET = "health.reset"
    CHECKED = "checked"
    DRIFTING = "drifting"
    STEADY = "steady"
    ROUTING_CHANGED = "routing.changed"
    PROVIDER_REGISTERED = "provider.registered"
    PROVIDER_CHANGED = "provider.changed"
    PROVIDER_REMOVED = "provider.removed"
    HISTORY_CLEARED = "history.cleared"
    STATE_IMPORTED = "state.imported"
    BUDGET_CREATED = "budget.created"
    BUDGET_CHANGED = "budget.changed"
    BUDGET_DELETED = "budget.deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened. `at` is monotonic seconds; `fields` holds plain values, never a secret or content."""

    name: EventName
    at: float
    target: Target | None = None
    provider: str = ""
    endpoint: str = ""
    fields: Mapping[str, str | int | float] = field(default_factory=lambda: MappingProxyType({}))
