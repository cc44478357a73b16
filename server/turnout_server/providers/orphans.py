"""Ends of processes that nobody waits for: what a command has started itself and left behind.

The first process of a container inherits those, and without an init beside it each that ends stays in the table of
processes until somebody asks for its end.
"""

from __future__ import annotations

import os

MAX_GROUPS = 64
"""How many commands are remembered whose own processes still run; the oldest is forgotten."""


class Orphans:
    """The process groups of commands that have ended; only a container's first process finds anything in them."""

    def __init__(self) -> None:
        self._groups: list[int] = []

    def left_by(self, group: int) -> None:
        """Remembers the group of a command whose own end has been seen: that one must not be taken from its watcher."""
        self._groups = [*self._groups, group][-MAX_GROUPS:]

    def collect(self) -> None:
        """Takes note of all that have ended by now; never waits."""
        if self._groups and hasattr(os, "WNOHANG"):
            self._groups = [group for group in self._groups if _has_more(group)]


def _has_more(group: int) -> bool:
    """Collects what has ended of a group; tells whether others of it, inherited too, still run."""
    try:
        while os.waitpid(-group, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        return False
    return True
