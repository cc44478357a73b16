"""Plans and status beside many streams: asked of a sidecar process, next to two hundred of them."""

import asyncio

import pytest

from bench.beside_streams import STREAM_COUNT, measure

SECONDS = 8.0


@pytest.mark.full
@pytest.mark.timeout(600)
def test_plans_and_status_are_answered_while_two_hundred_streams_run() -> None:
    """How long they take is told by `python -m bench.beside_streams`; here no answer is missing."""
    result = asyncio.run(measure(seconds=SECONDS))

    # They really ran: how fast, is the machine's business.
    assert result.events_per_second * 2 * SECONDS >= STREAM_COUNT
    # One that failed would have ended the measurement.
    assert (result.route.loaded.count, result.status.loaded.count) == (800, 800)
