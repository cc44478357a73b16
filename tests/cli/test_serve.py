"""`turnout serve` as a process: it says where it listens, answers, stops cleanly, and fails in one line."""

from __future__ import annotations

import json
import signal
import socket
import time
import urllib.request
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # has no types

from tests.cli.processes import configuration, run, serving, simulated
from turnout import Client, NoEligibleTargetError


def test_ready_line_names_every_address_that_was_bound(tmp_path: Path) -> None:
    path = tmp_path / "turnout.sock"

    with serving(["serve", "-c", configuration(tmp_path, "")], {"TURNOUT_LISTEN__SOCKET": str(path)}) as server:
        line = server.line
        health = grpc.insecure_channel(line["health"])
        status = health_pb2_grpc.HealthStub(health).Check(health_pb2.HealthCheckRequest(), timeout=5).status
        health.close()
        with urllib.request.urlopen(f"http://{line['metrics']}/metrics", timeout=5) as answer:
            metrics = answer.read().decode()
        for address in line["grpc"]:
            with Client(address) as client:
                client.status()

        assert line["event"] == "listening"
        assert line["version"]
        assert [f"unix:{path}"] == line["grpc"][1:]
        assert status == health_pb2.HealthCheckResponse.SERVING
        assert "turnout_decisions" in metrics
        assert server.stop() == 0
    assert not path.exists()


def test_health_and_metrics_can_be_off(tmp_path: Path) -> None:
    file = tmp_path / "off.yaml"
    file.write_text('listen: {address: "127.0.0.1:0"}\nhealth: {address: ""}\nmetrics: {address: ""}')

    with serving(["serve", "-c", str(file)]) as server:
        assert (server.line["health"], server.line["metrics"]) == ("", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_signal_ends_it_with_code_0(tmp_path: Path, number: int) -> None:
    with serving(["serve", "-c", configuration(tmp_path, "")]) as server:
        assert server.stop(number) == 0


def test_without_any_provider_it_starts_says_so_and_answers_honestly(tmp_path: Path) -> None:
    with serving(["serve", "-c", configuration(tmp_path, ""), "--json"]) as server:
        with Client(server.address) as client, pytest.raises(NoEligibleTargetError):
            client.route()
        server.stop()
    log = [json.loads(line) for line in server.log]

    assert any("no provider is configured" in line.get("warning", "") for line in log)


def test_key_in_the_environment_is_enough_and_is_never_printed(tmp_path: Path) -> None:
    env = {
        "ANTHROPIC_API_KEY": "planted-key-0123456789",
        "TURNOUT_LISTEN__ADDRESS": "127.0.0.1:0",
        "TURNOUT_HEALTH__ADDRESS": "",
        "TURNOUT_METRICS__ADDRESS": "",
        "TURNOUT_LOG_LEVEL": "debug",
        "TURNOUT_STRATEGY": "QUALITY",
    }

    with serving(["serve"], env) as server:
        with Client(server.address) as client:
            decision = client.route(input_tokens=10).decision
        server.stop()

    assert decision.candidates[0].target.provider == "anthropic"
    assert decision.strategy == 4
    assert "planted" not in "".join(server.log)
    del tmp_path


def test_taken_port_is_one_line_and_code_4(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("serve", "-c", configuration(tmp_path, ""), env={"TURNOUT_LISTEN__ADDRESS": f"127.0.0.1:{port}"})

    (line,) = ended.error_lines
    assert ended.code == 4
    assert f"127.0.0.1:{port}" in line
    assert ended.out == ""


def test_taken_metrics_port_is_one_line_and_code_4(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("serve", "-c", configuration(tmp_path, ""), env={"TURNOUT_METRICS__ADDRESS": f"127.0.0.1:{port}"})

    (line,) = ended.error_lines
    assert ended.code == 4
    assert f"127.0.0.1:{port}" in line


def test_live_socket_is_never_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "turnout.sock"
    env = {"TURNOUT_LISTEN__SOCKET": str(path), "TURNOUT_LISTEN__ADDRESS": ""}

    with serving(["serve", "-c", configuration(tmp_path, "")], env) as first:
        second = run("serve", "-c", configuration(tmp_path, ""), env=env)
        with Client(first.address) as client:
            client.status()

    assert second.code == 4
    assert str(path) in second.err


def test_missing_file_is_one_line_and_code_1() -> None:
    ended = run("serve", "-c", "/nonexistent/turnout.yaml")

    assert ended.code == 1
    assert ended.error_lines == [
        "turnout: /nonexistent/turnout.yaml: the file cannot be read: No such file or directory"
    ]


def test_faulty_file_tells_each_fault_on_a_line(tmp_path: Path) -> None:
    file = configuration(tmp_path, "drain_second: 3\nfailover: {max_attempts: 0}\n")

    ended = run("serve", "-c", file)

    assert ended.code == 1
    assert len(ended.error_lines) == 2
    assert all(line.startswith(f"turnout: {file}:") for line in ended.error_lines)


def test_missing_key_file_is_one_line_and_code_1(tmp_path: Path) -> None:
    file = configuration(tmp_path, "providers: {openai: {api_key_file: /nonexistent/key}}")

    ended = run("serve", "-c", file)

    (line,) = ended.error_lines
    assert ended.code == 1
    assert "providers.openai.api_key_file: file /nonexistent/key cannot be read" in line


def test_certificate_file_that_is_none_is_one_line_and_code_4(tmp_path: Path) -> None:
    wrong = tmp_path / "ca.pem"
    wrong.write_text("this is no certificate")

    ended = run("serve", "-c", configuration(tmp_path, f"providers: {{openai: {{ca_file: {wrong}}}}}"))

    (line,) = ended.error_lines
    assert ended.code == 4
    assert "certificate" in line


def test_running_call_ends_whole_when_the_sidecar_is_stopped(tmp_path: Path) -> None:
    with serving(["sim", "--port", "0", "--provider", "north=openai", "--latency", "*:first_token_seconds=1"]) as sim:
        file = configuration(tmp_path, simulated({"north": sim.line["providers"]["north"]["base_url"]}))
        with serving(["serve", "-c", file]) as server, Client(server.address) as client:
            stream = client.stream("hello")
            next(stream)
            server.process.send_signal(signal.SIGTERM)
            answer = stream.answer()

            assert answer.text
            assert server.process.wait(timeout=10) == 0


def test_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with serving(["sim", "--port", "0", "--provider", "north=openai", "--latency", "*:first_token_seconds=9"]) as sim:
        text = simulated({"north": sim.line["providers"]["north"]["base_url"]})
        file = configuration(tmp_path, text)
        env = {"TURNOUT_DRAIN_SECONDS": "60"}
        with serving(["serve", "-c", file, "--json"], env) as server, Client(server.address) as client:
            stream = client.stream("hello")
            next(stream)
            server.process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + 5
            while not any('"stopping"' in line for line in server.log) and time.monotonic() < deadline:
                time.sleep(0.02)
            server.process.send_signal(signal.SIGTERM)

            assert server.process.wait(timeout=5) == -signal.SIGTERM
            stream.close()
