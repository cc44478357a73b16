"""What counts as a change of files, and when it is told: real files, looked at often."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.reloading.following import LONG_SECONDS
from turnout_server.config.load import look
from turnout_server.reloading.watched_files import AGAIN_LOOKS, WatchedFiles

EVERY = 0.01


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    write(path, "one")
    return path


def write(path: Path, text: str) -> None:
    path.write_text(text)


def rename(path: Path, other: Path) -> None:
    path.replace(other)


def remove(path: Path) -> None:
    path.unlink()


def text_of(path: Path) -> str:
    return path.read_text()


def write_at_the_same_time(path: Path, text: str) -> None:
    status = path.stat()
    path.write_text(text)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def watched(*files: Path, settled_seconds: float = EVERY) -> WatchedFiles:
    paths = [str(file) for file in files]
    return WatchedFiles(look(paths), every_seconds=EVERY, settled_seconds=settled_seconds)


async def changed(files: WatchedFiles, *, again: bool = False) -> bool:
    async with asyncio.timeout(LONG_SECONDS):
        return await files.changed(again=again)


async def test_same_content_is_no_change_whatever_was_done_to_the_file(file: Path) -> None:
    files = watched(file)
    write(file.with_name("new"), "one")
    rename(file.with_name("new"), file)
    os.utime(file, (1, 1))

    # It returns only since it was told to look again in any case.
    assert not await changed(files, again=True)
    assert look([str(file)]) == files.opened


async def test_other_content_of_the_same_size_and_time_is_a_change(file: Path) -> None:
    files = watched(file)
    write_at_the_same_time(file, "two")

    assert not await changed(files)
    assert look([str(file)]) != files.opened


async def test_any_of_several_files_is_enough_and_so_is_one_that_goes(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    files = watched(file, other)
    write(other, "new")

    assert not await changed(files)

    files.opened = look(files.opened)
    remove(file)

    assert not await changed(files)


async def test_file_that_is_written_in_many_steps_is_a_change_when_it_rests(file: Path) -> None:
    files = watched(file, settled_seconds=50 * EVERY)
    found: list[str] = []

    async def follow() -> None:
        while not found or found[-1] != "x" * 19:
            await changed(files)
            files.opened = look(files.opened)
            found.append(text_of(file))

    async with asyncio.TaskGroup() as both:
        both.create_task(follow())
        for step in range(20):
            write(file, "x" * step)
            await asyncio.sleep(EVERY)

    # One would do; a machine that slept between two steps has seen it rest there too.
    assert len(found) < 20


async def test_change_that_is_taken_back_is_none(file: Path) -> None:
    files = watched(file, settled_seconds=20 * EVERY)
    waiting = asyncio.create_task(changed(files, again=True))
    write(file, "two")
    await asyncio.sleep(5 * EVERY)
    write(file, "one")
    await waiting

    assert look([str(file)]) == files.opened


async def test_who_asks_is_answered_at_once_and_once(file: Path) -> None:
    asked = asyncio.Event()
    files = WatchedFiles(look([str(file)]), every_seconds=3600.0, asked=asked)
    for _ in range(3):
        asked.set()

    assert await changed(files)
    assert not asked.is_set()


async def test_nothing_to_watch_waits_to_be_asked() -> None:
    asked = asyncio.Event()
    files = WatchedFiles({}, every_seconds=EVERY, asked=asked)
    waiting = asyncio.create_task(changed(files))
    await asyncio.sleep((AGAIN_LOOKS + 5) * EVERY)

    assert not waiting.done()

    asked.set()

    assert await waiting


async def test_folder_pipe_or_missing_file_is_unreadable_and_waited_for_by_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    paths = [str(tmp_path), str(tmp_path / "pipe"), str(tmp_path / "missing")]

    assert look(paths) == dict.fromkeys(paths, "")
