"""The request log as the configuration has it: begun, moved to another file, bounded anew or ended while calls run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from turnout_server.config.faults import ConfigurationError, Fault
from turnout_server.telemetry.logs.request_log import RequestLog
from turnout_server.telemetry.logs.rotating_file import RotatingFile, RotatingFileError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from turnout_server.config.schema import Configuration, RequestLogSection

MIB = 1024 * 1024


class RequestLogging:
    """`present` is the log that calls are told to, None where there is none; `on_change` is told of another one.

    `secrets` returns what is never written. `clock` is monotonic seconds, `wall` seconds since the epoch.
    """

    def __init__(
        self,
        *,
        log: FilteringBoundLogger,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._log = log
        self._clock = clock
        self._wall = wall
        self.secrets: Callable[[], Iterable[str]] = tuple
        self._section: RequestLogSection | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self.present: RequestLog | None = None
        self.on_change: Callable[[RequestLog | None], None] = lambda _: None

    def prepare(self, configuration: Configuration) -> RotatingFile | None:
        """Opens the file that another configuration wants, None where it wants none or the present one.

        Blocks. Raises ConfigurationError.
        """
        wanted = configuration.telemetry.request_log
        if not wanted.file or (self._section is not None and wanted.file == self._section.file):
            return None
        file = RotatingFile(wanted.file, wanted.max_mib * MIB)
        try:
            file.open()
        except RotatingFileError as error:
            path = ("telemetry", "request_log", "file")
            raise ConfigurationError([Fault(path=path, message=str(error))]) from None
        return file

    def take(self, configuration: Configuration, file: RotatingFile | None) -> None:
        """Goes on as another configuration wants, with what was prepared for it. Returns at once."""
        wanted = configuration.telemetry.request_log
        present = self.present
        self._section = wanted
        if not wanted.file:
            if present is not None:
                self.present = None
                self._close_later(present)
                self.on_change(None)
        elif present is None:
            assert file is not None
            self.present = RequestLog(
                file,
                content=wanted.content,
                log=self._log,
                clock=self._clock,
                wall=self._wall,
                secrets=self.secrets,
            )
            self.present.start()
            self.on_change(self.present)
        else:
            present.content = wanted.content
            if file is not None:
                present.move(file)
            else:
                present.bound(wanted.max_mib * MIB)

    def dropped_count(self) -> int:
        """Returns how many lines the present log has given up; 0 without one."""
        return 0 if self.present is None else self.present.dropped_count

    async def aclose(self) -> None:
        """Writes what waits, and closes the file."""
        # Off the loop: it waits for the disk to take what is left.
        await asyncio.gather(*self._closing)
        if self.present is not None:
            await asyncio.to_thread(self.present.close)

    def _close_later(self, log: RequestLog) -> None:
        task = asyncio.create_task(asyncio.to_thread(log.close))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def discard(file: RotatingFile | None) -> None:
    """Closes a file that was prepared and is not taken."""
    if file is not None:
        with contextlib.suppress(OSError):
            file.close()
