"""What holds a lock or a thread begins anew in a forked child: the parent's threads are not there to let go of it."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forked(Protocol):
    """What has to begin anew."""

    def begin_anew(self) -> None:
        """Forgets locks, threads and what the parent has under way."""
        ...


_known: WeakSet[Forked] = WeakSet()


def remember(one: Forked) -> None:
    """Has an object begin anew in each child that is forked while it lives."""
    _known.add(one)


def _forked() -> None:
    for one in list(_known):
        one.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
