"""Every key of a provider and of its models arrives at what calls it: none is read and then lost."""

from pathlib import Path

from tests.unit.config.loading import parts
from turnout_server.config.build import Parts
from turnout_server.core.model import Target

LOOPBACK = Path(__file__).parents[2] / "wire" / "fixtures" / "loopback.pem"

TEXT = """
providers:
  house-llm:
    wire: openai
    base_url: https://llm.example.com/v1
    region: eu
    max_concurrency: 3
    first_token_timeout_seconds: 42
    proxy_url: http://proxy.example.com:3128
    ca_file: {folder}/ca.pem
    client_cert_file: {folder}/client.pem
    headers_from_file: {folder}/headers
    allow_private: true
    propagate_trace: true
    models:
      - name: small
        silent_thinking: true
        custom_capabilities: [legal]
        latency_prior_seconds: 0.4
failover: {{connect_timeout_seconds: 1.5}}
"""


def built(folder: Path) -> Parts:
    for name in ("ca.pem", "client.pem"):
        (folder / name).write_text(LOOPBACK.read_text())
    (folder / "headers").write_text("x-team: routing")
    return parts(folder, TEXT.format(folder=folder))


def test_keys_of_a_provider_arrive_at_its_connection(tmp_path: Path) -> None:
    (connection,) = built(tmp_path).connections

    assert (connection.proxy_url, connection.ca_file, connection.client_cert_file, connection.headers_from_file) == (
        "http://proxy.example.com:3128",
        f"{tmp_path}/ca.pem",
        f"{tmp_path}/client.pem",
        f"{tmp_path}/headers",
    )
    assert (connection.allow_private, connection.propagate_trace) == (True, True)
    assert connection.connect_timeout_seconds == 1.5


def test_keys_of_a_provider_and_of_a_model_arrive_at_the_target(tmp_path: Path) -> None:
    (spec,) = built(tmp_path).fleet.specs

    assert spec.target == Target("house-llm", "small")
    assert (spec.region, spec.max_concurrency, spec.first_token_timeout_seconds) == ("eu", 3, 42.0)
    assert (spec.silent_thinking, spec.latency_prior_seconds) == (True, 0.4)
    assert spec.custom_capabilities == {"legal"}
