"""The main job on real input: other people's fake providers, a real sidecar process, the published client."""

import asyncio
import contextlib
from collections import Counter
from pathlib import Path

import grpc
import pytest

from tests.main_job.processes import ForeignProviders, foreign_providers, sidecar
from turnout import AsyncClient, TurnoutError
from turnout.v1 import router_pb2 as pb

CONFIGURATION = """
listen: {{address: "127.0.0.1:0"}}
health: {{address: ""}}
metrics: {{address: ""}}
providers:
  north:
    wire: openai
    base_url: {url}/v1
    api_key_env: NORTH_KEY
    allow_insecure: true
    allow_private: true
    models:
      - name: gpt-4o
        context_window_tokens: 128000
        max_output_tokens: 4096
        quality: 90
        capabilities: [STREAMING, TOOLS]
        price: {{input_per_million_usd: 2.5, output_per_million_usd: 10}}
  south:
    wire: anthropic
    base_url: {url}/anthropic
    api_key_env: SOUTH_KEY
    allow_insecure: true
    allow_private: true
    models:
      - name: claude-sonnet-4-6
        context_window_tokens: 200000
        max_output_tokens: 4096
        quality: 95
        capabilities: [STREAMING, TOOLS]
        price: {{input_per_million_usd: 3, output_per_million_usd: 15}}
routing:
  provider_order: [north, south]
  policies: {{default: {{strategy: {strategy}, mid_stream: {mid_stream}}}}}
{more}
"""
SILENT_SECONDS = 600


def configuration(foreign: ForeignProviders, *, strategy: str, mid_stream: str = "FAIL", more: str = "") -> str:
    return CONFIGURATION.format(url=foreign.url, strategy=strategy, mid_stream=mid_stream, more=more)


async def ask(client: AsyncClient, number: int, *, streaming: bool) -> str:
    """Returns "complete" or the reason of an honest error; a wrong or short answer fails the test."""
    # The fake provider echoes up to 120 characters, so a complete answer is known to the letter.
    prompt = f"Request {number}: one two three four five six seven eight nine ten eleven twelve and the end."
    try:
        if streaming:
            answer = await client.stream(prompt, timeout_seconds=60).answer()
        else:
            answer = await client.execute(prompt, timeout_seconds=60)
    except TurnoutError as error:
        assert error.reason, error
        assert error.code is not grpc.StatusCode.OK
        return error.reason
    assert answer.text.endswith(prompt), answer.text
    assert answer.finish_reason == pb.FINISH_REASON_STOP
    assert answer.attempts[-1].ok
    assert (answer.attempts[-1].target.provider, answer.usage is not None) == (answer.target.provider, True)
    return "complete"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("mid_stream", [pytest.param("FAIL", marks=pytest.mark.full), "RESTART"])
async def test_every_request_ends_complete_or_with_an_honest_error_while_providers_fail(
    mid_stream: str, tmp_path: Path
) -> None:
    ended: list[Counter[str]] = []
    with (
        foreign_providers("--response-style", "echo", "--stream-chunk-delay-ms", "2") as foreign,
        sidecar(configuration(foreign, strategy="ROUND_ROBIN", mid_stream=mid_stream), tmp_path) as address,
    ):
        async with AsyncClient(address, max_retry_count=0) as client:
            for behaviors in (
                (),
                (
                    {"type": "fail", "status": 503, "times": None, "match": {"provider": "openai"}},
                    {
                        "type": "stream_fault",
                        "kind": "disconnect",
                        "after_chunks": 8,
                        "times": None,
                        "match": {"provider": "anthropic"},
                    },
                ),
                (),
            ):
                foreign.behave(*behaviors)
                if ended and not behaviors:
                    await recovered(client)
                first = sum(sum(counts.values()) for counts in ended)
                count = 80 if behaviors else 60
                ended.append(Counter(await in_groups(client, first, count)))
            status = await client.status()

    assert {"complete": 60} == ended[0]
    assert sum(ended[1].values()) == 80
    # Nobody can serve a stream then: each must say so.
    assert 0 < ended[1]["complete"] < 80
    assert mid_stream != "FAIL" or ended[1]["STREAM_INTERRUPTED"] > 0
    assert set(ended[1]) <= {
        "complete",
        "STREAM_INTERRUPTED",
        "ATTEMPTS_EXHAUSTED",
        "ALL_ATTEMPTS_REFUSED",
        "ALL_TARGETS_UNAVAILABLE",
    }
    assert {"complete": 60} == ended[2]
    assert {"north", "south"} == {provider.provider for provider in status.providers if provider.request_count > 0}


async def in_groups(client: AsyncClient, first: int, count: int) -> list[str]:
    ended: list[str] = []
    for start in range(first, first + count, 8):
        numbers = range(start, min(start + 8, first + count))
        ended += await asyncio.gather(*(ask(client, number, streaming=number % 2 == 0) for number in numbers))
    return ended


async def recovered(client: AsyncClient) -> None:
    """Sends a request now and then until every breaker has closed: open ones must be used again by themselves."""
    async with asyncio.timeout(60):
        number = 1_000_000
        while True:
            status = await client.status()
            states = {target.breaker for provider in status.providers for target in provider.targets}
            if states == {pb.BREAKER_STATE_CLOSED}:
                return
            number += 1
            await ask(client, number, streaming=bool(number % 2))
            await asyncio.sleep(0.2)


@pytest.mark.full
@pytest.mark.timeout(600)
async def test_thousand_streams_caught_by_a_silent_provider_are_all_answered_by_the_healthy_one(tmp_path: Path) -> None:
    # Without suspicion, which would send the later ones elsewhere before the first has timed out. A provider of one
    # core may take its time to take a thousand connections at once.
    more = (
        "limits: {max_concurrent_calls: 1100, max_queue: 200}\n"
        "failover: {connect_timeout_seconds: 60, suspect: {attempts: 100000}}"
    )
    with contextlib.ExitStack() as stack:
        foreign = stack.enter_context(foreign_providers("--response-style", "echo"))
        text = configuration(foreign, strategy="PRIORITY", more=more)
        # The same provider answers a thousand at once in the end.
        text = text.replace("  south:\n", "  south:\n    first_token_timeout_seconds: 300\n")
        address = stack.enter_context(sidecar(text, tmp_path))
        foreign.behave(
            {"type": "slow_first_token", "seconds": SILENT_SECONDS, "times": None, "match": {"provider": "openai"}}
        )
        async with AsyncClient(address, max_retry_count=0) as client:
            answers = await asyncio.gather(
                *(client.stream(f"Request {number}.", timeout_seconds=400).answer() for number in range(1000))
            )
        caught = foreign.request_count("openai")

    assert {"south"} == {answer.target.provider for answer in answers}
    assert all(answer.text.endswith(f"Request {number}.") for number, answer in enumerate(answers))
    assert {pb.FAILURE_KIND_TIMEOUT} == {attempt.failure for answer in answers for attempt in answer.attempts[:-1]}
    assert caught >= 900
