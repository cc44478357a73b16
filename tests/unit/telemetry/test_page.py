"""The page that is written piece by piece is the one that the library writes at once."""

import asyncio
from collections.abc import Iterator
from itertools import groupby

import pytest
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from tests.unit.telemetry.test_metrics import OPENAI
from turnout_server.core.call import AttemptRecord
from turnout_server.core.hedging import HedgeResult
from turnout_server.core.model import Target
from turnout_server.telemetry.metrics import Metrics
from turnout_server.telemetry.page import SLICE_SAMPLES

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


class Whole:
    """All families in one piece each, as a registry."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        for _, parts in groupby(self._metrics.collect(), lambda family: family.name):
            whole, *more = parts
            whole.samples = [sample for part in (whole, *more) for sample in part.samples]
            yield whole


def many() -> Metrics:
    metrics = Metrics()
    for number in range(SLICE_SAMPLES + 7):
        target = Target("p", f'm{number}"\n# HELP')
        metrics.hedge(target, HedgeResult.WON)
        metrics.attempt(AttemptRecord(target=target, attempt_id="a", started_at_wall=0.0, latency_seconds=0.5))
    metrics.hedge(OPENAI, HedgeResult.WON)
    return metrics


@pytest.mark.parametrize("accept", ["", OPEN_METRICS])
async def test_pieces_make_the_page_that_is_made_at_once(accept: str) -> None:
    metrics = many()
    encode, content_type = choose_encoder(accept)

    assert await metrics.page(accept) == metrics.render(accept) == (encode(Whole(metrics)), content_type)
    assert len(metrics.render(accept)[0].splitlines()) > 20 * SLICE_SAMPLES


async def test_others_have_their_turn_while_a_long_page_is_written() -> None:
    metrics = many()
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(other())
    await metrics.page("")
    running.cancel()

    # The histogram alone is seventeen lines for each target.
    assert turns > 17
