"""What goes wrong for as long as a collector is away is told once a minute."""

from __future__ import annotations

import logging

from turnout_server.telemetry.seldom import SAYINGS_MAXIMUM, SDK_EXPORTERS, Seldom, SeldomRepeated, quieten_exporters


def test_the_same_is_said_once_a_minute() -> None:
    now = [0.0]
    seldom = Seldom(lambda: now[0])
    said = [seldom.may_say("away"), seldom.may_say("away"), seldom.may_say("full")]
    now[0] = 59.9
    said.append(seldom.may_say("away"))
    now[0] = 60.0
    said.append(seldom.may_say("away"))

    assert said == [True, False, True, False, True]


def test_what_was_said_is_remembered_within_a_bound() -> None:
    seldom = Seldom(lambda: 0.0)
    for number in range(SAYINGS_MAXIMUM * 3 + 1):
        assert seldom.may_say(str(number))

    assert len(seldom._said_at) <= SAYINGS_MAXIMUM
    assert not seldom.may_say(str(SAYINGS_MAXIMUM * 3))


def test_lines_are_the_same_that_differ_in_what_is_filled_in() -> None:
    now = [0.0]
    seldom = SeldomRepeated(lambda: now[0])

    def said(text: str, *values: object) -> bool:
        return seldom.filter(logging.LogRecord("exporter", logging.ERROR, "", 0, text, values, None))

    heard = [said("failed to export %s", 1), said("failed to export %s", 2), said("something else")]
    now[0] = 60.0

    assert heard == [True, False, True]
    assert said("failed to export %s", 3)


def test_a_logger_is_quietened_once_however_many_signals_there_are() -> None:
    quieten_exporters()
    quieten_exporters()

    for name in SDK_EXPORTERS:
        assert sum(isinstance(each, SeldomRepeated) for each in logging.getLogger(name).filters) == 1
