"""Whoever is measured: before the faulty provider, with the good one as the fallback."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from bench.failover.judging import Told
from bench.failover.processes import Providers
from bench.failover.rows import Row


class Running(Protocol):
    """A contender whose process runs."""

    async def ask(self, row: Row) -> Told:
        """Makes the call of a row, to its end or to the caller's."""
        ...

    async def ask_well(self) -> Told:
        """Makes a call that meets no fault."""
        ...

    @property
    def pid(self) -> int:
        """Its process."""
        ...


class Contender(Protocol):
    """One that can be started."""

    @property
    def name(self) -> str:
        """What the tables call it, with its version."""
        ...

    @property
    def case(self) -> str:
        """A word under which the provider counts its requests."""
        ...

    def plays(self, row: Row) -> bool:
        """Whether a row says anything of it."""
        ...

    def configuration(self, providers: Providers, rows: Sequence[Row]) -> object:
        """Returns what it is configured with, as far as it does not come with each request."""
        ...

    def running(self, providers: Providers, rows: Sequence[Row]) -> AbstractAsyncContextManager[Running]:
        """Starts it, configured for these rows, and ends it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one contender made of one row; `attempts` at the faulty provider, None where none can come."""

    contender: str
    row: str
    verdict: str
    seconds: float
    attempts: int | None
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class After:
    """How a contender was when all was over: what it made of a call without fault, and its memory."""

    contender: str
    verdict: str
    seconds: float
    peak_mib: float
