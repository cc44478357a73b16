"""Ends the calls that outlast the drain with an error of ours: a connection that just breaks says nothing of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from turnout_server.core.call import CallReport
from turnout_server.core.errors import DrainCutError, DrainingError
from turnout_server.execution.cut_calls import CutCall, watched_call


class Cutting:
    """Knows the calls under way by their tasks."""

    __slots__ = ("_cut", "_over", "_running")

    def __init__(self) -> None:
        self._over = False
        self._running: set[asyncio.Task[Any]] = set()
        self._cut: set[asyncio.Task[Any]] = set()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Runs one call in the present task; raises DrainCutError in it when it is cut.

        Raises DrainingError where the others have been cut: what waited for room, or was being read, begins no more.
        """
        if self._over:
            raise DrainingError("the sidecar stopped before it came to the call; nothing was sent")
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        watched = CutCall()
        before = watched_call.set(watched)
        try:
            yield
        except asyncio.CancelledError:
            if task not in self._cut:
                raise
            task.uncancel()
            raise DrainCutError(
                "the sidecar stopped before the call had ended; the provider may have charged for what was made of it",
                report=watched.report or CallReport(),
                decision_id=watched.decision_id,
            ) from None
        finally:
            watched_call.reset(before)
            self._running.discard(task)
            self._cut.discard(task)

    def cut(self) -> None:
        """Ends all calls under way, and has none begin any more; returns at once."""
        self._over = True
        for task in self._running:
            self._cut.add(task)
            task.cancel()
