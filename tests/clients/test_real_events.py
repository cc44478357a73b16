"""Events of the real sidecar in front of simulated providers: through both clients and the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import aclosing
from itertools import islice

import pytest
from google.protobuf.duration_pb2 import Duration

from tests.cli.processes import Ended, run
from tests.clients.real_sidecar import World, world
from turnout import AsyncClient, Client
from turnout.errors import InvalidRequestError, ResumeTooOldError
from turnout.v1 import router_pb2 as pb

GENEROUS_SECONDS = 60
EXPECTED = ["failure", "switch"]


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One whose first provider fails, and that has been asked twice."""
    with world(tmp_path_factory.mktemp("events")) as running:
        running.fault("north", kind="error", status=500)
        with Client(running.address) as client:
            for _ in range(2):
                client.ask("Hi", timeout_seconds=GENEROUS_SECONDS)
            # Enough for a rate, and without decisions, so that no breaker opens for them.
            client.report([failed(number) for number in range(12)], timeout_seconds=GENEROUS_SECONDS)
        yield running


def failed(number: int) -> pb.Outcome:
    return pb.Outcome(
        attempt_id=f"own-{number}",
        target=pb.Target(provider="south", model="m"),
        failure=pb.FAILURE_KIND_SERVER_ERROR,
        latency=Duration(seconds=1),
    )


def on(world_: World, *arguments: str) -> Ended:
    return run(*arguments, env={"TURNOUT_ADDRESS": world_.address})


def test_the_blocking_client_yields_events_from_where_it_is_told(troubled: World) -> None:
    with Client(troubled.address) as client:
        first, second = islice(client.events(after_sequence=0, timeout_seconds=GENEROUS_SECONDS), 2)
        [resumed] = islice(client.events(after_sequence=first.sequence, timeout_seconds=GENEROUS_SECONDS), 1)
        [switch] = islice(client.events("switch", after_sequence=0, timeout_seconds=GENEROUS_SECONDS), 1)

    assert [first.name, second.name] == EXPECTED
    assert (first.target.provider, first.fields["failure"], first.fields["http_status"]) == (
        "north",
        "SERVER_ERROR",
        "500",
    )
    assert resumed == switch == second
    assert switch.fields["to"] == "south/m"
    assert switch.fields["decision_id"] == first.fields["decision_id"]


async def test_the_asyncio_client_yields_the_same(troubled: World) -> None:
    async with AsyncClient(troubled.address) as client, asyncio.timeout(GENEROUS_SECONDS):
        names = []
        async with aclosing(client.events(after_sequence=0)) as events:
            async for event in events:
                names.append(event.name)
                if len(names) == len(EXPECTED):
                    break

    assert names == EXPECTED


def test_what_cannot_be_given_is_a_typed_error(troubled: World) -> None:
    with Client(troubled.address) as client:
        with pytest.raises(ResumeTooOldError):
            next(client.events(after_sequence=7))
        with pytest.raises(InvalidRequestError):
            next(client.events("nonsense"))


def test_the_command_lists_events_oldest_first(troubled: World) -> None:
    ended = on(troubled, "events", "--target", "north")
    told = json.loads(on(troubled, "events", "--json", "--limit", "2", "--since", "60").out)["events"]
    just_now = on(troubled, "events", "--since", "0")

    assert ended.code == 0
    assert [line.split()[2] for line in ended.out.splitlines()][:2] == EXPECTED
    assert "failure=SERVER_ERROR" in ended.out.splitlines()[0]
    assert (just_now.code, just_now.out) == (0, "no events\n")
    assert len(told) == 2
    assert int(told[0]["sequence"]) < int(told[1]["sequence"])


def test_the_command_follows_until_its_time_is_over(troubled: World) -> None:
    ended = on(troubled, "events", "--follow", "--json", "--name", "switch", "--timeout", "1")

    assert ended.code == 0
    assert [json.loads(line)["name"] for line in ended.out.splitlines()][:1] == ["switch"]


def test_the_command_says_which_names_there_are(troubled: World) -> None:
    ended = on(troubled, "events", "--name", "nonsense")

    assert ended.code == 1
    assert "breaker.opened" in ended.err


def test_an_alarm_is_raised_beside_the_calls(troubled: World) -> None:
    with Client(troubled.address) as client:
        alarm = next(client.events("high_error_rate", after_sequence=0, timeout_seconds=GENEROUS_SECONDS))

    assert (alarm.target.provider, alarm.target.model) == ("south", "m")
    assert float(alarm.fields["error_rate"]) > float(alarm.fields["limit"]) == 0.05
