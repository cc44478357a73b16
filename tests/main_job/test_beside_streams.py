"""Plans and status beside many streams: asked of a sidecar process, next to two hundred of them."""

import asyncio

import pytest

from bench.beside_streams import STREAM_COUNT, measure


@pytest.mark.full
@pytest.mark.timeout(240)
def test_plans_and_status_are_answered_while_two_hundred_streams_run() -> None:
    """How long they take is told by `python -m bench.beside_streams`; here no answer is missing."""
    result = asyncio.run(measure(seconds=8.0))

    # They really ran: half of the 20 events a second of each, on a machine that may have other work.
    assert result.events_per_second >= STREAM_COUNT * 10
    # One that failed would have ended the measurement.
    assert (result.route.loaded.count, result.status.loaded.count) == (800, 800)
