"""Reads the files of a sidecar's state by what docs/restart.md says of them, with nothing of the sidecar's own code."""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any, NamedTuple


class OnDisk(NamedTuple):
    """What must be known after a start: the least that accounts have spent in nano-USD, and who is not closed."""

    spent: dict[tuple[str, str], int]
    open_targets: set[str]
    journal_lines: int


def read(file: Path) -> OnDisk:
    frames = _snapshot(file) if file.exists() else []
    journal = [frame for each in sorted(file.parent.glob(f"{file.name}.journal-*")) for frame in _journal(each)]
    spent: dict[tuple[str, str], int] = {}
    breakers: dict[str, bool] = {}
    for _, _, kind, content in sorted([*frames, *journal], key=lambda frame: int(frame[0])):
        if kind == "budget":
            for key, nano_usd, _ in content["accounts"]:
                _raise_to(spent, (content["budget"]["name"], key), nano_usd)
        elif kind == "spent":
            _raise_to(spent, (content["budget"]["name"], content["key"]), content["spent_nano_usd"])
        elif kind == "breaker":
            name = content["name"]
            breakers[f"{name['provider']}/{name['model']}"] = content["gate"]["opened_age"] is not None
    return OnDisk(spent, {name for name, is_open in breakers.items() if is_open}, len(journal))


def _raise_to(spent: dict[tuple[str, str], int], account: tuple[str, str], nano_usd: int) -> None:
    spent[account] = max(nano_usd, spent.get(account, 0))


def _snapshot(file: Path) -> list[Any]:
    heading, _, rest = file.read_bytes().partition(b"\n")
    magic, version, length, digest = heading.split()

    assert (magic, version, int(length)) == (b"turnout-snapshot", b"1", len(rest))
    assert digest.decode() == hashlib.sha256(rest).hexdigest()

    return [json.loads(line) for line in rest.splitlines()]


def _journal(file: Path) -> list[Any]:
    heading, _, rest = file.read_bytes().partition(b"\n")

    assert b"turnout-journal 1".startswith(heading)

    lines = rest.split(b"\n")[:-1]
    return [json.loads(line[9:]) for line in lines if int(line[:8], 16) == zlib.crc32(line[9:] + b"\n")]
