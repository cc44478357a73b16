"""Puts files that cannot be used out of the way, for somebody to look at: FILE.damaged-20260131T235959Z."""

from __future__ import annotations

import contextlib
import os
import time

from turnout_server.state.disk import Disk

KEPT_MAXIMUM = 3
"""Files set aside that are kept of one kind, journals being one whatever their numbers; the oldest is removed first."""

JOURNAL = ".journal-"
"""Between a name and the number of its journal."""
_MARK = ".damaged-"
_DIGITS = "0123456789"


def set_aside(disk: Disk, path: str, now_wall: float) -> str:
    """Gives a file, or whatever is there, another name and returns that. Raises OSError."""
    folder, name = os.path.split(path)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_wall))
    there = set(disk.names(folder or "."))
    aside = f"{name}{_MARK}{stamp}"
    place = 1
    while aside in there:
        place += 1
        aside = f"{name}{_MARK}{stamp}-{place}"
    target = os.path.join(folder, aside)  # noqa: PTH118 - names, as `disk` takes them
    disk.replace(path, target)
    kind = _kind(aside)
    older = sorted((each for each in there if _MARK in each and _kind(each) == kind), key=_age)
    for each in older[: max(0, len(older) + 1 - KEPT_MAXIMUM)]:
        # A folder that stood there stays: whose it is nobody knows.
        with contextlib.suppress(OSError):
            disk.remove(os.path.join(folder, each))  # noqa: PTH118 - likewise
    return target


def _kind(aside: str) -> str:
    """Returns of which name it was: that of a journal without its number."""
    name, _, _ = aside.rpartition(_MARK)
    before, journal, number = name.rpartition(JOURNAL)
    return before + journal if journal and not number.strip(_DIGITS) else name


def _age(aside: str) -> tuple[str, int, str]:
    name, _, stamp = aside.rpartition(_MARK)
    return stamp, len(name), name
