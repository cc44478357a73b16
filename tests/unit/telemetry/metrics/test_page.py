"""The page that is written piece by piece is the one that the library writes at once."""

import asyncio
from collections.abc import Iterator
from itertools import groupby

import pytest
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from tests.unit.telemetry.metrics.test_metrics import OPENAI
from tests.virtual_time import in_virtual_time
from turnout_server.core.call import AttemptRecord
from turnout_server.core.hedging import HedgeResult
from turnout_server.core.model import Target
from turnout_server.telemetry.metrics.metrics import Metrics
from turnout_server.telemetry.metrics.page import SHARED_SECONDS, SLICE_SAMPLES, SharedPages

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
KNOWN = (
    "",
    "*/*",
    "application/openmetrics-text",
    "application/openmetrics-text;version=0.0.1",
    OPEN_METRICS,
    "text/plain;version=0.0.4",
    "text/plain;version=1.0.0",
    "text/plain;version=1.0.0;escaping=allow-utf-8",
    # What Prometheus 3 asks with.
    (
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
        "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
        "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
    ),
)


class Whole:
    """All families in one piece each, as a registry."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        for _, parts in groupby(filter(None, self._metrics.collect()), lambda family: family.name):
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


class Rendering:
    """Takes `seconds` for each page, and numbers them."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.count = 0
        self.running = 0
        self.fails = False

    async def __call__(self, accept: str) -> tuple[bytes, str]:
        self.count += 1
        number = self.count
        self.running += 1
        assert self.running == 1, "two pages are written at once"
        await asyncio.sleep(self._seconds)
        self.running -= 1
        if self.fails:
            raise ValueError("as the test says")
        return f"{number} for {accept}".encode(), choose_encoder(accept)[1]


@in_virtual_time
async def test_all_who_ask_within_a_second_get_one_page() -> None:
    rendering = Rendering(0.3)
    pages = SharedPages(rendering)
    at_once = await asyncio.gather(*(pages("") for _ in range(50)))
    await asyncio.sleep(SHARED_SECONDS * 0.9)
    later = await pages("text/plain")
    await asyncio.sleep(SHARED_SECONDS)
    anew = await pages("")

    assert {body for body, _ in (*at_once, later)} == {b"1 for "}
    assert anew[0] == b"2 for "
    assert rendering.count == 2


@in_virtual_time
async def test_each_kind_of_page_is_written_for_itself_one_after_the_other() -> None:
    rendering = Rendering(0.3)
    pages = SharedPages(rendering)
    found = await asyncio.gather(pages(""), pages(OPEN_METRICS), pages(""), pages(OPEN_METRICS))

    assert rendering.count == 2
    assert [content_type for _, content_type in found] == [choose_encoder(each)[1] for each in ("", OPEN_METRICS)] * 2


@in_virtual_time
async def test_there_are_no_more_kinds_of_page_than_the_formats_that_are_known() -> None:
    rendering = Rendering(0.3)
    pages = SharedPages(rendering)
    asked = [f"application/openmetrics-text; version=1.{number}.0" for number in range(300)]
    asked += [f"text/plain; version=1.0.{number}; escaping={number}" for number in range(300)]
    found = await asyncio.gather(*map(pages, asked))

    assert rendering.count <= 3
    assert {content_type for _, content_type in found} <= {choose_encoder(each)[1] for each in KNOWN}


@pytest.mark.parametrize("version", ["abc", "1.x", "", "=", "1.0.0.0", "٣.0.0", "9" * 5000])
@pytest.mark.parametrize("kind", ["application/openmetrics-text", "text/plain"])
async def test_version_that_nobody_knows_gets_the_next_format_that_is_asked_for(kind: str, version: str) -> None:
    pages = SharedPages(many().page)
    accept = f"{kind};version={version};q=0.9"

    assert (await pages(accept))[1] == choose_encoder("" if version else kind)[1]
    assert (await pages(f"{accept},{OPEN_METRICS}"))[1] == choose_encoder(
        f"{kind if not version else ''},{OPEN_METRICS}"
    )[1]


@pytest.mark.parametrize("accept", KNOWN)
async def test_formats_that_are_known_are_told_as_the_library_does(accept: str) -> None:
    assert (await SharedPages(many().page)(accept))[1] == choose_encoder(accept)[1]


@in_virtual_time
async def test_scraper_that_goes_away_leaves_the_page_to_the_others() -> None:
    pages = SharedPages(Rendering(0.3))
    first, second = asyncio.ensure_future(pages("")), asyncio.ensure_future(pages(""))
    await asyncio.sleep(0.1)
    first.cancel()

    assert (await second)[0] == b"1 for "


@in_virtual_time
async def test_page_that_could_not_be_written_is_not_kept() -> None:
    rendering = Rendering(0.1)
    pages = SharedPages(rendering)
    rendering.fails = True
    with pytest.raises(ValueError, match="as the test says"):
        await pages("")
    rendering.fails = False

    assert (await pages(""))[0] == b"2 for "


@in_virtual_time
async def test_page_is_let_go_where_nobody_asks_again() -> None:
    pages = SharedPages(Rendering(0.1))
    await pages("")
    await asyncio.sleep(SHARED_SECONDS * 1.1)

    assert not pages._pages
