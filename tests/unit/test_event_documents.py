"""What the document on events says of each of them is so."""

from __future__ import annotations

import re
from pathlib import Path

from turnout_server.core.events import EventName
from turnout_server.telemetry.logs.event_log import GRAVE
from turnout_server.telemetry.webhook import ALARMS

DOCUMENT = Path(__file__).parents[2] / "docs" / "events.md"


def test_every_event_has_a_row_that_says_whether_it_is_an_alarm_and_a_warning() -> None:
    section = DOCUMENT.read_text().partition("## Names")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| `")]
    told = {name: last.strip() for first, *_, last in rows for name in re.findall(r"`([^`]+)`", first)}

    assert sorted(told) == sorted(name.value for name in EventName)
    assert {name for name, last in told.items() if "alarm" in last} == {name.value for name in ALARMS}
    assert {name for name, last in told.items() if "warning" in last} == {name.value for name in GRAVE}
