"""Compares what the lock files name with the published advisories: `python -m tools.audit [LOCK...]`.

pip-audit does the work. It takes a package that the advisory database does not know for one without advisories, and
says "No known vulnerabilities found" where it reached none at all; here that is a failure of its own.

Exit codes: 0 every package was compared and none has an advisory, 1 some have, 2 some could not be compared.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "requirements-build.lock")
SERVICES = ("pypi", "osv")
"""Where advisories are read, in this order: the package index's own, then those of osv.dev."""


def main(locks: Sequence[str]) -> int:
    """Audits each lock file, prints what was found, returns the exit code."""
    return max(_audited(lock) for lock in locks)


def _audited(lock: str) -> int:
    unreached: list[str] = []
    for service in SERVICES:
        command = [sys.executable, "-m", "pip_audit", "--format=json", "--progress-spinner=off", "--timeout=20"]
        command += ["--disable-pip", "--require-hashes", f"--vulnerability-service={service}", "--requirement", lock]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - a locked tool
        try:
            found = json.loads(ended.stdout)["dependencies"]
        except (json.JSONDecodeError, KeyError):
            said = ended.stderr.strip().splitlines()
            unreached.append(f"{service}: {said[-1] if said else 'said nothing'}")
            continue
        skipped = [one for one in found if "skip_reason" in one]
        known = [one for one in found if one.get("vulns")]
        if len(skipped) == len(found):
            unreached.append(f"{service}: it knows none of the {len(found)} packages")
            continue
        return _told(lock, found, known=known, skipped=skipped)
    _say("\n  ".join([f"{lock}: not audited, as no advisory database could be reached:", *unreached]))
    return 2


def _told(lock: str, found: list[Any], *, known: list[Any], skipped: list[Any]) -> int:
    for one in known:
        for advisory in one["vulns"]:
            fixed = ", ".join(advisory["fix_versions"]) or "none yet"
            _say(f"{lock}: {one['name']} {one['version']}: {advisory['id']}; fixed in: {fixed}")
    for one in skipped:
        _say(f"{lock}: {one['name']}: not compared: {one['skip_reason']}")
    _say(f"{lock}: {len(found)} packages, {len(known)} with advisories, {len(skipped)} not compared")
    if known:
        return 1
    return 2 if skipped else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or LOCKS))
