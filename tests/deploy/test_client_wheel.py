"""What somebody gets who installs the client: the wheel as it would be published, in an environment of its own."""

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.clients.real_sidecar import world
from tests.deploy.test_wheel import ROOT, built

SCRIPT = """
import importlib.metadata, importlib.util, json, sys, turnout

assert turnout.__file__.startswith(sys.prefix), turnout.__file__
distribution = importlib.metadata.distribution("turnout")
with turnout.Client(sys.argv[1]) as client:
    answer = client.ask("What is a turnout?", max_output_tokens=30)
    with client.stream("What is a turnout?", max_output_tokens=30) as stream:
        streamed = "".join(stream.text())
    called = [client.call(lambda attempt: attempt.target, task="chat") for _ in range(3)]
    plan = client.plan(task="chat")
    flushed = client.flush(60)
    states = client.status().providers
    try:
        client.route(options=turnout.RoutingOptions(min_quality=120))
    except turnout.InvalidRequestError as error:
        refused = error.reason
import asyncio

async def again():
    async with turnout.AsyncClient(sys.argv[1]) as client:
        return (await client.ask("What is a turnout?", max_output_tokens=30)).text

print(json.dumps({
    "name": distribution.metadata["Name"],
    "licence": distribution.metadata["License-Expression"],
    "described": len(distribution.metadata.get_payload() or distribution.metadata["Description"]) > 1000,
    "required": sorted(r.split(">")[0] for r in distribution.requires if "extra" not in r),
    "installed": sorted(d.metadata["Name"].lower() for d in importlib.metadata.distributions()),
    "typed": importlib.util.find_spec("turnout").submodule_search_locations[0],
    "text": answer.text,
    "streamed": streamed,
    "called": called,
    "reused": plan.reused,
    "flushed": flushed,
    "reported": states[0].request_count,
    "refused": refused,
    "again": asyncio.run(again()),
}))
"""

USE = """
import turnout

with turnout.Client() as client:
    text: str = client.call(lambda attempt: attempt.model, task="chat")
    plan: turnout.Plan = client.plan(task="chat")
    wrong: int = client.ask("…").text
"""


@pytest.mark.full
@pytest.mark.timeout(600)
def test_the_client_alone_is_installed_and_works(tmp_path: Path) -> None:
    wheel = built(tmp_path)
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    locked = [line.split(" ")[0] for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line]
    (tmp_path / "constraints.txt").write_text("\n".join(locked))
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--constraint", str(tmp_path / "constraints.txt"), str(wheel)], check=True)  # noqa: S603 - our own wheel

    with world(tmp_path) as running:
        ended = subprocess.run(  # noqa: S603 - our own script
            [python, "-I", "-W", "error", "-c", SCRIPT, running.address],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert (found["name"], found["licence"], found["described"]) == ("turnout", "Apache-2.0", True)
    assert found["required"] == ["googleapis-common-protos", "grpcio", "protobuf"]
    # grpcio brings typing-extensions; nothing of the server is there.
    assert set(found["installed"]) <= {
        *found["required"],
        "turnout",
        "typing-extensions",
        "typing_extensions",
        "pip",
        "setuptools",
    }
    assert (Path(found["typed"]) / "py.typed").exists()
    assert found["text"]
    assert found["streamed"]
    assert found["again"]
    assert found["called"] == ["north/m"] * 3
    assert (found["reused"], found["flushed"], found["reported"]) == (True, True, 3 + 2)
    assert found["refused"] == "INVALID_REQUEST"


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_type_checker_knows_what_is_in_the_wheel(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    with zipfile.ZipFile(built(tmp_path)) as wheel:
        wheel.extractall(folder)
    (tmp_path / "use.py").write_text(USE)

    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent"]
    ended = subprocess.run(  # noqa: S603 - the locked mypy
        [*mypy, "--cache-dir", str(tmp_path / "cache"), str(tmp_path / "use.py")],
        env={"MYPYPATH": str(folder), "PATH": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )

    assert 'use.py:7: error: Incompatible types in assignment (expression has type "str", variable has type "int")' in (
        ended.stdout
    )
    assert "Found 1 error in 1 file" in ended.stdout
