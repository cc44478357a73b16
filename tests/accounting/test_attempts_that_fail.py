"""What failed attempts and cut streams cost by the catalog's prices, each with the target that it was made at."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from tests.unit.execution.scripted import HEAD, Script, World, answer, asking, chat, fail, refused, spec, text
from tests.virtual_time import in_virtual_time
from turnout_server.config.catalog import built_in
from turnout_server.core.chat import UsageReported
from turnout_server.core.errors import StreamInterruptedError
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.model import FailureKind, Usage, UsageSource

K = FailureKind
PROMPT = "x" * 4000
"""A thousand tokens by estimate."""


def target(name: str) -> TargetSpec:
    provider, _, model = name.partition("/")
    row = next(row for row in built_in(date(2026, 11, 21))[provider].models if row.name == model)
    return replace(spec(name), price=row.price)


FINE = answer("fine", usage=Usage(input_tokens=1000, output_tokens=100))
FAILED: list[tuple[str, Script, int | None, UsageSource | None]] = [
    ("refused for its rate: nothing is charged", [refused(K.RATE_LIMITED, http_status=429)], 0, None),
    ("refused connection: nothing is charged", [refused(K.CONNECTION)], 0, None),
    (
        "a fault after the prompt was read: the prompt, by estimate",
        [fail(K.SERVER_ERROR)],
        1000 * 3000,
        UsageSource.ESTIMATED,
    ),
    (
        "cut after the first count: the prompt as reported, the words by estimate",
        [[HEAD, UsageReported(usage=Usage(input_tokens=1200))], fail(K.TRUNCATED)],
        1200 * 3000,
        UsageSource.ESTIMATED,
    ),
    (
        "cut after the prompt was read from the cache: its own price",
        [[HEAD, UsageReported(usage=Usage(input_tokens=1200, cached_input_tokens=1000))], fail(K.TRUNCATED)],
        200 * 3000 + 1000 * 300,
        UsageSource.ESTIMATED,
    ),
    (
        "failed after both were counted: at least that, by estimate",
        [[HEAD, UsageReported(usage=Usage(input_tokens=10, output_tokens=20))], fail(K.PROTOCOL)],
        10 * 3000 + 20 * 15_000,
        UsageSource.ESTIMATED,
    ),
]


@pytest.mark.parametrize(("script", "cost", "source"), [case[1:] for case in FAILED], ids=[case[0] for case in FAILED])
def test_failed_attempt_is_charged_to_the_target_that_it_was_made_at(
    script: Script, cost: int | None, source: UsageSource | None
) -> None:
    @in_virtual_time
    async def run() -> None:
        # The quick retry of some kinds ends the same way.
        world = World({target("anthropic/claude-sonnet-4-5"): [script], target("openai/gpt-4o"): [FINE]})
        result = await world.executor.execute(asking(), chat(PROMPT, max_output_tokens=1000))
        first, *_, last = result.attempts

        assert ("anthropic/claude-sonnet-4-5", "openai/gpt-4o") == (str(first.target), str(last.target))
        assert cost == first.cost_nano_usd
        assert source == (None if first.usage is None else first.usage.source)
        assert 1000 * 2500 + 100 * 10_000 == last.cost_nano_usd == result.cost_nano_usd

    run()


@in_virtual_time
async def test_stream_cut_after_content_is_charged_for_what_came_and_marked_as_an_estimate() -> None:
    script: Script = [[HEAD], [text("y" * 400)], fail(K.TRUNCATED)]
    world = World({target("anthropic/claude-sonnet-4-5"): [script]})
    with pytest.raises(StreamInterruptedError) as caught:
        await world.stream(chat=chat(PROMPT))
    (attempt,) = caught.value.report.attempts
    assert attempt.usage is not None

    assert UsageSource.ESTIMATED is attempt.usage.source
    assert (1000, 100) == (attempt.usage.input_tokens, attempt.usage.output_tokens)
    assert 1000 * 3000 + 100 * 15_000 == attempt.cost_nano_usd
