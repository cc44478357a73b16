"""OpenTelemetry's variables for OTLP, by its specification; what cannot be done names its variable."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from turnout_server.telemetry.logs.logs import LogLevel, set_log_level
from turnout_server.telemetry.otlp.otlp_settings import OtlpSettingsError, otlp_protocol, otlp_settings

HTTP = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
Environ = dict[str, str]


@pytest.mark.parametrize(
    ("environ", "traces", "metrics"),
    [
        ({}, "grpc", "grpc"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": ""}, "grpc", "grpc"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "http/protobuf", "http/protobuf"),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}, "http/protobuf", "grpc"),
        ({**HTTP, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, "grpc", "http/protobuf"),
        ({**HTTP, "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": " GRPC "}, "http/protobuf", "grpc"),
    ],
)
def test_a_signals_own_protocol_comes_before_that_of_all(environ: Environ, traces: str, metrics: str) -> None:
    assert (otlp_protocol("traces", environ), otlp_protocol("metrics", environ)) == (traces, metrics)


@pytest.mark.parametrize(
    ("changed", "traces", "metrics"),
    [
        ({}, "http://collector:4318/v1/traces", "http://collector:4318/v1/metrics"),
        # The base may have a path of its own, with or without a slash at its end.
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c.example/otlp"},
            "https://c.example/otlp/v1/traces",
            "https://c.example/otlp/v1/metrics",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c.example/otlp/"},
            "https://c.example/otlp/v1/traces",
            "https://c.example/otlp/v1/metrics",
        ),
        # A signal's own is taken as it is.
        (
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://traces:4318"},
            "http://traces:4318",
            "http://collector:4318/v1/metrics",
        ),
        (
            {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://[::1]:9/in?k=v"},
            "http://collector:4318/v1/traces",
            "http://[::1]:9/in?k=v",
        ),
    ],
)
def test_the_base_gets_a_signals_path_and_its_own_endpoint_does_not(
    changed: Environ, traces: str, metrics: str
) -> None:
    environ = {**HTTP, **changed}

    assert otlp_settings("traces", environ).url == traces
    assert otlp_settings("metrics", environ).url == metrics


def test_the_rest_is_read_with_a_signals_own_first(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("x")
    environ = {
        **HTTP,
        "OTEL_EXPORTER_OTLP_HEADERS": "a=1,authorization=Bearer%20x",
        "OTEL_EXPORTER_OTLP_METRICS_HEADERS": "b=2",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION": "none",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "3",
        "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT": "0.5",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(file),
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(file),
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(file),
    }
    traces, metrics = otlp_settings("traces", environ), otlp_settings("metrics", environ)

    assert traces.headers == {"a": "1", "authorization": "Bearer x"}
    assert metrics.headers == {"b": "2"}
    assert (traces.gzip, metrics.gzip) == (True, False)
    assert (traces.timeout_seconds, metrics.timeout_seconds) == (3.0, 0.5)
    assert {traces.certificate_file, traces.client_certificate_file, traces.client_key_file} == {str(file)}


def test_what_is_not_said_is_the_specifications_default() -> None:
    settings = otlp_settings("traces", HTTP)

    assert (settings.headers, settings.gzip, settings.timeout_seconds) == ({}, False, 10.0)
    assert settings.certificate_file is settings.client_key_file is None


def test_an_endpoint_for_grpc_need_not_be_a_url() -> None:
    assert otlp_settings("traces", {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}).url == ""


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("PROTOCOL", "http/json", "traces cannot be sent by 'http/json'; it can be grpc, to port 4317"),
        ("TRACES_PROTOCOL", "thrift", "traces cannot be sent by 'thrift'"),
        ("ENDPOINT", "collector:4318", "is no URL that HTTP can go to; http://collector:4318 would be one"),
        ("TRACES_ENDPOINT", "ftp://collector/x", "is no URL that HTTP can go to"),
        ("ENDPOINT", "http://", "is no URL that HTTP can go to"),
        ("ENDPOINT", "http://collector:port", "is no URL that HTTP can go to"),
        ("COMPRESSION", "brotli", "there is no 'brotli' here; it can be gzip or none"),
        ("TIMEOUT", "soon", "'soon' is no time; it is a number of seconds above 0, such as 10"),
        ("TRACES_TIMEOUT", "0", "'0' is no time"),
        ("TIMEOUT", "-1", "'-1' is no time"),
        ("TIMEOUT", "inf", "'inf' is no time"),
        ("CERTIFICATE", "/nowhere/ca.pem", "/nowhere/ca.pem cannot be read: No such file or directory"),
        ("TRACES_HEADERS", "a=b%0Ac", "the value of 'a' has characters that a header cannot have"),
    ],
)
def test_what_cannot_be_done_names_its_variable(name: str, value: str, told: str) -> None:
    with pytest.raises(OtlpSettingsError) as caught:
        otlp_settings("traces", {**HTTP, f"OTEL_EXPORTER_OTLP_{name}": value})

    assert str(caught.value).startswith(f"OTEL_EXPORTER_OTLP_{name}: ")
    assert told in str(caught.value)


@pytest.mark.parametrize(("given", "missing"), [("KEY", "CERTIFICATE"), ("CERTIFICATE", "KEY")])
def test_a_certificate_without_its_key_is_refused(tmp_path: Path, given: str, missing: str) -> None:
    file = tmp_path / "one.pem"
    file.write_text("x")
    environ = {**HTTP, f"OTEL_EXPORTER_OTLP_CLIENT_{given}": str(file)}

    with pytest.raises(OtlpSettingsError, match=f"OTEL_EXPORTER_OTLP_CLIENT_{missing}: is not set"):
        otlp_settings("traces", environ)


def test_a_header_that_cannot_be_is_not_quoted() -> None:
    environ = {**HTTP, "OTEL_EXPORTER_OTLP_HEADERS": "authorization=sk-planted%0A"}

    # White space at its ends goes, as with the SDK.
    assert otlp_settings("traces", environ).headers == {"authorization": "sk-planted"}
    with pytest.raises(OtlpSettingsError) as caught:
        otlp_settings("traces", {**HTTP, "OTEL_EXPORTER_OTLP_HEADERS": "authorization=sk-pl%0Aanted"})
    assert "sk-pl" not in str(caught.value)


@pytest.mark.parametrize("headers", ["api-key: planted", "a=1,planted", 'api-key="planted"', "api-key=pläntedplanted"])
def test_a_header_that_cannot_be_read_is_refused_and_never_quoted(
    headers: str, caplog: pytest.LogCaptureFixture
) -> None:
    level = logging.getLogger().level
    set_log_level(LogLevel.INFO)
    logging.getLogger().setLevel(level)
    with pytest.raises(OtlpSettingsError, match=r"OTEL_EXPORTER_OTLP_HEADERS: entry [12] cannot be read") as refused:
        otlp_settings("traces", {"OTEL_EXPORTER_OTLP_HEADERS": headers})

    assert "planted" not in f"{refused.value}{caplog.text}"


@pytest.mark.parametrize(
    ("headers", "found"),
    [("a=1, b=x%20y ,", {"a": "1", "b": "x y"}), ("authorization=Basic dTpw==", {"authorization": "Basic dTpw=="})],
)
def test_headers_may_have_spaces_and_signs(headers: str, found: Environ) -> None:
    assert otlp_settings("traces", {"OTEL_EXPORTER_OTLP_HEADERS": headers}).headers == found


@pytest.mark.parametrize(
    "environ",
    [
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://user:planted@collector:4317"},
        {**HTTP, "OTEL_EXPORTER_OTLP_ENDPOINT": "htp://user:planted@collector:4318"},
    ],
)
def test_a_password_in_an_endpoint_that_will_not_do_is_not_quoted(environ: Environ) -> None:
    with pytest.raises(OtlpSettingsError, match="OTEL_EXPORTER_OTLP_ENDPOINT: ") as refused:
        otlp_settings("traces", environ)

    assert "planted" not in str(refused.value)
