"""Short-lived tokens from commands that print them: run beside the loop, bounded in time and size, one at a time each.

A token is used until its refresh has brought another, or until the provider refuses it. What a command prints goes
nowhere but into requests; of the command itself only its first word is ever told, as the others may be secrets too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from time import monotonic

from turnout_server.providers.connection import SecretReference
from turnout_server.providers.orphans import Orphans

LIMIT_SECONDS = 10.0
"""How long a command may run."""
MAX_OUTPUT_BYTES = 16 * 1024
"""Longer than any token; a header of this size is refused by most servers."""
END_SECONDS = 1.0
"""How long the end of a command that was killed is waited for."""
AGAIN_SECONDS = 5.0
"""Between two runs of a command that failed, or whose token was refused at once: every call would start one."""


class CommandError(Exception):
    """A command brought no token; the message names its first word, never an argument or what it printed."""


@dataclass(slots=True)
class _Token:
    text: str = field(default="", repr=False)
    got_at: float = 0.0
    tried_at: float | None = None
    fault: str = ""
    running: asyncio.Task[None] | None = None


class TokenCommands:
    """The tokens of all references to commands.

    `clock` is monotonic seconds; `on_fault` is told why a run failed; `limit_seconds` is how long one may take.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = monotonic,
        on_fault: Callable[[str], None] = lambda _: None,
        limit_seconds: float = LIMIT_SECONDS,
    ) -> None:
        self._limit_seconds = limit_seconds
        self._clock = clock
        self._on_fault = on_fault
        self._tokens: dict[tuple[str, ...], _Token] = {}
        self._orphans = Orphans()

    def known(self, reference: SecretReference) -> str:
        """Returns the token as far as there is one, else ""."""
        return self._token(reference).text

    async def text(self, reference: SecretReference) -> str:
        """Returns the token; waits for the command where there is none yet. Raises CommandError."""
        token = self._token(reference)
        if not token.text:
            running = self._start(reference, token)
            if running is not None:
                # Whoever gives up waiting does not end it for the others.
                await asyncio.shield(running)
        if not token.text:
            raise CommandError(token.fault)
        return token.text

    def start_due(self, references: Iterable[SecretReference]) -> None:
        """Starts the commands whose tokens are missing or old enough for a refresh; returns at once."""
        now = self._clock()
        for reference in references:
            token = self._token(reference)
            if not token.text or now - token.got_at >= reference.refresh_seconds:
                self._start(reference, token)

    def refused(self, reference: SecretReference, text: str) -> None:
        """Takes note that the provider refused a token: the next call waits for another, unless this one is new."""
        token = self._token(reference)
        if token.text == text and self._clock() - token.got_at >= AGAIN_SECONDS:
            token.text = ""

    def keep(self, commands: Collection[tuple[str, ...]]) -> None:
        """Forgets the tokens of all other commands, but for those that run."""
        self._tokens = {
            command: token
            for command, token in self._tokens.items()
            if command in commands or (token.running is not None and not token.running.done())
        }

    async def aclose(self) -> None:
        """Ends the commands that run."""
        running = [token.running for token in self._tokens.values() if token.running is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _token(self, reference: SecretReference) -> _Token:
        return self._tokens.setdefault(reference.command, _Token())

    def _start(self, reference: SecretReference, token: _Token) -> asyncio.Task[None] | None:
        """Returns the run that is under way or begins; None where the last one failed a moment ago."""
        if token.running is not None and not token.running.done():
            return token.running
        now = self._clock()
        if token.tried_at is not None and now - token.tried_at < AGAIN_SECONDS:
            return None
        token.tried_at = now
        token.running = asyncio.create_task(self._run(reference, token), name=f"{reference}")
        return token.running

    async def _run(self, reference: SecretReference, token: _Token) -> None:
        try:
            async with asyncio.timeout(self._limit_seconds):
                text = await _output(reference, self._orphans)
        except TimeoutError:
            token.fault = f"{reference} has not ended within {self._limit_seconds:g} s"
        except CommandError as error:
            token.fault = str(error)
        else:
            token.text = text
            token.got_at = self._clock()
            token.fault = ""
        if token.fault:
            self._on_fault(token.fault)


async def _output(reference: SecretReference, orphans: Orphans) -> str:
    """Runs a command and returns what it printed, without white space around it."""
    orphans.collect()
    try:
        process = await asyncio.create_subprocess_exec(
            *reference.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "a part of it cannot be passed to a program"
        raise CommandError(f"{reference} cannot be started: {reason}") from None
    assert process.stdout is not None
    try:
        printed = b""
        while chunk := await process.stdout.read(MAX_OUTPUT_BYTES):
            printed += chunk
            if len(printed) > MAX_OUTPUT_BYTES:
                raise CommandError(f"{reference} prints more than {MAX_OUTPUT_BYTES} bytes; it must print a token")
        status = await process.wait()
    finally:
        if process.returncode is None:
            await _end(process, process.stdout)
        if process.returncode is not None:
            orphans.left_by(process.pid)
            orphans.collect()
    if status != 0:
        raise CommandError(f"{reference} ended with status {status}; run it by hand to see why")
    try:
        text = printed.decode().strip()
    except UnicodeDecodeError:
        raise CommandError(f"{reference} prints what is not UTF-8 text") from None
    if not text:
        raise CommandError(f"{reference} prints nothing; it must print a token")
    return text


async def _end(process: asyncio.subprocess.Process, printed: asyncio.StreamReader) -> None:
    _kill(process)
    # Its end is seen only once what it printed is read; somebody who has left its session may hold that open.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_SECONDS):
            while await printed.read(MAX_OUTPUT_BYTES):
                pass
            await process.wait()


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            # With what it has started itself, which may hold its output open.
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
