"""How commands end: the exit codes, and the one line that says why."""

from __future__ import annotations

from enum import IntEnum

import click


class Exit(IntEnum):
    """Exit codes of every command; scripts rely on them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    CANNOT_START = 4
    INTERRUPTED = 130


EXITS_TEXT = """\
  0    it went well; a server was stopped by a signal
  1    the request failed, or the configuration has faults
  2    wrong usage: an option, argument or address that cannot be
  3    the sidecar cannot be reached
  4    the server cannot start: address taken, socket in use, …
  130  stopped at the keyboard"""


class Failure(click.ClickException):
    """Ends a command with one line on stderr and a code."""

    def __init__(self, message: str, code: Exit) -> None:
        super().__init__(message)
        self.code = code

    def show(self, file: object = None) -> None:
        """Writes the line."""
        del file
        click.echo(f"turnout: {self.message}", err=True)
