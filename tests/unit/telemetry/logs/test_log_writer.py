"""Whoever logs never waits for whoever reads: real pipes, with readers that stop, go on and go away."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from turnout_server.telemetry.logs.log_writer import LogWriter

LONG_SECONDS = 60.0
PIPE_BYTES = 64 * 1024
LINE = "x" * 1023 + "\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def read(end: int, size: int) -> str:
    data = b""
    while len(data) < size:
        data += os.read(end, size - len(data))
    return data.decode()


def test_lines_come_out_whole_and_in_order(pipe: tuple[int, int]) -> None:
    writer = LogWriter(pipe[1])
    lines = [f"line {number}: ü\n" for number in range(500)]
    for line in lines:
        writer.write(line)

    assert writer.drain(LONG_SECONDS)
    assert read(pipe[0], len("".join(lines).encode())) == "".join(lines)
    assert writer.dropped_count == 0


def test_a_reader_that_has_stopped_holds_nobody_up_and_what_finds_no_room_is_counted(pipe: tuple[int, int]) -> None:
    writer = LogWriter(pipe[1], held_bytes_maximum=100 * 1024)
    for _ in range(1000):
        writer.write(LINE)

    # Those in the pipe and the hundred that may wait; the rest is gone.
    assert 1000 - 100 - PIPE_BYTES // 1024 <= writer.dropped_count <= 900
    assert writer.newly_dropped() == 0, "there is no room to tell of them"
    assert not writer.drain(0.0)

    dropped = writer.dropped_count
    read(pipe[0], (1000 - dropped) * 1024)

    assert writer.drain(LONG_SECONDS)
    assert (writer.newly_dropped(), writer.newly_dropped()) == (dropped, 0)
    writer.write("after\n")
    assert read(pipe[0], 6) == "after\n"


def test_a_reader_that_has_gone_costs_lines_and_nothing_else(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    writer = LogWriter(pipe[1])
    for _ in range(3):
        writer.write(LINE)

    assert writer.drain(LONG_SECONDS)
    assert writer.dropped_count == 3


def test_an_end_that_was_made_not_to_wait_is_waited_for(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    writer = LogWriter(pipe[1])
    for _ in range(200):
        writer.write(LINE)
    text = read(pipe[0], 200 * 1024)

    assert text == LINE * 200
    assert writer.drain(LONG_SECONDS)
    assert writer.dropped_count == 0


def test_half_a_character_is_written_as_what_it_is(pipe: tuple[int, int]) -> None:
    writer = LogWriter(pipe[1])
    writer.write("\udc80\n")

    assert read(pipe[0], 7) == "\\udc80\n"
