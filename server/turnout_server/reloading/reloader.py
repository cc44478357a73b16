"""Takes a changed configuration, or says why not: one at a time, and never a part of one."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from turnout_server.config.changes import changed_keys, listed
from turnout_server.config.faults import ConfigurationError, Fault, dotted
from turnout_server.config.load import UNREADABLE, load
from turnout_server.config.taking import as_taken
from turnout_server.core.events import Event, EventName
from turnout_server.reloading.watched_files import WatchedFiles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from structlog.typing import FilteringBoundLogger

    from turnout_server.config.load import Loaded
    from turnout_server.config.schema import Configuration
    from turnout_server.reloading.in_service import InService

FAULTS_MAXIMUM = 100
"""Faults that are told of one file."""


class Result(StrEnum):
    """What came of a look at the configuration."""

    TAKEN = "taken"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """A file without faults: what can be taken of it now, what that changes, and what waits for a restart."""

    loaded: Loaded
    configuration: Configuration
    changed: tuple[str, ...]
    waiting: tuple[str, ...]


class Reloader:
    """Watches the files of `loaded`, which is in service. `environ` stays as it is: it cannot be changed from outside.

    `on_event` is told what operators are, `count` the result of each look at a configuration. `clock` is monotonic
    seconds.
    """

    def __init__(
        self,
        loaded: Loaded,
        environ: Mapping[str, str],
        service: InService,
        *,
        on_event: Callable[[Event], None],
        count: Callable[[str], None],
        log: FilteringBoundLogger,
        clock: Callable[[], float],
        files: WatchedFiles,
    ) -> None:
        self._origin = loaded.origin
        self._environ = environ
        self._service = service
        self._on_event = on_event
        self._count = count
        self._log = log
        self._clock = clock
        self._was_empty = loaded.is_empty
        self._warnings = frozenset(loaded.warnings)
        self._faults: tuple[str, ...] = ()
        self._files = files
        self._followed = bool(self._origin) and _may_be_read(self._origin)
        if not self._followed:
            # What came through a pipe cannot be read again.
            files.opened = {}

    async def watch(self) -> None:
        """Takes each change, until it is cancelled."""
        while True:
            asked = await self._files.changed(again=bool(self._faults))
            try:
                await self.reload(asked=asked)
                if asked:
                    await self._service.look_at_keys()
            except Exception as error:  # noqa: BLE001  # the outermost edge of a task that nobody waits for
                faults = (f"a fault of the sidecar's own: {type(error).__name__}",)
                if faults != self._faults:
                    self._log.exception("config.bug")
                    self._refuse(faults)

    async def reload(self, *, asked: bool = False) -> Result:
        """Looks at the configuration, takes what has changed, and tells what came of it.

        One that has faults changes nothing; the same faults are told again only where somebody `asked`.
        """
        opened: dict[str, str] = {}
        try:
            read = await asyncio.to_thread(self._read, opened)
            if read is None:
                self._log.info("config.unchanged", reason="there is no configuration file that could be read again")
                self._count(Result.UNCHANGED)
                return Result.UNCHANGED
            return await self._take(read, asked=asked)
        except ConfigurationError as error:
            faults = tuple(str(fault) for fault in error.faults)
            if asked or faults != self._faults:
                self._refuse(faults)
            return Result.REFUSED
        finally:
            self._files.opened = opened

    def _read(self, opened: dict[str, str]) -> _Read | None:
        """Reads the file; None where there is none that could be read again. Raises ConfigurationError."""
        if not self._followed:
            return None
        if not _may_be_read(self._origin):
            opened[self._origin] = UNREADABLE
            raise ConfigurationError([Fault(origin=self._origin, message="it is not a regular file any more")])
        loaded = load(self._origin, self._environ, opened=opened)
        if loaded.is_empty and not self._was_empty:
            message = "the file is empty, as one that is being written may be; write {} if none of the keys is wanted"
            raise ConfigurationError([Fault(origin=self._origin, message=message)])
        present = self._service.file
        configuration, waiting = as_taken(loaded.configuration, present)
        return _Read(
            loaded=loaded,
            configuration=configuration,
            changed=changed_keys(present, configuration),
            waiting=waiting,
        )

    async def _take(self, read: _Read, *, asked: bool) -> Result:
        result = Result.UNCHANGED
        if read.changed:
            adopted, undone = await self._service.take_file(read.configuration)
            result = Result.TAKEN
            fields: dict[str, str | int] = {
                "changed": listed(read.changed),
                "targets_added": len(adopted.added),
                "targets_removed": len(adopted.removed),
            }
            if read.waiting:
                fields["needs_restart"] = listed(read.waiting)
            if undone:
                fields["undone"] = listed(tuple(dotted(path) for path in undone))
            self._on_event(Event(name=EventName.CONFIG_RELOADED, at=self._clock(), fields=fields))
        elif asked or self._faults or not read.waiting:
            self._log.info("config.unchanged", config=self._origin)
        self._count(result)
        self._faults = ()
        self._was_empty = read.loaded.is_empty
        if read.waiting:
            self._log.warning(
                "config.needs_restart",
                keys=list(read.waiting),
                advice="their values stay as they were at the start; all other keys are in force",
            )
        warnings = frozenset(read.loaded.warnings)
        for warning in read.loaded.warnings:
            if warning not in self._warnings:
                self._log.warning("configuration", warning=warning)
        self._warnings = warnings
        return result

    def _refuse(self, faults: tuple[str, ...]) -> None:
        self._faults = faults
        told = list(faults[:FAULTS_MAXIMUM])
        if len(faults) > FAULTS_MAXIMUM:
            told.append(f"and {len(faults) - FAULTS_MAXIMUM} more")
        fields: dict[str, str | int] = {
            "config": self._origin,
            "fault_count": len(faults),
            "faults": "\n".join(told),
            "advice": "the configuration before it stays in force",
        }
        self._on_event(Event(name=EventName.CONFIG_REFUSED, at=self._clock(), fields=fields))
        self._count(Result.REFUSED)


def _may_be_read(path: str) -> bool:
    """Whether reading it cannot wait for anybody: it is a regular file, or cannot be had at all."""
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except OSError:
        return True
