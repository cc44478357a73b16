"""Keeping a router's state: on a real folder, on disks that fail, over the end of the world at any operation."""

# ruff: noqa: ASYNC240 - files are what is tested here, and nobody else waits for the loop
from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.core.budgets import budget
from tests.unit.execution.scripted import spec
from tests.unit.state.fake_disk import FOLDER, FakeDisk, TheEndError
from tests.unit.test_router_budgets import NEEDED, QUERY, Desk
from turnout_server.core.budget import BudgetScope
from turnout_server.core.call import AttemptRecord
from turnout_server.core.fleet import CredentialSpec
from turnout_server.core.kept import ROWS_MAXIMUM
from turnout_server.core.model import BreakerState, FailureKind, Outcome
from turnout_server.state.disk import Disk
from turnout_server.state.keeper import JOURNAL_LIMIT_BYTES, TURN_SECONDS, Keeper, KeepingError
from turnout_server.state.set_aside import KEPT_MAXIMUM

TENANTS = budget(limit=10**6 * NEEDED, scope=BudgetScope.TENANT)


class Log:
    """Takes note of what was logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda event, **fields: self.lines.append((level, event, fields))

    def events(self, level: str = "warning") -> list[str]:
        return [event for at, event, _ in self.lines if at == level]


class Sidecar:
    """A router that spends and fails, and its keeper; the clocks stand still."""

    def __init__(self, path: str, *, disk: Disk | None = None, key: str | None = None) -> None:
        keyed = spec("a/m", credentials=(CredentialSpec(label="main"),))
        self.desk = Desk(TENANTS, specs=(keyed, spec("b/m", 1)))
        self.log = Log()
        self.keeper = Keeper(
            path,
            self.desk.router.state_transfer.memory(),
            interval_seconds=30.0,
            clock=lambda: self.desk.now,
            wall=lambda: 1_800_000_000.0 + self.desk.now,
            log=self.log,
            secret_of=lambda _provider, _label: key,
            disk=disk,
        )
        self._told = 0

    def spend(self) -> None:
        self.desk.report(self.desk.router.deciding.route(QUERY))

    def fail(self, kind: FailureKind = FailureKind.SERVER_ERROR, count: int = 3) -> None:
        for _ in range(count):
            self.desk.now += 6.0
            router = self.desk.router
            first, call_id = router.configured.fleet.specs[0], f"call {next(self.desk.attempts)}"
            permit = router.attempts.begin(
                first, router.deciding.for_call(QUERY), QUERY, call_id=call_id, lease_seconds=9.0
            )
            assert permit is not None
            attempt_id, label = permit.attempt_id, permit.credential
            outcome = Outcome(target=first.target, failure=kind, attempt_id=attempt_id, credential=label)
            record = AttemptRecord(
                target=first.target, attempt_id=attempt_id, started_at_wall=0.0, credential=label, cost_nano_usd=0
            )
            router.attempts.finish(permit, outcome, record)
            router.attempts.end_call(call_id)
        for event in self.desk.events[self._told :]:
            self.keeper.on_event(event)
        self._told = len(self.desk.events)

    @property
    def spent(self) -> int:
        return self.desk.sums()[0]

    @property
    def breaker(self) -> BreakerState:
        return self.desk.router.state.targets[0].breaker.state(self.desk.now)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "state")


async def ended(sidecar: Sidecar) -> None:
    """Ends a sidecar as kill -9 does: nothing more is written, and its lock is free."""
    if sidecar.keeper._opened is not None:
        sidecar.keeper._opened.lock.release()


# From one life to the next.


async def test_what_was_journaled_and_what_was_in_the_snapshot_comes_back(path: str) -> None:
    first = Sidecar(path)
    first.keeper.start()
    first.spend()
    await first.keeper.snapshot()
    first.spend()
    first.fail()
    await first.keeper.flush()
    await ended(first)
    second = Sidecar(path)
    second.desk.now = first.desk.now
    second.keeper.start()

    assert second.spent == first.spent
    assert second.breaker is BreakerState.OPEN
    assert second.log.events("info") == ["state.resumed"]

    await second.keeper.aclose()

    assert sorted(os.listdir(Path(path).parent)) == ["state", "state.lock"]  # noqa: PTH208 - names are what is compared


async def test_an_end_in_order_keeps_all_without_any_journal(path: str) -> None:
    first = Sidecar(path)
    first.keeper.start()
    first.keeper.begin()
    first.spend()
    await first.keeper.aclose()
    second = Sidecar(path)
    second.keeper.start()

    assert second.spent == first.spent > 0
    assert first.log.events() == second.log.events() == []

    await second.keeper.aclose()


async def test_files_are_their_owners_alone(path: str) -> None:
    sidecar = Sidecar(path)
    before = os.umask(0)
    try:
        sidecar.keeper.start()
        sidecar.spend()
        await sidecar.keeper.snapshot()
    finally:
        os.umask(before)
    folder = Path(path).parent
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()}

    assert modes == {"state": 0o600, "state.lock": 0o600, "state.journal-2": 0o600}

    await sidecar.keeper.aclose()


async def test_key_itself_is_in_no_file(path: str) -> None:
    sidecar = Sidecar(path, key="planted-key-0123456789")
    sidecar.keeper.start()
    sidecar.fail(FailureKind.QUOTA_EXHAUSTED, 1)
    await sidecar.keeper.flush()
    await sidecar.keeper.snapshot()
    written = b"".join(each.read_bytes() for each in Path(path).parent.iterdir())

    assert b'"label":"main"' in written
    assert b"planted" not in written

    await sidecar.keeper.aclose()


@pytest.mark.parametrize(("key", "blocked"), [("one", True), ("another", False), (None, True)])
async def test_what_was_held_against_a_key_is_not_held_against_another_one(
    path: str,
    key: str | None,
    blocked: bool,  # noqa: FBT001
) -> None:
    first = Sidecar(path, key="one")
    first.keeper.start()
    first.fail(FailureKind.QUOTA_EXHAUSTED, 1)
    await first.keeper.aclose()
    second = Sidecar(path, key=key)
    second.desk.now = first.desk.now
    second.keeper.start()

    assert bool(second.desk.router.state.credentials._outages) == blocked

    await second.keeper.aclose()


async def test_nothing_new_writes_nothing(path: str) -> None:
    sidecar = Sidecar(path)
    sidecar.keeper.start()
    before = sidecar.keeper.read().journal_bytes
    await sidecar.keeper.flush()

    assert sidecar.keeper.read().journal_bytes == before == 0

    await sidecar.keeper.aclose()


# What stands in the way.


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\x00" * 100, "is no snapshot of Turnout"),
        (b'{"version": 3}\n', "is no snapshot of Turnout"),
        (b"turnout-snapshot 99 3 abc\n", "is of a newer Turnout: format 99, and this one knows those up to 1"),
        (b"turnout-snapshot 1 3 abc\nxy", "is not whole: it has 2 of 3 bytes"),
    ],
    ids=["empty", "zeros", "foreign", "future", "cut"],
)
async def test_file_that_cannot_be_used_is_set_aside_and_the_start_goes_on(
    path: str, content: bytes, reason: str
) -> None:
    Path(path).write_bytes(content)
    sidecar = Sidecar(path)
    sidecar.keeper.start()
    ((level, event, fields),) = sidecar.log.lines

    assert (level, event, fields["file"], fields["reason"]) == ("warning", "state.set_aside", path, reason)
    assert Path(fields["now"]).read_bytes() == content
    assert fields["now"].startswith(f"{path}.damaged-2027")
    assert await sidecar.keeper.snapshot()

    await sidecar.keeper.aclose()


@pytest.mark.parametrize("what", ["folder", "pipe", "link"])
async def test_whatever_else_is_in_the_files_place_is_set_aside(path: str, what: str) -> None:
    if what == "folder":
        Path(path).mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    else:
        Path(path).symlink_to("/etc/hostname")
    sidecar = Sidecar(path)
    sidecar.keeper.start()
    ((_, event, fields),) = sidecar.log.lines

    assert event == "state.set_aside"
    assert fields["reason"].startswith("cannot be read: ")
    assert await sidecar.keeper.snapshot()
    assert Path(path).is_file()

    await sidecar.keeper.aclose()


async def test_few_files_set_aside_are_kept(path: str) -> None:
    for round_ in range(KEPT_MAXIMUM + 3):
        Path(path).write_bytes(b"damaged %d" % round_)
        sidecar = Sidecar(path)
        sidecar.desk.now += round_ // 2
        sidecar.keeper.start()
        await ended(sidecar)
    kept = sorted(each.read_bytes() for each in Path(path).parent.glob("*.damaged-*"))

    assert kept == [b"damaged %d" % round_ for round_ in (3, 4, 5)]


async def test_few_journals_set_aside_are_kept_whatever_their_numbers(path: str) -> None:
    # As a loss of power leaves them, each time that of another number.
    for round_ in range(KEPT_MAXIMUM + 3):
        Path(f"{path}.journal-{8 + round_}").write_bytes(b"damaged %d" % round_)
        sidecar = Sidecar(path)
        sidecar.desk.now += round_ // 2
        sidecar.keeper.start()
        await ended(sidecar)
    kept = sorted(each.read_bytes() for each in Path(path).parent.glob("*.damaged-*"))

    assert kept == [b"damaged %d" % round_ for round_ in (3, 4, 5)]


async def test_second_process_on_one_file_is_told_whose_it_is(path: str) -> None:
    first = Sidecar(path)
    first.keeper.start()
    with pytest.raises(KeepingError, match=f"is in use by process {os.getpid()}: each sidecar needs a file of its own"):
        Sidecar(path).keeper.start()
    await first.keeper.aclose()
    second = Sidecar(path)
    second.keeper.start()
    await second.keeper.aclose()


def test_lock_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from turnout_server.state.lock import FileLock; "
        "FileLock(sys.argv[1]).take(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    lock = str(tmp_path / "lock")
    killed = subprocess.run([sys.executable, "-c", code, lock], check=False)  # noqa: S603 - our own code

    from turnout_server.state.lock import FileLock  # noqa: PLC0415 - beside its use

    assert killed.returncode == -9
    FileLock(lock).take()


def test_folder_that_is_missing_is_told_at_the_start() -> None:
    with pytest.raises(KeepingError, match=r"/nonexistent/state\.lock cannot be locked: No such file or directory"):
        Sidecar("/nonexistent/state").keeper.start()


def test_disk_that_is_full_at_the_start_is_told(path: str) -> None:
    disk = FakeDisk()
    disk.full = True
    with pytest.raises(
        KeepingError, match="cannot be used: No space left on device; give the sidecar's user the right"
    ):
        Sidecar(path, disk=disk).keeper.start()


async def test_disk_that_is_full_meanwhile_is_told_once_and_what_was_settled_is_written_later(path: str) -> None:
    disk = FakeDisk()
    sidecar = Sidecar(path, disk=disk)
    sidecar.keeper.start()
    disk.full = True
    for _ in range(3):
        sidecar.spend()
        await sidecar.keeper.flush()

        assert not await sidecar.keeper.snapshot()

    assert sidecar.log.events() == ["state.not_kept", "state.not_kept"]
    assert sidecar.keeper.read().failures >= 6

    disk.full = False
    await sidecar.keeper.flush()

    assert sidecar.log.events("info") == ["state.kept_again"]

    await ended(sidecar)
    second = Sidecar(path, disk=disk.after_kill())
    second.keeper.start()

    assert second.spent == sidecar.spent
    assert len([name for name in disk.files if ".journal-" in name]) <= 2

    await second.keeper.aclose()


async def test_fault_of_our_own_in_one_of_them_is_logged_and_the_other_goes_on(path: str) -> None:
    sidecar = Sidecar(path)
    sidecar.keeper.start()

    def broken(now: float) -> Any:
        raise RuntimeError(now)

    sidecar.keeper._memory = SimpleNamespace(kept=broken)  # type: ignore[assignment]  # what fails is all it needs
    sidecar.keeper.begin()
    await until(lambda: sidecar.log.events("exception") == ["state.keeping_failed"])
    sidecar.spend()
    await until(lambda: sidecar.keeper.read().journal_bytes > 0)
    await sidecar.keeper.aclose()
    second = Sidecar(path)
    second.keeper.start()

    assert second.spent == sidecar.spent

    await second.keeper.aclose()


async def test_journal_without_a_snapshot_does_not_grow_forever(path: str) -> None:
    sidecar = Sidecar(path, disk=FakeDisk())
    sidecar.keeper.start()
    sidecar.keeper._store.journal_bytes = JOURNAL_LIMIT_BYTES + 1
    sidecar.spend()
    await sidecar.keeper.flush()
    (fault,) = (fields["fault"] for _, _, fields in sidecar.log.lines)

    assert fault == "the journal is full, and no snapshot could be written that would empty it"

    await sidecar.keeper.aclose()


async def test_large_journal_asks_for_a_snapshot_before_its_time(path: str) -> None:
    sidecar = Sidecar(path, disk=FakeDisk())
    sidecar.keeper.start()
    sidecar.keeper.begin()
    await until(lambda: sidecar.keeper.read().age_seconds is not None)
    sidecar.keeper._store.journal_bytes = JOURNAL_LIMIT_BYTES
    sidecar.desk.now += 6.0
    await until(lambda: sidecar.keeper.read().age_seconds == 0.0)

    assert sidecar.keeper.read().journal_bytes == 0

    await sidecar.keeper.aclose()


async def until(holds: Any) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - what it waits for is in a file
            await asyncio.sleep(0.01)


async def test_others_have_their_turn_while_a_snapshot_is_taken(path: str) -> None:
    sidecar = Sidecar(path, disk=FakeDisk())
    sidecar.keeper.start()
    for place in range(3 * ROWS_MAXIMUM):
        sidecar.desk.router.state.lengths.observe(f"task {place}", "a", "m", 100)
    time = itertools.count(step=TURN_SECONDS)
    # Each look at the clock finds a turn's time passed.
    sidecar.keeper._clock = lambda: next(time)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.create_task(others())
    before = sum(1 for _ in sidecar.desk.router.state_transfer.memory().kept(sidecar.desk.now, 0.0))
    await sidecar.keeper.snapshot()
    task.cancel()

    assert before > 10
    assert turns >= before

    await sidecar.keeper.aclose()


# The end of the world.


async def life(sidecar: Sidecar, written: list[int]) -> None:
    """Spends, journals and snapshots; `written` is what must be known after each step."""
    sidecar.keeper.start()
    for _ in range(2):
        sidecar.spend()
        await sidecar.keeper.flush()
        written.append(sidecar.spent)
        sidecar.spend()
        await sidecar.keeper.snapshot()
        written.append(sidecar.spent)
    await sidecar.keeper.aclose()


async def test_whatever_operation_it_dies_at_no_settlement_is_lost_or_counted_twice(path: str) -> None:
    whole = FakeDisk()
    await life(Sidecar(path, disk=whole), [])
    for operations in range(whole.count):
        disk = FakeDisk(operations)
        first, written = Sidecar(path, disk=disk), [0]
        with contextlib.suppress(TheEndError):
            await life(first, written)
        await ended(first)
        second = Sidecar(path, disk=disk.after_kill())
        second.keeper.start()
        await ended(second)

        assert written[-1] <= second.spent <= first.spent, operations
        assert second.log.events() == [], operations


def test_fake_disk_is_a_disk() -> None:
    disk: Disk = FakeDisk()

    assert disk.names(FOLDER) == []
