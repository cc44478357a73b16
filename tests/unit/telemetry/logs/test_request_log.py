"""Lines are written beside the calls: none is waited for, none is lost unnoticed, and a full disk fails nobody."""

from __future__ import annotations

import json
import threading
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from turnout_server.core.chat import ChatInput
from turnout_server.telemetry.logs.request_lines import RequestRecord
from turnout_server.telemetry.logs.request_log import QUEUE_BYTES, QUEUE_LINES, RequestLog
from turnout_server.telemetry.logs.rotating_file import RotatingFile, Written
from turnout_server.telemetry.metrics.metrics import Metrics


class Disk(RotatingFile):
    """A file in memory that can be slow and full; `room` is how many lines it takes at once, None for all."""

    def __init__(self) -> None:
        super().__init__("", 0)
        self.lines: list[dict[str, Any]] = []
        self.room: int | None = None
        self.free = threading.Event()
        self.free.set()
        self.asked = threading.Event()
        self.done = threading.Event()
        self.closed = False

    def write(self, lines: Sequence[bytes]) -> Written:
        self.asked.set()
        self.free.wait()
        taken = lines if self.room is None else lines[: self.room]
        self.lines += [json.loads(line) for line in taken]
        self.done.set()
        return Written(len(taken), "" if len(taken) == len(lines) else "No space left on device")

    def close(self) -> None:
        self.closed = True


def record(request_id: str = "", chat: ChatInput | None = None, **facts: Any) -> RequestRecord:
    usual: dict[str, Any] = {"method": "Execute", "began_at_wall": 0.0, "latency_seconds": 1.0, "result": "OK"}
    return RequestRecord(**{**usual, **facts}, decision_id=request_id, chat=chat)


class Log:
    """A request log with a disk, a clock that a test sets, and what is logged of it."""

    def __init__(self, *, content: bool = False) -> None:
        self.disk = Disk()
        self.now = 0.0
        self.told: list[dict[str, Any]] = []

        def tell(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
            self.told.append(dict(event))
            raise structlog.DropEvent

        self.log = RequestLog(
            self.disk,
            content=content,
            log=structlog.wrap_logger(None, processors=[tell]),
            clock=lambda: self.now,
            wall=lambda: 0.0,
            gather_seconds=0.0,
        )
        self.log.start()

    def ids(self) -> list[str]:
        return [line["decision_id"] for line in self.disk.lines if "decision_id" in line]

    def held(self) -> None:
        """Has the disk take nothing for now; returns when the writer is waiting for it."""
        self.disk.free.clear()
        self.disk.asked.clear()
        self.log.add(record("first"))
        assert self.disk.asked.wait(60)

    def wrote(self, record: RequestRecord) -> None:
        """Adds a record and returns when the disk has taken it, or has not."""
        self.disk.done.clear()
        self.log.add(record)
        assert self.disk.done.wait(60)


def test_every_line_is_written_in_order_before_the_end() -> None:
    log = Log()
    for number in range(500):
        log.log.add(record(str(number)))
    log.log.close()

    assert log.ids() == [str(number) for number in range(500)]
    assert (log.log.written_count, log.log.dropped_count) == (500, 0)
    assert log.disk.closed
    assert log.told == []


def test_what_a_slow_disk_cannot_keep_up_with_is_dropped_counted_and_told_where_it_is_missing() -> None:
    log = Log()
    log.held()
    for number in range(QUEUE_LINES + 7):
        log.log.add(record(str(number)))
    log.disk.free.set()
    log.log.close()

    assert log.log.dropped_count == 7
    assert log.log.written_count == QUEUE_LINES + 1
    assert log.disk.lines[-1] == {"time": "1970-01-01T00:00:00.000+00:00", "dropped_lines": 7}
    assert log.ids() == ["first", *(str(number) for number in range(QUEUE_LINES))]
    assert [(event["event"], event["reason"], event["dropped_count"]) for event in log.told] == [
        ("request_log.dropped", "more calls at once than the disk took", 7)
    ]


def test_content_beyond_the_bound_is_left_out_and_its_line_is_kept() -> None:
    log = Log(content=True)
    chat = ChatInput(messages=(), temperature=0.5)
    log.held()
    for name, size in (("large", QUEUE_BYTES - 20_000), ("fits", 5_000), ("beyond", 5_000)):
        log.log.add(record(name, chat), size)
    log.disk.free.set()
    log.log.close()
    _, *lines = log.disk.lines

    assert [(line["decision_id"], "input" in line, line.get("content_dropped")) for line in lines] == [
        ("large", True, None),
        ("fits", True, None),
        ("beyond", False, True),
    ]


def test_a_full_disk_is_told_once_a_minute_and_what_is_missing_in_the_file() -> None:
    log = Log()
    log.disk.room = 0
    for number in range(3):
        log.wrote(record(str(number)))
    log.now = 61.0
    log.wrote(record("3"))
    log.disk.room = None
    log.wrote(record("4"))
    log.log.close()

    assert [event["event"] for event in log.told] == ["request_log.dropped"] * 2
    assert log.told[0]["reason"] == "No space left on device"
    assert log.log.dropped_count == 4
    assert [line.get("dropped_lines", line.get("decision_id")) for line in log.disk.lines] == [4, "4"]


def test_lines_that_a_disk_took_before_it_was_full_count_as_written() -> None:
    log = Log()
    log.held()
    for number in range(5):
        log.log.add(record(str(number)))
    log.disk.asked.clear()
    log.disk.room = 2
    log.disk.free.set()
    log.log.close()

    assert log.ids() == ["first", "0", "1"]
    assert (log.log.written_count, log.log.dropped_count) == (3, 3)


def test_a_line_that_cannot_be_made_ends_nothing() -> None:
    log = Log()
    log.log.add(record("good"))
    log.log.add(record("bad", began_at_wall=1e300))
    log.log.add(record("better"))
    log.log.close()

    assert log.ids() == ["good", "better"]
    assert log.log.dropped_count == 1
    assert log.told[0]["event"] == "request_log.bug"


def test_metrics_count_lines() -> None:
    log = Log()
    log.disk.room = 0
    log.wrote(record())
    log.disk.room = None
    log.wrote(record())
    log.log.close()
    metrics = Metrics()
    metrics.watch_request_log(lambda: log.log)
    page = metrics.render("")[0].decode()

    assert 'turnout_request_log_lines_total{result="written"} 1.0' in page
    assert 'turnout_request_log_lines_total{result="dropped"} 1.0' in page


def test_a_real_file_holds_what_was_added(tmp_path: Path) -> None:
    file = RotatingFile(str(tmp_path / "requests.jsonl"), 1_000_000)
    file.open()
    log = RequestLog(
        file, content=False, log=structlog.get_logger(), clock=lambda: 0.0, wall=lambda: 0.0, gather_seconds=0.0
    )
    log.start()
    for number in range(100):
        log.add(record(str(number)))
    log.close()
    lines = (tmp_path / "requests.jsonl").read_text().splitlines()

    assert [json.loads(line)["decision_id"] for line in lines] == [str(number) for number in range(100)]
