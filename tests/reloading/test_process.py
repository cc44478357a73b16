"""A real process follows its configuration file, however it is changed, and keeps what it has where that has faults."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.processes import ANY_PORTS, Server, configuration, serving, simulated
from turnout import Client

LONG_SECONDS = 60.0
"""For what takes two seconds: the machine may be busy."""


def providers(*names: str, more: str = "") -> str:
    models = "models: [{name: small, quality: 80}]"
    blocks = "".join(f"\n  {name}: {{wire: openai, base_url: 'https://{name}.example/v1', {models}}}" for name in names)
    return f"{ANY_PORTS}\nproviders:{blocks or ' {}'}\n{more}"


def until(holds: Callable[[], bool], what: str, server: Server) -> None:
    ends_at = time.monotonic() + LONG_SECONDS
    while not holds():
        assert time.monotonic() < ends_at, f"{what}\n{''.join(server.log)}"
        time.sleep(0.05)


def names(client: Client) -> list[str]:
    return [provider.provider for provider in client.status().providers]


def told(server: Server, event: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in list(server.log) if line.startswith("{"))
    return [line for line in lines if line["event"] == event]


def metric(server: Server, name: str) -> float:
    with urllib.request.urlopen(f"http://{server.line['metrics']}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)), 0.0)


def test_file_is_followed_when_it_is_written_renamed_or_swapped_as_a_config_map_and_when_asked(tmp_path: Path) -> None:
    (tmp_path / "..1").mkdir()
    (tmp_path / "..1" / "turnout.yaml").write_text(providers("one"))
    (tmp_path / "..data").symlink_to("..1")
    file = tmp_path / "turnout.yaml"
    file.symlink_to("..data/turnout.yaml")
    with serving(["serve", "-c", str(file)]) as server, Client(server.address) as client:
        assert names(client) == ["one"]

        # As Kubernetes does: another folder, and the link to it replaced in one step.
        (tmp_path / "..2").mkdir()
        (tmp_path / "..2" / "turnout.yaml").write_text(providers("one", "two"))
        (tmp_path / "..new").symlink_to("..2")
        (tmp_path / "..new").replace(tmp_path / "..data")
        until(lambda: names(client) == ["one", "two"], "the links were swapped", server)

        (tmp_path / "other").write_text(providers("two"))
        (tmp_path / "other").replace(file)
        until(lambda: names(client) == ["two"], "another file took its place", server)

        file.write_text(
            providers("two", "three", more="budgets: [{name: b, scope: global, period: day, limit_usd: 1}]")
        )
        server.process.send_signal(signal.SIGHUP)
        until(lambda: metric(server, "turnout_config_refused") == 1, "a bad file was told", server)
        # The line is written before the number, and may be read after it.
        until(lambda: bool(told(server, "config.refused")), "the line was read", server)
        (refused,) = told(server, "config.refused")

        assert "budgets[0]" in refused["faults"]
        assert names(client) == ["two"]

        file.write_text(providers("three"))
        server.process.send_signal(signal.SIGHUP)
        until(lambda: names(client) == ["three"], "the file was put right", server)

        # A page is shared for a second.
        until(lambda: metric(server, "turnout_config_refused") == 0, "the fault is over", server)
        assert metric(server, 'turnout_config_reloads_total{result="taken"}') == 3
        until(lambda: len(told(server, "config.reloaded")) == 3, "the lines were read", server)
        assert [line["changed"] for line in told(server, "config.reloaded")] == [
            "providers.two (new)",
            "providers.one (gone)",
            "providers.two (gone), providers.three (new)",
        ]
        assert server.stop() == 0


@pytest.mark.full
def test_sighup_without_a_change_or_without_a_file_ends_nothing(tmp_path: Path) -> None:
    env = {"TURNOUT_LISTEN__ADDRESS": "127.0.0.1:0", "TURNOUT_HEALTH__ADDRESS": "", "TURNOUT_METRICS__ADDRESS": ""}
    with serving(["serve", "--json"], env) as server, Client(server.address) as client:
        server.process.send_signal(signal.SIGHUP)
        until(lambda: bool(told(server, "config.unchanged")), "it was told", server)

        assert names(client) == []
        assert server.stop() == 0
    del tmp_path


@pytest.mark.full
def test_while_it_stops_it_takes_no_other_configuration_and_is_not_ended_by_who_asks_for_one(tmp_path: Path) -> None:
    with serving(["sim", "--port", "0", "--provider", "north=openai", "--latency", "*:first_token_seconds=3"]) as sim:
        text = simulated({"north": sim.line["providers"]["north"]["base_url"]})
        file = configuration(tmp_path, text)
        env = {"TURNOUT_DRAIN_SECONDS": "60"}
        with serving(["serve", "-c", file, "--json"], env) as server, Client(server.address) as client:
            stream = client.stream("hello")
            next(stream)
            server.process.send_signal(signal.SIGTERM)
            until(lambda: bool(told(server, "stopping")), "it stops", server)
            Path(file).write_text(providers("other"))
            server.process.send_signal(signal.SIGHUP)

            assert stream.answer().text
            assert server.process.wait(timeout=60) == 0
        assert told(server, "config.reloaded") == []


@pytest.mark.full
def test_configuration_that_came_through_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(providers("one"),))
    writer.start()
    with serving(["serve", "-c", str(pipe), "--json"]) as server, Client(server.address) as client:
        writer.join()
        server.process.send_signal(signal.SIGHUP)
        until(lambda: bool(told(server, "config.unchanged")), "it was told", server)

        assert names(client) == ["one"]
        assert server.stop() == 0
