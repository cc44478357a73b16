"""Plans and status stay fast while many streams run: asked of a sidecar process beside two hundred of them."""

import asyncio

import pytest

from bench.beside_streams import STREAM_COUNT, measure, report

MOST = 3.0
ATTEMPTS = 3
"""What else runs on the machine makes it worse: one calm run is enough."""
CALM_MILLISECONDS = 15.0
"""Where the slowest request of a usual second takes longer than that with no stream at all, others have the cores."""


@pytest.mark.full
@pytest.mark.timeout(240)
def test_half_of_the_plans_and_status_beside_two_hundred_streams_take_at_most_three_times_as_long_as_without() -> None:
    """The p99 is measured and told, but held to nothing: on two cores it is that of five processes which share them."""
    told = []
    calm = False
    for _ in range(ATTEMPTS):
        result = asyncio.run(measure(seconds=8.0))
        told.append(report(result))
        # The streams really ran: 20 events a second each.
        assert result.events_per_second >= STREAM_COUNT * 10
        kinds = (result.route, result.status)
        if all(kind.loaded.p50 <= MOST * kind.quiet.p50 for kind in kinds):
            return
        calm = calm or all(kind.quiet.usual_slowest <= CALM_MILLISECONDS for kind in kinds)
    if not calm:
        pytest.skip("other work had the cores all the time; what was measured says nothing of the sidecar")
    pytest.fail("\n\n".join(told))
