"""`python -m bench.failover.setting_up`: installs the others into folders of their own, by pip and npm.

Portkey's npm package leaves the versions of its dependencies open, and with today's newest its streams end with an
error before they begin. So those are taken that its own repository locks for this version and its image is made of, and
the patch of async-retry is applied that the repository has and the npm package says it applies.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path
from shutil import which

from bench.failover.litellm import FOLDER as LITELLM_FOLDER
from bench.failover.portkey import FOLDER as PORTKEY_FOLDER

LITELLM = "litellm[proxy]"
PORTKEY = {
    "private": True,
    "dependencies": {"@portkey-ai/gateway": "1.15.2"},
    "overrides": {"@hono/node-server": "1.13.5", "hono": "4.9.7"},
}
PATCHED = Path("node_modules/async-retry/lib/index.js")
PATCH = ("val = fn(bail, num);", "val = fn(bail, num, op);")


def main() -> None:
    """Installs both; leaves one alone that is there already."""
    if not (LITELLM_FOLDER / "bin" / "litellm").exists():
        venv.create(LITELLM_FOLDER, with_pip=True)
        _run([str(LITELLM_FOLDER / "bin" / "python"), "-m", "pip", "install", "--quiet", LITELLM], LITELLM_FOLDER)
    npm = which("npm")
    if npm is None:
        sys.stderr.write("npm is not on this machine: Portkey's gateway is left out\n")
    elif not (PORTKEY_FOLDER / PATCHED).exists():
        PORTKEY_FOLDER.mkdir(parents=True, exist_ok=True)
        (PORTKEY_FOLDER / "package.json").write_text(json.dumps(PORTKEY, indent=1), encoding="utf-8")
        _run([npm, "install", "--no-audit", "--no-fund"], PORTKEY_FOLDER)
        patched = PORTKEY_FOLDER / PATCHED
        patched.write_text(patched.read_text(encoding="utf-8").replace(*PATCH), encoding="utf-8")


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True)  # noqa: S603 - our own commands


if __name__ == "__main__":
    main()
