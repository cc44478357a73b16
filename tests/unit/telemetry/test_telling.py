"""Everybody hears of an event, and nobody of what has the shape of a credential."""

from __future__ import annotations

import orjson
import structlog
from structlog.testing import CapturingLogger

from turnout_server.api.event_feed import event_message
from turnout_server.core.event_ring import ALL_EVENTS, Told
from turnout_server.core.events import Event, EventName
from turnout_server.core.repeats import EVERY_SECONDS
from turnout_server.telemetry.telling import Telling
from turnout_server.telemetry.webhook import payload

SECRET = "sk-proj-abcdefghijklmnop"


def test_an_event_is_told_to_all_and_redacted() -> None:
    written, counted, heard = CapturingLogger(), list[Event](), list[Told]()
    telling = Telling(structlog.wrap_logger(written, processors=[]), counted.append, wall=lambda: 1_800_000_000.0)
    telling.others.append(heard.append)
    refused = Event(name=EventName.CONFIG_REFUSED, at=1.0, fields={"faults": f"x: {SECRET}", "fault_count": 1})
    telling(refused)

    [told] = telling.ring.newest(ALL_EVENTS, most=10)
    assert heard == [told]
    assert told.event.fields == {"faults": "x: [redacted]", "fault_count": 1}
    assert counted == [refused]
    assert [call.kwargs["event"] for call in written.calls] == ["config.refused"]


def test_half_a_character_of_a_files_name_is_told_in_a_way_that_everybody_can_write() -> None:
    heard = list[Told]()
    telling = Telling(structlog.wrap_logger(CapturingLogger(), processors=[]), lambda _: None, wall=lambda: 1.0)
    telling.others.append(heard.append)
    telling(Event(name=EventName.CONFIG_REFUSED, at=1.0, fields={"config": "/etc/caf\udce9.yaml", "faults": "é"}))

    [told] = heard
    assert event_message(told).fields["config"] == r"/etc/caf\udce9.yaml"
    [posted] = orjson.loads(orjson.dumps(payload(heard)))["data"]["events"]
    assert posted["fields"] == {"config": r"/etc/caf\udce9.yaml", "faults": "é"}


def test_hedges_are_counted_one_by_one_and_told_a_few_at_once() -> None:
    counted = list[Event]()
    telling = Telling(structlog.wrap_logger(CapturingLogger(), processors=[]), counted.append, wall=lambda: 1.0)
    for number in range(30):
        telling(Event(name=EventName.HEDGED, at=number / 10, fields={"second": "b/m"}))
    telling.due(EVERY_SECONDS)

    assert [told.event.fields["count"] for told in telling.ring.newest(ALL_EVENTS, most=10)] == [29, 1]
    assert len(counted) == 30
