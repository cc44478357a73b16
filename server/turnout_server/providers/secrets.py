"""Finds the secrets that references name, at the moment they are needed, so that a rotated key is used at once.

A file is read again when its identity, size or modification time changes; it is looked at most once a second. No secret
is ever part of a repr, an error or a log line.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from turnout_server.providers.connection import ProviderConnection, SecretReference
from turnout_server.providers.token_commands import CommandError, TokenCommands

LOOK_EVERY_SECONDS = 1.0
MAX_FILE_BYTES = 64 * 1024
"""Longer than any key, token or set of headers."""


class SecretUnavailableError(Exception):
    """A reference leads nowhere; the message names the reference, never a value."""


@dataclass(slots=True)
class _File:
    looked_at: float
    stamp: tuple[int, int, int]
    text: str = field(repr=False)
    doubted_at: float | None = None
    """When it was first found empty or gone."""


class SecretFiles:
    """Contents of small secret files, kept until the file changes. `clock` is monotonic seconds.

    One that is found empty or gone counts as it was for a second: it may be in the middle of being replaced.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._files: dict[str, _File] = {}

    def text(self, path: str) -> str:
        """Returns the file's text without surrounding white space; SecretUnavailableError if it cannot be read."""
        now = self._clock()
        known = self._files.get(path)
        if known is not None and now - known.looked_at < LOOK_EVERY_SECONDS:
            return known.text
        try:
            status = os.stat(path)  # noqa: PTH116 - one call for three numbers
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
            if known is not None and known.stamp == stamp:
                known.looked_at, known.doubted_at = now, None
                return known.text
            text = _text(path)
            if not text and known is not None and _in_doubt(known, now):
                return known.text
        except (OSError, ValueError) as error:
            if known is not None and isinstance(error, FileNotFoundError) and _in_doubt(known, now):
                return known.text
            self._files.pop(path, None)
            reason = error.strerror if isinstance(error, OSError) else error
            raise SecretUnavailableError(f"file {path} cannot be read: {reason}") from None
        self._files[path] = _File(looked_at=now, stamp=stamp, text=text)
        return text

    def keep(self, paths: Collection[str]) -> None:
        """Forgets what was read of all other files."""
        self._files = {path: known for path, known in list(self._files.items()) if path in paths}


def _in_doubt(known: _File, now: float) -> bool:
    """Whether what was known of a file still counts, though there is nothing in it now."""
    if known.doubted_at is None:
        known.doubted_at = now
    return now - known.doubted_at < LOOK_EVERY_SECONDS


def _text(path: str) -> str:
    with Path(path).open("rb") as stream:
        content = stream.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"it is larger than {MAX_FILE_BYTES // 1024} KiB")
    try:
        return content.decode().strip()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None


def _references(connections: Iterable[ProviderConnection]) -> dict[tuple[str, str], SecretReference]:
    return {
        (connection.provider, label): reference
        for connection in connections
        for label, reference in connection.credentials.items()
    }


class Secrets:
    """The secrets of all providers by (provider, label)."""

    def __init__(
        self,
        connections: Iterable[ProviderConnection],
        *,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = monotonic,
        on_fault: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._references = _references(connections)
        self._environ = environ
        self.clock = clock
        self.files = SecretFiles(clock)
        self.on_fault = on_fault
        """Is told what is wrong with a file or command while the sidecar runs; never a value."""
        self._commands = TokenCommands(clock=clock, on_fault=on_fault)
        self._last: dict[tuple[str, str], str | None] = {}
        self.changed()

    def following(self, connections: Iterable[ProviderConnection]) -> Secrets:
        """Returns the secrets of another configuration. They share with these what was read of files and commands.

        These go on finding theirs, for calls that began with them: a key is never sent where it does not belong.
        """
        new = copy.copy(self)
        new._references = _references(connections)  # noqa: SLF001  # one of ours
        new._last = dict(self._last)  # noqa: SLF001  # likewise
        return new

    def forget_others(self, files: Iterable[str] = ()) -> None:
        """Forgets what was read that none of these references, nor `files`, name; it is read again where needed."""
        references = self._references.values()
        self.files.keep({*files, *(reference.file for reference in references if reference.file)})
        self._commands.keep({reference.command for reference in references if reference.command})

    def get(self, provider: str, label: str) -> str:
        """Returns the secret as far as it is at hand; SecretUnavailableError, naming the reference, where it is not."""
        reference = self._reference(provider, label)
        if reference.command:
            value = self._commands.known(reference)
            if not value:
                raise SecretUnavailableError(f"{reference} has not brought a token yet")
            return value
        value = self.files.text(reference.file) if reference.file else self._environ.get(reference.env, "").strip()
        if not value:
            raise SecretUnavailableError(f"{reference} is empty or not set")
        return value

    async def fetch(self, provider: str, label: str) -> str:
        """Returns the secret, waiting for a command that has to be run first; SecretUnavailableError as `get`."""
        reference = self._reference(provider, label)
        if not reference.command:
            return self.get(provider, label)
        try:
            return await self._commands.text(reference)
        except CommandError as error:
            raise SecretUnavailableError(str(error)) from None

    def is_token(self, provider: str, label: str) -> bool:
        """Whether it is a short-lived token and not a key of the vendor's."""
        reference = self._references.get((provider, label))
        return reference is not None and reference.is_token

    def refused(self, provider: str, label: str, secret: str) -> None:
        """Takes note that the provider did not know the secret: a command is run anew for it."""
        reference = self._references.get((provider, label))
        if reference is not None and reference.command:
            self._commands.refused(reference, secret)

    def known(self) -> tuple[str, ...]:
        """Returns the secrets as they were at the last look, so that they can be taken out of what is written."""
        return tuple(value for value in self._last.values() if value)

    def start_commands(self) -> None:
        """Starts the commands whose tokens are missing or old; returns at once. Called now and then."""
        self._commands.start_due(reference for reference in self._references.values() if reference.command)

    async def aclose(self) -> None:
        """Ends the commands that run."""
        await self._commands.aclose()

    def _reference(self, provider: str, label: str) -> SecretReference:
        reference = self._references.get((provider, label))
        if reference is None:
            raise SecretUnavailableError(f"no credential {label!r} is configured for {provider}")
        return reference

    def changed(self) -> tuple[tuple[str, str], ...]:
        """Returns the (provider, label) pairs that have another secret than at the last look; called now and then.

        One that cannot be had is not another; it is one when it can be had again.
        """
        now: dict[tuple[str, str], str | None] = {}
        for key in self._references:
            try:
                now[key] = self.get(*key)
            except SecretUnavailableError:
                now[key] = None
        differing = tuple(
            key for key, value in now.items() if value is not None and key in self._last and self._last[key] != value
        )
        self._last = now
        return differing
