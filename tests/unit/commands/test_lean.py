"""A sidecar starts on a fifth of a core: it loads only what its configuration asks for; nobody else goes without."""

from __future__ import annotations

import gc
import json
import ssl
import subprocess
import sys

from turnout_server.commands.lean import put_off_collection, without_default_authorities

SIDECAR = """
import asyncio, gc, json, os, signal, sys
from click import echo
import turnout_server.main
from turnout_server.commands.serve import serve

report = {}
import turnout_server.commands.serve as command
command.click.echo = lambda line: (
    report.update(loaded=sorted(sys.modules), collects=gc.isenabled()), os.kill(os.getpid(), signal.SIGTERM)
)
serve.main([], standalone_mode=False)
import rich.console
report["rich_works"] = bool(rich.console.Console)
echo(json.dumps(report))
"""

NOT_FOR_A_SIDECAR = (
    # For looks, or for commands beside `serve`.
    "rich",
    "pygments",
    "turnout_server.demo",
    "turnout_server.providers.simulated",
    "turnout_server.commands.check",
    "turnout_server.commands.status",
    "turnout_server.commands.live",
    "textual",
    # Used by parts that the configuration of the test switches off.
    "aiohttp.web",
    "grpc_reflection.v1alpha",
    "opentelemetry.exporter",
    "turnout_server.telemetry.traces.tracer",
    # What other libraries would use, and what is only needed to develop.
    "anyio",
    "h11",
    "httpcore",
    "jsonschema",
    "multiprocessing",
    "opentelemetry.sdk",
    "pip",
    "requests",
    "setuptools",
    "sqlite3",
    "unittest",
    "xml",
)

ONE_FRAME = """
import json, sys
import turnout_server.main
import turnout_server.commands.top
print(json.dumps(sorted(sys.modules)))
"""

OFF = {
    "TURNOUT_LISTEN__ADDRESS": "127.0.0.1:0",
    "TURNOUT_LISTEN__REFLECTION": "false",
    "TURNOUT_HEALTH__ADDRESS": "",
    "TURNOUT_METRICS__ADDRESS": "",
}


def test_sidecar_loads_nothing_that_its_configuration_does_not_ask_for() -> None:
    command = [sys.executable, "-c", SIDECAR]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=OFF)  # noqa: S603 - our own words
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)

    assert set(NOT_FOR_A_SIDECAR) & set(report["loaded"]) == set()
    assert {"turnout_server.app", "grpc", "aiohttp"} <= set(report["loaded"])
    assert report["collects"]
    assert report["rich_works"]


def test_command_that_shows_one_frame_does_without_what_draws_the_live_view() -> None:
    command = [sys.executable, "-c", ONE_FRAME]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=OFF)  # noqa: S603 - our own words
    loaded = set(json.loads(run.stdout))

    assert {"turnout_server.commands.live.frame", "grpc"} <= loaded
    assert {"textual", "turnout_server.commands.live.screen", "turnout_server.app"} & loaded == set()


def test_contexts_made_while_it_loads_trust_nobody_and_later_ones_the_usual() -> None:
    with without_default_authorities():
        loaded = ssl.create_default_context()
    usual = ssl.create_default_context()

    assert loaded.verify_mode is ssl.CERT_REQUIRED
    assert loaded.cert_store_stats()["x509_ca"] == 0
    assert usual.cert_store_stats() == ssl.create_default_context().cert_store_stats()
    assert ssl.SSLContext.load_default_certs.__qualname__ == "SSLContext.load_default_certs"


def test_collection_waits_until_the_sidecar_is_ready() -> None:
    put_off_collection()
    try:
        off = not gc.isenabled()
    finally:
        gc.enable()

    assert off
