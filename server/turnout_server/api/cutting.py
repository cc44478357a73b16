"""Ends the calls that outlast the drain with an error of ours: a connection that just breaks says nothing of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from turnout_server.core.errors import DrainCutError


class Cutting:
    """Knows the calls under way by their tasks."""

    __slots__ = ("_cut", "_running")

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._cut: set[asyncio.Task[Any]] = set()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Runs one call in the present task; raises DrainCutError in it when it is cut."""
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if task not in self._cut:
                raise
            task.uncancel()
            raise DrainCutError(
                "the sidecar stopped before the call had ended; the provider may have charged for what was made of it"
            ) from None
        finally:
            self._running.discard(task)
            self._cut.discard(task)

    def cut(self) -> None:
        """Ends all calls under way; returns at once."""
        for task in self._running:
            self._cut.add(task)
            task.cancel()
