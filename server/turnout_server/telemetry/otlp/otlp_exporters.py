"""Chooses what sends a signal to a collector, by the protocol that the environment asks for; loads that one alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from turnout_server.telemetry.otlp.otlp_settings import HTTP_PROTOBUF, OtlpSettings, otlp_protocol, otlp_settings

if TYPE_CHECKING:
    from grpc import Compression

    from turnout_server.telemetry.otlp.delivery import EncodedExporter
    from turnout_server.telemetry.otlp.metric_export import PointExporter


def span_exporter(environ: Mapping[str, str]) -> EncodedExporter:
    """Returns what sends spans. Raises OtlpSettingsError, or what the SDK raises for variables it cannot read."""
    settings = otlp_settings("traces", environ)
    if otlp_protocol("traces", environ) == HTTP_PROTOBUF:
        from turnout_server.telemetry.otlp.otlp_http import HttpPost, HttpSpanExporter  # noqa: PLC0415 - as said above

        return HttpSpanExporter(HttpPost(settings))
    from turnout_server.telemetry.otlp.otlp_exporter import QuickSpanExporter  # noqa: PLC0415 - as said above

    return QuickSpanExporter(compression=_compression(settings))


def metric_exporter(environ: Mapping[str, str]) -> PointExporter:
    """Returns what sends metrics. Raises as `span_exporter` does."""
    settings = otlp_settings("metrics", environ)
    if otlp_protocol("metrics", environ) == HTTP_PROTOBUF:
        from turnout_server.telemetry.otlp.otlp_http import HttpPost  # noqa: PLC0415 - as said above
        from turnout_server.telemetry.otlp.otlp_http_metrics import HttpMetricExporter  # noqa: PLC0415 - as said above

        return HttpMetricExporter(HttpPost(settings))
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter  # noqa: PLC0415 - likewise

    return OTLPMetricExporter(compression=_compression(settings))


def _compression(settings: OtlpSettings) -> Compression:
    """The SDK knows gzip alone by its variable, and takes the specification's `none` for a fault."""
    from grpc import Compression  # noqa: PLC0415 - as said above

    return Compression.Gzip if settings.gzip else Compression.NoCompression
