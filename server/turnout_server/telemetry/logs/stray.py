"""What nobody caught and nobody asked for, as lines of the log: Python would write it between them as raw text."""

from __future__ import annotations

import asyncio
import sys
import threading
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger


def log_strays(log: FilteringBoundLogger, drain: Callable[[], object]) -> None:
    """Has warnings, and exceptions that end the process or a thread or cannot be caught at all, logged from now on.

    `drain` waits until the line of one that ends the process is written. Called once, by whoever starts the process.
    """
    python = sys.excepthook

    def uncaught(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            python(kind, error, where)
            return
        log.critical("process.uncaught", error=kind.__name__, exc_info=error)
        drain()

    def thread_ended(told: threading.ExceptHookArgs) -> None:
        if told.exc_value is not None and not isinstance(told.exc_value, SystemExit):
            name = "" if told.thread is None else told.thread.name
            log.error("thread.uncaught", thread=name, error=told.exc_type.__name__, exc_info=told.exc_value)

    def unraisable(told: sys.UnraisableHookArgs) -> None:
        # What it was raised in may be half gone, and its text hold anything: its name is enough.
        where = getattr(told.object, "__qualname__", type(told.object).__name__)
        log.error("process.unraisable", error=told.exc_type.__name__, where=where, exc_info=told.exc_value)

    def warned(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_more: Any) -> None:
        log.warning("python.warning", category=category.__name__, message=str(message), file=f"{filename}:{lineno}")

    sys.excepthook, threading.excepthook, sys.unraisablehook = uncaught, thread_ended, unraisable
    # Its two further arguments are for whoever writes text to a file.
    warnings.showwarning = warned  # type: ignore[assignment]


def log_unhandled(log: FilteringBoundLogger, loop: asyncio.AbstractEventLoop) -> None:
    """Has what fails on the event loop with nobody waiting for it logged, without what asyncio quotes of it."""

    def handle(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        task = context.get("task") or context.get("future")
        name = task.get_name() if isinstance(task, asyncio.Task) else ""
        # What stands in brackets are the arguments of a callback, whatever they hold.
        message = str(context.get("message", "")).partition("(")[0]
        log.error("asyncio.unhandled", message=message, task=name, exc_info=error)

    loop.set_exception_handler(handle)
