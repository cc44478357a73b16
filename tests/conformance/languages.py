"""The clients that take part: `clients/LANGUAGE/conformance/driver.json` says how a driver is made and run."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.tool_paths import ROOT

CLIENTS = ROOT / "clients"
COMMAND_SECONDS = 1200.0
"""For setting up, building, or a client's own tests: a cold cache of modules, on a slow machine."""

_KNOWN_KEYS = frozenset({"language", "needs", "setup", "build", "run", "test"})


class NotRun(Exception):  # noqa: N818 - no fault: the client's toolchain is not there
    """A client that cannot take part on this machine, and why."""


class CommandFailed(Exception):  # noqa: N818 - the sentence reads better
    """A command of a client that failed; the text has the end of what it wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """One client. Commands run in `folder`; `needs` are commands that must be on the PATH."""

    name: str
    folder: Path
    run: Sequence[str]
    needs: Sequence[str] = ()
    setup: Sequence[Sequence[str]] = ()
    build: Sequence[Sequence[str]] = ()
    test: Sequence[Sequence[str]] = ()

    def missing(self) -> str:
        """Returns why it cannot take part; "" where it can."""
        absent = [need for need in self.needs if shutil.which(need) is None]
        return f"{', '.join(absent)}: not on this machine" if absent else ""

    def prepare(self, *, build: bool = True) -> None:
        """Sets up and builds, unless it is to be taken as it is.

        Raises `NotRun` where the toolchain is missing, `CommandFailed` where a command fails.
        """
        if self.missing():
            raise NotRun(self.missing())
        with self._alone():
            self._build(build=build)

    def _build(self, *, build: bool) -> None:
        for command in (*self.setup, *self.build) if build else ():
            self.command(command)

    def own_tests(self, environment: Mapping[str, str]) -> None:
        """Runs the client's own tests. Raises `CommandFailed`."""
        with self._alone():
            for command in self.test:
                self.command(command, environment)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps two runs of the suite from building the same client at once."""
        with (self.folder / "conformance" / "driver.json").open() as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield

    def command(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Runs one command in the client's folder. Raises `CommandFailed`."""
        try:
            ended = subprocess.run(  # noqa: S603 - what the repository's own driver.json says
                command,
                cwd=self.folder,
                env={**_outer_environment(), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CommandFailed(f"{' '.join(command)}: not done after {COMMAND_SECONDS:.0f} s") from None
        except OSError as error:
            raise CommandFailed(f"{' '.join(command)}: cannot be run: {error.strerror}") from None
        if ended.returncode != 0:
            raise CommandFailed(f"{' '.join(command)}: ended with {ended.returncode}\n{ended.stdout[-6000:]}")


def _outer_environment() -> dict[str, str]:
    """What commands see of the environment: a client's own tests may be pytest's, within pytest."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}


def languages(clients: Path = CLIENTS) -> list[Language]:
    """Returns the clients that have a driver, by name. Raises ValueError for a driver.json that cannot be read."""
    return [read(file) for file in sorted(clients.glob("*/conformance/driver.json"))]


def read(file: Path) -> Language:
    """Reads one driver.json. Raises ValueError, naming the file and what is wrong."""
    found = json.loads(file.read_text())
    if not isinstance(found, dict) or not found.keys() >= {"language", "run"} or found.keys() - _KNOWN_KEYS:
        raise ValueError(f"{file}: needs language and run, and may have {', '.join(sorted(_KNOWN_KEYS))}")
    return Language(
        name=str(found["language"]),
        folder=file.parents[1],
        run=_words(found["run"], file),
        needs=_words(found.get("needs", []), file),
        setup=_commands(found.get("setup", []), file),
        build=_commands(found.get("build", []), file),
        test=_commands(found.get("test", []), file),
    )


def _words(value: Any, file: Path) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ValueError(f"{file}: {value!r} must be a list of words")
    return tuple(value)


def _commands(value: Any, file: Path) -> tuple[tuple[str, ...], ...]:
    """One command, or a list of them."""
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        return (_words(value, file),)
    if not isinstance(value, list):
        raise ValueError(f"{file}: {value!r} must be a command or a list of commands")  # noqa: TRY004 - the file is wrong
    return tuple(_words(command, file) for command in value)
