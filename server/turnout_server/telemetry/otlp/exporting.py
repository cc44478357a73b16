"""Whether telemetry is sent to a collector, and how, as OpenTelemetry's variables say."""

from __future__ import annotations

from collections.abc import Mapping


def exports(signal: str, environ: Mapping[str, str]) -> bool:
    """Whether a signal ("traces", "metrics") is sent over OTLP: only where an endpoint is set, and nothing forbids it.

    The specification's default endpoint is not one: a sidecar on its own does not call a collector that nobody has.
    """
    name = signal.upper()
    endpoint = environ.get(f"OTEL_EXPORTER_OTLP_{name}_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if not endpoint or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporters = environ.get(f"OTEL_{name}_EXPORTER", "").strip().lower() or "otlp"
    return "otlp" in (exporter.strip() for exporter in exporters.split(","))
