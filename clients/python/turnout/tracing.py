"""Carries the caller's current trace context to the sidecar, where OpenTelemetry is installed; else does nothing."""

from __future__ import annotations

from collections.abc import Callable

Inject = Callable[[dict[str, str]], None]

CONTEXT_KEYS = ("traceparent", "tracestate", "baggage")
"""What the contract accepts; other propagators' keys are not sent."""

MAX_VALUE_CHARACTERS = 2048
"""Longer values are left out: the sidecar takes 8 KiB of metadata in all, and a trace must not fail a call."""


def installed_inject() -> Inject | None:
    """Returns OpenTelemetry's way to write the current context, None where the package is not installed."""
    try:
        from opentelemetry.propagate import inject  # noqa: PLC0415 - an optional package
    except ImportError:
        return None
    return inject


def trace_metadata(inject: Inject | None) -> list[tuple[str, str]]:
    """Returns the metadata that makes the sidecar's spans children of the current span; empty without one."""
    if inject is None:
        return []
    carrier: dict[str, str] = {}
    inject(carrier)
    return [
        (key, carrier[key])
        for key in CONTEXT_KEYS
        if key in carrier and len(carrier[key]) <= MAX_VALUE_CHARACTERS and carrier[key].isascii()
    ]
