"""Where an exception came from, as one text for one field of a log line.

An exception's message may quote anything, the prompt that could not be read among it, so that only types whose messages
never quote a value keep theirs.
"""

from __future__ import annotations

import traceback

from turnout_server.core.errors import TurnoutError

FRAMES_MAXIMUM = 64
"""Of each exception, the innermost; a recursion has a thousand."""
CHAIN_MAXIMUM = 8
"""Exceptions that led to each other, or came together."""

_TELLING = (
    AttributeError,
    ImportError,
    MemoryError,
    NameError,
    NotImplementedError,
    OSError,
    RecursionError,
    TurnoutError,
    ZeroDivisionError,
)
"""TurnoutErrors' messages are told to callers, and hold neither content nor credentials."""

_BECAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_MEANWHILE = "\nDuring handling of the above exception, another exception occurred:\n\n"


def stack_text(error: BaseException) -> str:
    """Returns the stack of an exception and of those that led to it, as Python writes it, without what they quote."""
    parts: list[str] = []
    count = 0
    current: BaseException | None = error
    while current is not None and count < CHAIN_MAXIMUM:
        count += 1
        parts.insert(0, _one(current, CHAIN_MAXIMUM - count))
        if current.__cause__ is not None:
            current, between = current.__cause__, _BECAUSE
        elif current.__context__ is not None and not current.__suppress_context__:
            current, between = current.__context__, _MEANWHILE
        else:
            break
        parts.insert(0, between)
    return "".join(parts).strip()


def _one(error: BaseException, left: int) -> str:
    frames = traceback.format_tb(error.__traceback__, limit=-FRAMES_MAXIMUM)
    lines = ["Traceback (most recent call last):\n", *frames] if frames else []
    lines.append(f"{_name(error)}\n")
    if isinstance(error, BaseExceptionGroup):
        for number, each in enumerate(error.exceptions[:left], start=1):
            lines.append(f"  {number}:\n" + "".join(f"    {line}\n" for line in _one(each, 0).splitlines()))
    return "".join(lines)


def _name(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if not isinstance(error, _TELLING):
        return name
    message = str(error)
    return f"{name}: {message}" if message else name
