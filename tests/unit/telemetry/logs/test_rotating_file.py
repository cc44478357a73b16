"""A file of lines: bounded, private, whole lines only, and never in anybody's way."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from turnout_server.telemetry.logs.rotating_file import (
    RotatingFile,
    RotatingFileError,
    Written,
    file_fault,
    free_bytes,
)

LINE = b"x" * 99 + b"\n"


def opened(path: Path, max_bytes: int = 2_000) -> RotatingFile:
    file = RotatingFile(str(path), max_bytes)
    file.open()
    return file


@contextmanager
def full_at(size: int) -> Iterator[None]:
    """No file of this process grows beyond a size: as on a full disk, a write takes a part and then fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_both_files_together_stay_within_the_bound_and_hold_the_newest_lines(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    file = opened(path)
    for number in range(100):
        assert file.write([b"%03d" % number + LINE[3:]]) == Written(1)
        assert sum(each.stat().st_size for each in tmp_path.iterdir()) <= 2_000
    file.close()
    lines = (tmp_path / "lines.1").read_bytes() + path.read_bytes()

    assert sorted(each.name for each in tmp_path.iterdir()) == ["lines", "lines.1"]
    assert [int(line[:3]) for line in lines.splitlines()] == list(range(80, 100))


def test_one_large_batch_stays_within_the_bound(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    file = opened(path)

    assert file.write([LINE] * 57) == Written(57)
    assert path.stat().st_size == 700
    assert (tmp_path / "lines.1").stat().st_size == 1_000


def test_only_its_owner_can_read_either_file(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(LINE)
    path.chmod(0o644)
    before = os.umask(0)
    try:
        file = opened(path)
        file.write([LINE] * 15)
    finally:
        os.umask(before)

    assert [stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()] == [0o600, 0o600]


def test_it_goes_on_where_an_earlier_process_ended(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    for _ in range(3):
        file = opened(path)
        file.write([LINE])
        file.close()

    assert path.read_bytes() == LINE * 3


def test_half_a_line_that_a_process_left_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(LINE + b"half")
    opened(path).write([LINE])

    assert path.read_bytes() == LINE + b"half\n" + LINE


def test_files_written_under_a_larger_bound_are_not_kept_beyond_it(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(LINE * 30)
    (tmp_path / "lines.1").write_bytes(LINE * 30)
    opened(path).write([LINE])

    assert path.read_bytes() == LINE
    assert not (tmp_path / "lines.1").exists()


def test_a_full_disk_leaves_whole_lines_and_is_told(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    file = opened(path, 10_000)
    file.write([LINE])
    with full_at(250):
        written = file.write([LINE, LINE])
    again = file.write([LINE])

    assert written.line_count == 0
    assert "large" in written.fault
    assert again == Written(1)
    assert path.read_bytes() == LINE * 2


def test_what_was_written_before_the_disk_was_full_counts(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    file = opened(path, 400)
    with full_at(150):
        # Two lines a file: the first two do not fit into what the disk takes, the one before them did.
        first, second = file.write([LINE]), file.write([LINE, LINE])

    assert (first.line_count, second.line_count) == (1, 0)
    assert path.read_bytes() == LINE


def test_a_file_that_was_moved_or_deleted_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    file = opened(path)
    file.write([LINE])
    path.rename(tmp_path / "moved")
    file.write([LINE])
    path.unlink()
    file.write([LINE])

    assert path.read_bytes() == (tmp_path / "moved").read_bytes() == LINE


def test_a_folder_that_went_away_is_told_until_it_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    file = opened(folder / "lines")
    (folder / "lines").unlink()
    folder.rmdir()
    gone = [file.write([LINE]) for _ in range(2)]
    folder.mkdir()
    back = file.write([LINE])

    assert [(each.line_count, "No such file" in each.fault) for each in gone] == [(0, True)] * 2
    assert back == Written(1)


def test_two_processes_never_write_one_file(tmp_path: Path) -> None:
    file = opened(tmp_path / "lines")
    with pytest.raises(RotatingFileError, match="another process"):
        opened(tmp_path / "lines")
    file.close()

    opened(tmp_path / "lines").close()


def test_what_is_no_regular_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "target").write_bytes(LINE)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for name in ("pipe", "folder", "link"):
        with pytest.raises(RotatingFileError, match="not a regular file"):
            opened(tmp_path / name)

    assert (tmp_path / "target").read_bytes() == LINE


def test_a_fault_is_found_without_creating_anything(tmp_path: Path) -> None:
    good = file_fault(str(tmp_path / "lines"))
    missing = file_fault(str(tmp_path / "none" / "lines"))

    assert good == ""
    assert missing == f"folder {tmp_path / 'none'} does not exist; create it"
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_fault_before_anything_is_begun(tmp_path: Path) -> None:
    path = str(tmp_path / "lines")

    assert file_fault(path, lambda _: 1_000) == f"the disk of {tmp_path} has 1000 bytes left; make room"
    assert file_fault(path, lambda _: 10_000_000) == ""
    assert free_bytes(tmp_path) > 0
