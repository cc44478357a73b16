"""Metrics over HTTP: the SDK's encoding, posted as spans are. What it loads is for metrics alone."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData

from turnout_server.telemetry.seldom import Seldom

if TYPE_CHECKING:
    from turnout_server.telemetry.otlp.otlp_http import HttpPost


class HttpMetricExporter:
    """Sends metrics: what `MetricExport` wants of the SDK's exporter."""

    def __init__(self, post: HttpPost) -> None:
        self._post = post
        self._seldom = Seldom(time.monotonic)

    def export(self, metrics_data: MetricsData) -> MetricExportResult:
        """Sends one message."""
        became, _ = self._post.send(encode_metrics(metrics_data).SerializeToString())
        if not became.rejected:
            return MetricExportResult.SUCCESS
        if self._seldom.may_say("refused"):
            logging.getLogger(__name__).error("metrics were not taken: %s", became.reason)
        return MetricExportResult.FAILURE

    def shutdown(self) -> None:
        """Ends what is being sent."""
        self._post.close()
