"""The ring of events: bounded, in order, and honest about what it no longer holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.core.errors import ResumeTooOldError
from turnout_server.core.event_ring import ALL_EVENTS, EVENTS_KEPT, VALUE_CHARACTERS, EventFilter, EventRing
from turnout_server.core.events import Event, EventName
from turnout_server.core.model import Target

STARTED = 1_800_000_000.0


def happened(number: int, *, provider: str = "alpha", name: EventName = EventName.SUSPECT) -> Event:
    return Event(name=name, at=float(number), target=Target(provider, "m"), provider=provider, fields={"n": number})


def filled(count: int) -> EventRing:
    ring = EventRing(STARTED)
    for number in range(count):
        ring.add(happened(number), STARTED + number)
    return ring


@given(st.integers(0, 2 * EVENTS_KEPT), st.integers(1, 7))
def test_whoever_follows_reads_every_event_that_is_held_once_and_in_order(count: int, at_once: int) -> None:
    ring = filled(count)
    sequence, numbers = 0, []
    while told := ring.after(sequence, most=at_once if sequence else 1):
        numbers += [each.event.fields["n"] for each in told]
        sequence = told[-1].sequence

    assert numbers == list(range(max(0, count - EVENTS_KEPT), count))


def test_numbers_grow_by_one_and_stay_exact_as_doubles() -> None:
    ring = filled(3)

    sequences = [told.sequence for told in ring.newest(ALL_EVENTS, most=10)]

    assert sequences == [ring.last_sequence, ring.last_sequence - 1, ring.last_sequence - 2]
    assert int(float(ring.last_sequence)) == ring.last_sequence < 2**53


def test_what_is_not_held_any_more_cannot_be_resumed_from() -> None:
    ring = filled(EVENTS_KEPT + 5)
    oldest = ring.last_sequence - EVENTS_KEPT + 1

    assert ring.after(oldest - 1, most=1)[0].sequence == oldest
    with pytest.raises(ResumeTooOldError):
        ring.after(oldest - 2, most=1)


def test_numbers_of_an_earlier_run_and_of_none_are_refused() -> None:
    before, ring = filled(2000), EventRing(STARTED + 1.0)

    assert before.last_sequence < ring.last_sequence
    assert ring.after(ring.last_sequence, most=1) == ()
    for sequence in (before.last_sequence, ring.last_sequence + 1):
        with pytest.raises(ResumeTooOldError):
            ring.after(sequence, most=1)


def test_filters_by_name_and_by_target_or_provider() -> None:
    ring = EventRing(STARTED)
    ring.add(happened(0), STARTED)
    ring.add(happened(1, provider="beta"), STARTED)
    ring.add(happened(2, provider="beta", name=EventName.BREAKER_OPENED), STARTED)

    def found(wanted: EventFilter) -> list[object]:
        return [told.event.fields["n"] for told in ring.newest(wanted, most=10)]

    assert found(EventFilter(target="beta")) == [2, 1]
    assert found(EventFilter(target="beta/m", names={EventName.SUSPECT})) == [1]
    assert found(EventFilter(target="gamma")) == []


def test_a_long_text_is_cut_so_that_the_ring_stays_small() -> None:
    ring = EventRing(STARTED)
    ring.add(Event(name=EventName.CONFIG_REFUSED, at=0.0, fields={"faults": "x" * 100_000, "fault_count": 7}), STARTED)

    [told] = ring.newest(ALL_EVENTS, most=1)

    assert len(str(told.event.fields["faults"])) == VALUE_CHARACTERS
    assert told.event.fields["fault_count"] == 7
