"""The wheel: one distribution with two packages, of which the client stands alone on three dependencies."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def built(folder: Path) -> Path:
    subprocess.run(  # noqa: S603 - our own build
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder], cwd=ROOT, check=True
    )
    (wheel,) = folder.glob("turnout-*.whl")
    return wheel


@pytest.mark.full
def test_wheel_holds_client_server_and_types_and_nothing_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(built(tmp_path)) as wheel:
        names = wheel.namelist()

    tops = {name.split("/")[0] for name in names}

    assert {top for top in tops if not top.endswith(".dist-info")} == {"turnout", "turnout_server"}
    assert {"turnout/py.typed", "turnout_server/py.typed", "turnout/v1/router_pb2.pyi"} <= set(names)
    assert any(name.endswith("LICENSE") for name in names)


@pytest.mark.full
@pytest.mark.timeout(300)
def test_client_installs_and_imports_without_the_servers_dependencies(tmp_path: Path) -> None:
    wheel = built(tmp_path)
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # The versions that are locked, without their hashes, which bind files and not names.
    locked = [line.split(" ")[0] for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line]
    (tmp_path / "constraints.txt").write_text("\n".join(locked))
    subprocess.run([*pip, "--constraint", str(tmp_path / "constraints.txt"), str(wheel)], check=True)  # noqa: S603 - our own wheel

    script = "import turnout, sys; turnout.Client('127.0.0.1:1').close(); print(sorted(sys.modules))"
    ended = subprocess.run([python, "-W", "error", "-c", script], capture_output=True, text=True, check=False)  # noqa: S603 - as above

    assert ended.returncode == 0, ended.stderr
    assert "turnout_server" not in ended.stdout
    for module in ("aiohttp", "pydantic", "httpx", "click"):
        assert f"'{module}'" not in ended.stdout
