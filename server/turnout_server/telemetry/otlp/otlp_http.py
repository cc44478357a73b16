"""OTLP over HTTP: encoded messages posted with the HTTP client that is here. Loaded only where that is asked for.

OpenTelemetry's own exporter for it brings another HTTP client with it; see ADR 0044. What is done when a collector does
not take a message is OTLP's rule (opentelemetry.io/docs/specs/otlp, "OTLP/HTTP Response" and "Failures").
"""

from __future__ import annotations

import gzip
import random
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from turnout_server.telemetry.otlp.delivery import REASON_CHARACTERS, Delivery
from turnout_server.telemetry.otlp.otlp_settings import OtlpSettings, OtlpSettingsError

RETRYABLE = frozenset({429, 502, 503, 504})
"""Statuses worth another attempt, by OTLP."""
FIRST_WAIT_SECONDS = 1.0
"""Before the second attempt; each later one waits twice as long as the one before."""
JITTER = 0.2
ANSWER_BYTES = 64 * 1024
"""What is read of a collector's answer."""
PROTOBUF = "application/x-protobuf"
_SUCCESS = range(200, 300)


class HttpPost:
    """Posts messages of one signal, one at a time, from a thread that may wait. Close it from another one."""

    def __init__(
        self,
        settings: OtlpSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self._url = settings.url
        self._gzip = settings.gzip
        self._timeout_seconds = settings.timeout_seconds
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, keeps no secret
        self._ending = threading.Event()
        headers = {"user-agent": "turnout", **settings.headers, "content-type": PROTOBUF}
        if settings.gzip:
            headers["content-encoding"] = "gzip"
        # One connection: messages go one after the other. A redirect would take them where nobody sent them.
        self._client = httpx.Client(
            headers=headers,
            verify=_tls(settings),
            limits=httpx.Limits(max_connections=1),
            follow_redirects=False,
        )

    def send(self, message: bytes) -> tuple[Delivery, bytes]:
        """Posts a message, again where that may help, within its time.

        Returns what became of it, as if it were of one item, and what the collector answered.
        """
        body = gzip.compress(message, compresslevel=1) if self._gzip else message
        deadline = self._clock() + self._timeout_seconds
        wait_seconds = FIRST_WAIT_SECONDS
        while True:
            asked_seconds: float | None = None
            try:
                status, headers, answer = self._post(body, deadline - self._clock())
            except (httpx.HTTPError, httpx.InvalidURL, RuntimeError) as error:
                # A client that has been closed meanwhile raises RuntimeError.
                reason, is_retryable = f"{type(error).__name__}: {error}", True
            else:
                if status in _SUCCESS:
                    return Delivery(), answer
                reason, is_retryable = f"HTTP {status}", status in RETRYABLE
                asked_seconds = _asked_seconds(headers)
            reason = reason[:REASON_CHARACTERS]
            if not is_retryable:
                return Delivery(1, reason), b""
            pause_seconds = asked_seconds
            if pause_seconds is None:
                pause_seconds = wait_seconds * self._rng.uniform(1 - JITTER, 1 + JITTER)
                wait_seconds *= 2
            if pause_seconds >= deadline - self._clock():
                # What it asked for holds for the next message, too.
                return Delivery(1, reason, asked_seconds or 0.0), b""
            if self._ending.wait(pause_seconds):
                return Delivery(1, reason), b""

    def close(self) -> None:
        """Ends the wait for another attempt, and lets go of the collector."""
        self._ending.set()
        self._client.close()

    def _post(self, body: bytes, timeout_seconds: float) -> tuple[int, Mapping[str, str], bytes]:
        timeout = httpx.Timeout(max(0.001, timeout_seconds))
        # That is for each piece of it. What it says is not worth more time than all of it has: it is taken, or not.
        ends_at = self._clock() + timeout_seconds
        with self._client.stream("POST", self._url, content=body, timeout=timeout) as response:
            answer = b""
            for piece in response.iter_bytes():
                answer += piece
                if len(answer) > ANSWER_BYTES or self._clock() >= ends_at:
                    break
            return response.status_code, response.headers, answer[:ANSWER_BYTES]


class HttpSpanExporter:
    """Sends spans: an `EncodedExporter`."""

    def __init__(self, post: HttpPost) -> None:
        self._post = post

    def deliver(self, message: bytes, span_count: int) -> Delivery:
        """Sends an ExportTraceServiceRequest of so many spans."""
        became, answer = self._post.send(message)
        if became.rejected:
            return became._replace(rejected=span_count)
        try:
            partial = ExportTraceServiceResponse.FromString(answer).partial_success
        except DecodeError:
            # It was taken; some answer in words of their own.
            return Delivery()
        return Delivery(min(max(partial.rejected_spans, 0), span_count), partial.error_message[:REASON_CHARACTERS])

    def shutdown(self) -> None:
        """Ends what is being sent."""
        self._post.close()


def _tls(settings: OtlpSettings) -> Any:
    """Returns how the collector's certificate is looked at. Raises OtlpSettingsError for files that hold no such."""
    if not settings.url.startswith("https:"):
        # The machine's certificates take megabytes to load, for nothing.
        return False
    try:
        # An image may have no authorities of its own: httpx brings the usual ones, or takes SSL_CERT_FILE's.
        own = settings.certificate_file
        context = httpx.create_ssl_context() if own is None else ssl.create_default_context(cafile=own)
        if settings.client_certificate_file is not None:
            # An empty pass phrase: without one OpenSSL would ask for it at the terminal.
            context.load_cert_chain(settings.client_certificate_file, settings.client_key_file, password="")
    except OSError as error:  # ssl.SSLError is one
        raise OtlpSettingsError(
            "OTEL_EXPORTER_OTLP_CERTIFICATE, _CLIENT_CERTIFICATE, _CLIENT_KEY: the files must hold PEM: certificates "
            f"of authorities, a certificate, and its key without a pass phrase ({error.strerror or error})"
        ) from None
    return context


def _asked_seconds(headers: Mapping[str, str]) -> float | None:
    """Returns for how long a collector asks to be left alone; a date is not looked at, collectors send seconds."""
    value = headers.get("retry-after", "").strip()
    return float(value) if value.isascii() and value.isdigit() and len(value) < 8 else None  # noqa: PLR2004 - months
