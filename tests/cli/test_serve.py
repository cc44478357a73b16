"""`turnout serve` as a process: it says where it listens, answers, stops cleanly, and fails in one line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # has no types

from tests.cli.processes import COMMAND, configuration, run, serving, simulated
from turnout import Client, NoEligibleTargetError


def test_ready_line_names_every_address_that_was_bound(tmp_path: Path) -> None:
    path = tmp_path / "turnout.sock"

    with serving(["serve", "-c", configuration(tmp_path, "")], {"TURNOUT_LISTEN__SOCKET": str(path)}) as server:
        line = server.line
        health = grpc.insecure_channel(line["health"])
        status = health_pb2_grpc.HealthStub(health).Check(health_pb2.HealthCheckRequest(), timeout=60).status
        health.close()
        with urllib.request.urlopen(f"http://{line['metrics']}/metrics", timeout=60) as answer:
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


def test_with_no_provider_reachable_it_starts_and_says_which(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    urls = {"north": f"http://127.0.0.1:{port}/v1", "south": "http://no-such-host.invalid"}

    text = f"{simulated(urls)}\nfailover: {{connect_timeout_seconds: 60}}\n"
    with serving(["serve", "-c", configuration(tmp_path, text), "--json"]) as server:
        deadline = time.monotonic() + 60
        while sum("provider.unreachable" in line for line in server.log) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        with Client(server.address) as client:
            status = client.status()
            client.route()
        server.stop()
    log = [json.loads(line) for line in server.log]
    told = {line["provider"]: line["reason"] for line in log if line["event"] == "provider.unreachable"}

    expected = {"north": "the connection could not be made", "south": "the host name could not be resolved"}
    assert told == expected
    assert {each.provider: each.endpoints[0].unreachable for each in status.providers} == expected


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


def test_live_socket_is_never_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "turnout.sock"
    env = {"TURNOUT_LISTEN__SOCKET": str(path), "TURNOUT_LISTEN__ADDRESS": ""}

    with serving(["serve", "-c", configuration(tmp_path, "")], env) as first:
        second = run("serve", "-c", configuration(tmp_path, ""), env=env)
        with Client(first.address) as client:
            client.status()

    assert second.code == 4
    assert str(path) in second.err


def test_faulty_file_tells_each_fault_on_a_line(tmp_path: Path) -> None:
    file = configuration(tmp_path, "drain_second: 3\nfailover: {max_attempts: 0}\n")

    ended = run("serve", "-c", file)

    assert ended.code == 1
    assert len(ended.error_lines) == 2
    assert all(line.startswith(f"turnout: {file}:") for line in ended.error_lines)


def test_running_call_ends_whole_when_the_sidecar_is_stopped(tmp_path: Path) -> None:
    with serving(["sim", "--port", "0", "--provider", "north=openai", "--latency", "*:first_token_seconds=1"]) as sim:
        file = configuration(tmp_path, simulated({"north": sim.line["providers"]["north"]["base_url"]}))
        with serving(["serve", "-c", file]) as server, Client(server.address) as client:
            stream = client.stream("hello")
            next(stream)
            server.process.send_signal(signal.SIGTERM)
            answer = stream.answer()

            assert answer.text
            assert server.process.wait(timeout=60) == 0


def test_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with serving(["sim", "--port", "0", "--provider", "north=openai", "--latency", "*:first_token_seconds=9"]) as sim:
        text = simulated({"north": sim.line["providers"]["north"]["base_url"]})
        file = configuration(tmp_path, text)
        env = {"TURNOUT_DRAIN_SECONDS": "60"}
        with serving(["serve", "-c", file, "--json"], env) as server, Client(server.address) as client:
            stream = client.stream("hello")
            next(stream)
            server.process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + 60
            while not any('"stopping"' in line for line in server.log) and time.monotonic() < deadline:
                time.sleep(0.02)
            server.process.send_signal(signal.SIGTERM)

            assert server.process.wait(timeout=60) == -signal.SIGTERM
            stream.close()


WITH_RESOLVER = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"']


def own_resolver(file: Path) -> bool:
    """Whether this user may give a process a resolver of its own."""
    if shutil.which(WITH_RESOLVER[0]) is None:
        return False
    return subprocess.run([*WITH_RESOLVER, str(file), "true"], check=False, capture_output=True).returncode == 0  # noqa: S603


def test_a_name_that_nobody_answers_for_holds_up_no_end(tmp_path: Path) -> None:
    resolver = tmp_path / "resolv.conf"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        try:
            silent.bind(("127.0.53.99", 53))
        except OSError:
            pytest.skip("this user may not be a name server")
        # The longest that a resolver can be told: two minutes and a half, far more than the end is waited for.
        resolver.write_text("nameserver 127.0.53.99\noptions timeout:30 attempts:5\n")
        if not own_resolver(resolver):
            pytest.skip("a process cannot be given a resolver of its own here")
        file = configuration(tmp_path, simulated({"north": "http://provider.example.com"}))
        with serving(["serve", "-c", file, "--json"], command=[*WITH_RESOLVER, str(resolver), *COMMAND]) as server:
            silent.settimeout(60)
            assert b"provider" in silent.recv(512)
            server.process.send_signal(signal.SIGTERM)

            assert server.process.wait(timeout=60) == 0
    assert json.loads(server.log[-1])["event"] == "stopped"


FIRST_PROCESS = ["unshare", "--pid", "--fork", "--kill-child"]


def first_processes() -> bool:
    """Whether this user may start the first process of a namespace, as a container's is."""
    if shutil.which(FIRST_PROCESS[0]) is None:
        return False
    return subprocess.run([*FIRST_PROCESS, "true"], check=False, capture_output=True).returncode == 0  # noqa: S603


@pytest.mark.skipif(not first_processes(), reason="a namespace of processes cannot be made here")
def test_second_signal_ends_a_containers_first_process_too(tmp_path: Path) -> None:
    with serving(["sim", "--port", "0", "--provider", "north=openai", "--latency", "*:first_token_seconds=600"]) as sim:
        file = configuration(tmp_path, simulated({"north": sim.line["providers"]["north"]["base_url"]}))
        env = {"TURNOUT_DRAIN_SECONDS": "600"}
        command = [*FIRST_PROCESS, *COMMAND]
        with serving(["serve", "-c", file, "--json"], env, command) as server, Client(server.address) as client:
            stream = client.stream("hello")
            next(stream)
            outside = server.process.pid
            number = int(Path(f"/proc/{outside}/task/{outside}/children").read_text())
            os.kill(number, signal.SIGTERM)
            deadline = time.monotonic() + 60
            while not any('"stopping"' in line for line in server.log) and time.monotonic() < deadline:
                time.sleep(0.02)
            os.kill(number, signal.SIGTERM)

            assert server.process.wait(timeout=60) == 128 + signal.SIGTERM
            stream.close()
