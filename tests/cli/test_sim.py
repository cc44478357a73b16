"""`turnout sim` as a process: it says where it listens, can be changed, and stops cleanly."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

COMMAND = [sys.executable, "-c", "from turnout_server.main import main; main()", "sim"]


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    process = subprocess.Popen([*COMMAND, "--port", "0", *arguments], stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own command
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def test_sim_serves_what_its_flags_say_and_ends_with_code_0() -> None:
    with running("--provider", "north=openai", "--fault", "north:error,status=503") as (process, line):
        base_url = line["providers"]["north"]["base_url"]
        body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
        with httpx.Client(trust_env=False) as http:
            failing = http.post(f"{base_url}/chat/completions", json=body)
            http.patch(f"{line['control']}/north", json={"fault": None})
            healed = http.post(f"{base_url}/chat/completions", json=body)

    assert (failing.status_code, healed.status_code) == (503, 200)
    assert process.returncode == 0


def test_taken_port_is_one_clear_line_and_code_4() -> None:
    with running() as (_, line):
        port = line["url"].rsplit(":", 1)[1]
        second = subprocess.run([*COMMAND, "--port", port], capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our own command

    assert second.returncode == 4
    assert len(second.stderr.splitlines()) == 1
    assert f"cannot listen on 127.0.0.1:{port}" in second.stderr


def test_wrong_flag_is_code_2_and_says_what_is_right() -> None:
    ended = subprocess.run(  # noqa: S603 - our own command
        [*COMMAND, "--fault", "openai:explode"], capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 2
    assert "silent_stream" in ended.stderr
    assert "Traceback" not in ended.stderr
