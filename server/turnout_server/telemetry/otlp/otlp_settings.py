"""Where and how telemetry goes over OTLP, as OpenTelemetry's variables say: of one signal, whichever the protocol.

What cannot be read is refused with the variable's name. A signal's own variable, such as
`OTEL_EXPORTER_OTLP_TRACES_HEADERS`, takes the place of the general one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from urllib.parse import urlsplit

from opentelemetry.util.re import parse_env_headers

from turnout_server.telemetry.logs.logs import redact_text

GRPC, HTTP_PROTOBUF = "grpc", "http/protobuf"
PREFIX = "OTEL_EXPORTER_OTLP_"
TIMEOUT_SECONDS = 10.0
"""The specification's default."""
PATHS: Mapping[str, str] = {"traces": "v1/traces", "metrics": "v1/metrics"}
"""Where each signal goes below the general endpoint, by OTLP over HTTP."""


class OtlpSettingsError(Exception):
    """A variable says something that cannot be done; the message names it and what it can be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OtlpSettings:
    """How one signal is sent. `url` is "" for gRPC; `timeout_seconds` is for a message with all its attempts.

    Files are PEM, None where none is given.
    """

    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    gzip: bool = False
    timeout_seconds: float = TIMEOUT_SECONDS
    certificate_file: str | None = None
    client_certificate_file: str | None = None
    client_key_file: str | None = None


def otlp_protocol(signal: str, environ: Mapping[str, str]) -> str:
    """Returns the protocol that a signal, "traces" or "metrics", is sent by. Raises OtlpSettingsError."""
    name, value = _given(signal, "PROTOCOL", environ)
    if value.lower() not in {"", GRPC, HTTP_PROTOBUF}:
        raise OtlpSettingsError(
            f"{name}: {signal} cannot be sent by {value!r}; it can be {GRPC}, to port 4317 of most collectors, or "
            f"{HTTP_PROTOBUF}, to port 4318, or OTEL_{signal.upper()}_EXPORTER can be none"
        )
    return value.lower() or GRPC


def otlp_settings(signal: str, environ: Mapping[str, str]) -> OtlpSettings:
    """Reads the variables of a signal. Raises OtlpSettingsError."""
    by_http = otlp_protocol(signal, environ) == HTTP_PROTOBUF
    certificate = _file(signal, "CLIENT_CERTIFICATE", environ)
    key = _file(signal, "CLIENT_KEY", environ)
    if (certificate is None) != (key is None):
        missing = "CLIENT_CERTIFICATE" if certificate is None else "CLIENT_KEY"
        raise OtlpSettingsError(
            f"{PREFIX}{missing}: is not set; a client's certificate and its key go together, each in a file"
        )
    return OtlpSettings(
        url=_url(signal, environ) if by_http else _no_url(signal, environ),
        headers=_headers(signal, environ),
        gzip=_gzip(signal, environ),
        timeout_seconds=_timeout_seconds(signal, environ),
        certificate_file=_file(signal, "CERTIFICATE", environ),
        client_certificate_file=certificate,
        client_key_file=key,
    )


def _given(signal: str, what: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """Returns the variable that counts, and what it says; an empty one counts as not set, by the specification."""
    for name in (f"{PREFIX}{signal.upper()}_{what}", f"{PREFIX}{what}"):
        value = environ.get(name, "").strip()
        if value:
            return name, value
    return f"{PREFIX}{what}", ""


def _url(signal: str, environ: Mapping[str, str]) -> str:
    name, value = _given(signal, "ENDPOINT", environ)
    try:
        parts = urlsplit(value)
        understood = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        understood = False
    if not understood:
        raise OtlpSettingsError(
            f"{name}: {redact_text(value)!r} is no URL that HTTP can go to; http://collector:4318 would be one"
        )
    # The general endpoint is a base that all signals share; a signal's own is taken as it is.
    return value if name != f"{PREFIX}ENDPOINT" else f"{value.rstrip('/')}/{PATHS[signal]}"


def _no_url(signal: str, environ: Mapping[str, str]) -> str:
    """Returns "": gRPC's own library reads where it goes to. It would take a password for a part of the host's name,
    and tell it to whoever reads why that is not found.
    """
    name, value = _given(signal, "ENDPOINT", environ)
    if "@" in value:
        raise OtlpSettingsError(
            f"{name}: gRPC has no user and password in an address; {PREFIX}HEADERS, such as authorization=Basic%20…, "
            "would be for that"
        )
    return ""


def _headers(signal: str, environ: Mapping[str, str]) -> Mapping[str, str]:
    name, value = _given(signal, "HEADERS", environ)
    headers: dict[str, str] = {}
    for place, entry in enumerate(value.split(","), 1):
        found = parse_env_headers(entry, liberal=True)
        if entry.strip() and not found:
            # It is not quoted, nor is the SDK let say what it is: it is a secret as often as not.
            raise OtlpSettingsError(
                f"{name}: entry {place} cannot be read; entries are name=value, divided by commas, and whatever is no "
                "letter, digit or common sign is percent-encoded"
            )
        headers.update(found)
    for key, text in headers.items():
        if not (key.isascii() and text.isascii() and text.isprintable()):
            # Its value is a secret as often as not.
            raise OtlpSettingsError(f"{name}: the value of {key!r} has characters that a header cannot have")
    return headers


def _gzip(signal: str, environ: Mapping[str, str]) -> bool:
    name, value = _given(signal, "COMPRESSION", environ)
    if value.lower() not in {"", "none", "gzip"}:
        raise OtlpSettingsError(f"{name}: there is no {value!r} here; it can be gzip or none")
    return value.lower() == "gzip"


def _timeout_seconds(signal: str, environ: Mapping[str, str]) -> float:
    name, value = _given(signal, "TIMEOUT", environ)
    try:
        seconds = float(value or TIMEOUT_SECONDS)
    except ValueError:
        seconds = 0.0
    if not (isfinite(seconds) and seconds > 0):
        raise OtlpSettingsError(f"{name}: {value!r} is no time; it is a number of seconds above 0, such as 10")
    return seconds


def _file(signal: str, what: str, environ: Mapping[str, str]) -> str | None:
    name, value = _given(signal, what, environ)
    if not value:
        return None
    try:
        with Path(value).open("rb"):
            return value
    except OSError as error:
        raise OtlpSettingsError(f"{name}: {value} cannot be read: {error.strerror}") from None
