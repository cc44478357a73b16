"""The files of the state over every end that a process can come to: nothing written is lost, nothing counts twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.state.fake_disk import FOLDER, FakeDisk, TheEndError
from turnout_server.core.keeping import spent
from turnout_server.core.kept import BudgetLine, KeptBudget, Line, SpentLine
from turnout_server.state.files import journal_heading
from turnout_server.state.lines import Entry, encode
from turnout_server.state.store import Store

PATH = f"{FOLDER}/state"
WALL = 1_800_000_000.0
MONTHLY = KeptBudget("monthly", "user", "month", "UTC", WALL, WALL + 1000.0)
NEXT = KeptBudget("monthly", "user", "month", "UTC", WALL + 1000.0, WALL + 2000.0)
KIND = ("monthly", "user", "month")


class Life:
    """A process that spends: what it meant to write, what was written, and what was synced as well."""

    def __init__(self, disk: FakeDisk) -> None:
        self.disk = disk
        self.store = Store(PATH, disk)
        self.loaded = self.store.load(WALL)
        self.meant = sums(disk)
        self.written = dict(self.meant)
        self.synced = dict(self.meant)
        self._number = max((entry.number for entry in self.loaded.entries), default=0)

    def begin(self) -> None:
        self.store.begin_journal()

    def spend(self, key: str, nano_usd: int) -> None:
        self.meant[key] = self.meant.get(key, 0) + nano_usd
        self.store.append([self._entry(SpentLine(MONTHLY, key, self.meant[key]))])
        self.written[key] = self.meant[key]

    def sync(self) -> None:
        self.store.sync()
        self.synced = dict(self.written)

    def snapshot(self) -> None:
        self.store.begin_journal()
        # Nobody syncs the one before any more.
        self.synced = dict(self.written)
        line = BudgetLine(MONTHLY, WALL, tuple((key, each, ()) for key, each in self.meant.items()))
        entry = self._entry(line)
        self.spend("ann", 3)
        self.store.write_snapshot([encode(entry)])
        self.synced = self.synced | {row[0]: row[1] for row in line.accounts}

    def live(self) -> None:
        self.begin()
        self.spend("ann", 5)
        self.spend("bob", 7)
        self.snapshot()
        self.spend("bob", 11)
        self.sync()
        self.spend("eve", 13)
        self.snapshot()
        self.spend("eve", 17)
        self.store.close()

    def _entry(self, line: BudgetLine | SpentLine) -> Entry:
        self._number += 1
        return Entry(self._number, WALL, line)


def sums(disk: FakeDisk) -> dict[str, int]:
    loaded = Store(PATH, disk).load(WALL)

    assert loaded.set_aside == []

    found = spent(entry.line for entry in loaded.entries).get(KIND)
    return {} if found is None else {key: each.spent for key, each in found.accounts.items()}


def lives() -> Iterator[Life]:
    """Yields a life for each operation that may be the last one, as it stood when it ended."""
    whole = Life(FakeDisk())
    whole.live()
    for operations in range(whole.disk.count):
        life = Life(FakeDisk(operations))
        with pytest.raises(TheEndError):
            life.live()
        yield life


def at_least(found: dict[str, int], expected: dict[str, int]) -> bool:
    return all(found.get(key, 0) >= each for key, each in expected.items())


def test_life_without_an_accident_keeps_exactly_what_was_spent() -> None:
    life = Life(FakeDisk())
    life.live()

    assert sums(life.disk.after_kill()) == life.meant == {"ann": 11, "bob": 18, "eve": 30}


def test_whatever_operation_a_process_dies_at_all_that_was_written_counts_once() -> None:
    for life in lives():
        found = sums(life.disk.after_kill())

        assert at_least(found, life.written), life.disk.operations
        assert at_least(life.meant, found), life.disk.operations


@pytest.mark.parametrize("names", ["synced", "last", "removed"])
def test_whatever_operation_the_power_fails_at_all_that_was_synced_counts_once(names: str) -> None:
    for life in lives():
        found = sums(life.disk.after_power_loss(names))

        assert at_least(found, life.synced), life.disk.operations
        assert at_least(life.meant, found), life.disk.operations


def test_process_that_dies_again_while_it_recovers_loses_nothing_either() -> None:
    for first in lives():
        before = sums(first.disk.after_kill())
        for operations in range(0, 24, 3):
            disk = first.disk.after_kill(operations)
            written, meant = before, before
            try:
                second = Life(disk)
                written, meant = second.written, second.meant
                second.live()
            except TheEndError:
                found = sums(disk.after_kill())

                assert at_least(found, written), (first.disk.operations, operations)
                assert at_least(meant, found), (first.disk.operations, operations)


def test_one_journal_is_left_after_a_snapshot_and_an_empty_one_is_removed_at_the_end() -> None:
    life = Life(FakeDisk())
    life.begin()
    life.snapshot()

    assert sorted(life.disk.files) == [PATH, f"{PATH}.journal-2"]

    life.store.begin_journal()
    life.store.write_snapshot([])
    life.store.close()

    assert sorted(life.disk.files) == [PATH]


def test_process_that_dies_at_every_start_leaves_no_heap_of_journals() -> None:
    disk = FakeDisk()
    for _ in range(20):
        store = Store(PATH, disk)
        store.load(WALL)
        store.begin_journal()

    assert sorted(disk.files) == [f"{PATH}.journal-{20}"]


def test_line_that_a_full_disk_cut_is_left_out_and_the_next_one_is_whole() -> None:
    life = Life(FakeDisk())
    life.begin()
    life.spend("ann", 5)
    life.disk.full = True
    with pytest.raises(OSError, match="No space left"):
        life.spend("ann", 1)
    life.disk.full = False
    life.spend("bob", 7)
    loaded = Store(PATH, life.disk.after_kill()).load(WALL)

    assert sums(life.disk.after_kill()) == {"ann": 5, "bob": 7}
    assert loaded.unread == 1


def test_snapshot_that_cannot_be_written_leaves_the_one_before() -> None:
    life = Life(FakeDisk())
    life.begin()
    life.spend("ann", 5)
    life.snapshot()
    life.disk.full = True
    with pytest.raises(OSError, match="No space left"):
        life.store.write_snapshot([b"x" * 100])

    # It would take the room that the journal needs.
    assert f"{PATH}.new" not in life.disk.files
    assert sums(life.disk.after_kill()) == {"ann": 8}


def test_snapshot_that_is_damaged_is_set_aside_and_the_journal_still_counts() -> None:
    life = Life(FakeDisk())
    life.begin()
    life.spend("ann", 5)
    life.snapshot()
    life.spend("bob", 7)
    disk = life.disk.after_kill()
    disk.files[PATH].data[-3] ^= 1
    loaded = Store(PATH, disk).load(WALL)
    found = spent(entry.line for entry in loaded.entries)[KIND]

    assert [(each.path, each.reason) for each in loaded.set_aside] == [
        (PATH, "is damaged: its checksum does not agree")
    ]
    assert f"{PATH}.damaged-20270115T080000Z" in disk.files
    assert {key: each.spent for key, each in found.accounts.items()} == {"ann": 8, "bob": 7}


def test_journal_that_is_none_is_set_aside_and_the_rest_counts() -> None:
    life = Life(FakeDisk())
    life.begin()
    life.spend("ann", 5)
    disk = life.disk.after_kill()
    Store(PATH, disk)
    disk.files[f"{PATH}.journal-0"] = type(disk.files[f"{PATH}.journal-1"])(bytearray(b"something else"))
    loaded = Store(PATH, disk).load(WALL)

    assert [each.reason for each in loaded.set_aside] == ["is no journal of Turnout"]
    assert [entry.line for entry in loaded.entries] == [SpentLine(MONTHLY, "ann", 5)]


def test_what_comes_later_is_of_another_period_and_takes_its_place() -> None:
    lines: list[Line] = [
        BudgetLine(MONTHLY, WALL, (("ann", 90, (0.5,)), ("bob", 4, ()))),
        SpentLine(NEXT, "ann", 2),
        SpentLine(NEXT, None, 9),
    ]
    found = spent(lines)[KIND]

    assert {key: each.spent for key, each in found.accounts.items()} == {"ann": 2}
    assert found.other is not None
    assert (found.budget, found.other.spent) == (NEXT, 9)


def test_what_was_journaled_before_a_line_of_the_snapshot_comes_before_it() -> None:
    disk = FakeDisk()
    store = Store(PATH, disk)
    store.load(WALL)
    store.begin_journal()
    store.append([Entry(1, WALL, SpentLine(MONTHLY, "ann", 9))])
    # The next period began between the two.
    store.write_snapshot([encode(Entry(2, WALL, BudgetLine(NEXT, WALL, (("bob", 4, ()),))))])
    store.append([Entry(3, WALL, SpentLine(NEXT, "eve", 5))])

    assert sums(disk.after_kill()) == {"bob": 4, "eve": 5}


def test_sum_that_was_noted_before_the_snapshot_lowers_nothing() -> None:
    lines: list[Line] = [BudgetLine(MONTHLY, WALL, (("ann", 90, (0.5,)),)), SpentLine(MONTHLY, "ann", 80)]

    assert spent(lines)[KIND].accounts["ann"].spent == 90


def test_new_journal_has_its_heading_only() -> None:
    disk = FakeDisk()
    Store(PATH, disk).begin_journal()

    assert bytes(disk.files[f"{PATH}.journal-1"].data) == journal_heading()
