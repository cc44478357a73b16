"""What an operator would want to hear of, in the log and in the trace of the call that met it."""

from __future__ import annotations

from structlog.typing import FilteringBoundLogger

from turnout_server.core.events import Event, EventName
from turnout_server.telemetry.logs.logs import redact_text
from turnout_server.telemetry.traces.tracing import add_to_span

GRAVE = frozenset(
    {
        EventName.BREAKER_OPENED,
        EventName.ENDPOINT_OPENED,
        EventName.LOCAL_NETWORK,
        EventName.CREDENTIAL_OUT,
        EventName.BUDGET_EXHAUSTED,
        EventName.CONFIG_REFUSED,
        EventName.UNAVAILABLE,
        EventName.HIGH_LATENCY,
        EventName.HIGH_ERROR_RATE,
    }
)
"""What is logged as a warning."""


def log_event(log: FilteringBoundLogger, event: Event) -> None:
    """Writes one event of the core, to the log (what hurts as a warning) and to the span of the call that met it."""
    write = log.warning if event.name in GRAVE else log.info
    write(event.name.value, **_where(event), **event.fields)
    event_to_span(event)


def event_to_span(event: Event) -> None:
    """Writes one event of the core to the span of the call that met it alone."""
    said = {**_where(event), **event.fields}
    # The log takes credentials out of its own lines; nobody else does that for a span.
    add_to_span(
        event.name.value, {key: redact_text(value) if isinstance(value, str) else value for key, value in said.items()}
    )


def _where(event: Event) -> dict[str, str]:
    where: dict[str, str] = {}
    if event.target is not None:
        where["target"] = str(event.target)
    if event.provider:
        where["provider"] = event.provider
    if event.endpoint:
        where["endpoint"] = event.endpoint
    return where
