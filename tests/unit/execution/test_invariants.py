"""What holds for every call, whatever providers do: drawn scripts, a whole router, virtual time."""

import asyncio
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.execution.scripted import (
    HEAD,
    PING,
    SILENCE,
    Script,
    Step,
    World,
    answer,
    asking,
    chat,
    fail,
    refused,
    text,
    thought,
    words_of,
)
from tests.virtual_time import run
from turnout_server.core.call import AttemptDeltas, AttemptRecord, Completed, Restarted
from turnout_server.core.chat import Finished
from turnout_server.core.errors import CallError, StreamInterruptedError, TurnoutError
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.model import SILENCE_FAILURES, FailureKind, FinishReason, MidStreamPolicy, Usage
from turnout_server.core.settings import Policy

STEPS: st.SearchStrategy[Step] = st.one_of(
    st.sampled_from([0.0, 0.1, 1.0, 15.0, 30.0, SILENCE]),
    st.sampled_from(FailureKind).map(fail),
    st.sampled_from(FailureKind).map(refused),
    st.sampled_from(FailureKind).map(lambda kind: fail(kind, retry_after_seconds=3.0)),
    st.sampled_from(
        [
            [HEAD],
            [PING],
            [text("")],
            [text("some words")],
            [thought("hm")],
            [Finished(reason=FinishReason.STOP)],
            [Finished(reason=FinishReason.CONTENT_FILTER)],
        ]
    ),
)
SCRIPTS: st.SearchStrategy[Script] = st.one_of(
    st.lists(STEPS, max_size=6), st.just(answer("fine", usage=Usage(input_tokens=3, output_tokens=1)))
)
NAMES: st.SearchStrategy[str | TargetSpec] = st.sampled_from(["a/m", "a/n", "b/m", "c/m"])
TARGETS = st.dictionaries(NAMES, st.lists(SCRIPTS, min_size=1, max_size=3), min_size=1)


@settings(max_examples=80, deadline=None)
@given(
    targets=TARGETS,
    deadline_seconds=st.sampled_from([0.1, 2.0, 40.0, 300.0, None]),
    mid_stream=st.sampled_from(MidStreamPolicy),
    calls=st.integers(1, 4),
    hedge=st.booleans(),
)
def test_every_call_ends_once_in_time_honestly_and_leaves_nothing_open(
    targets: dict[str | TargetSpec, list[Script]],
    deadline_seconds: float | None,
    mid_stream: MidStreamPolicy,
    calls: int,
    hedge: bool,  # noqa: FBT001  # drawn
) -> None:
    async def main() -> None:
        world = World(targets, policy=Policy(hedge=hedge))
        streams = (one_stream(world, deadline_seconds, mid_stream) for _ in range(calls))
        unaries = (one_unary(world, deadline_seconds) for _ in range(calls))
        await asyncio.gather(*streams, *unaries)

        assert world.now <= (deadline_seconds or 600.0)
        await world.executor.aclose()
        assert all(played.closed_at is not None for played in world.upstream.played)
        assert all(target.in_flight == 0 for target in world.router.state.targets)
        assert not world.executor._waiting

    run(main())


async def one_stream(world: World, deadline_seconds: float | None, mid_stream: MidStreamPolicy) -> None:
    held, ends = "", 0
    try:
        async for event in world.executor.execute_stream(
            asking(deadline_seconds=deadline_seconds, mid_stream=mid_stream), chat()
        ):
            assert ends == 0, "nothing follows the completion"
            match event:
                case AttemptDeltas():
                    held += words_of(event.deltas)
                case Restarted():
                    assert mid_stream is MidStreamPolicy.RESTART
                    held = ""
                case Completed():
                    ends += 1
                    check_attempts(event.attempts)
                    assert event.attempts[-1].failure is None
                case _:
                    pass
        assert ends == 1
    except CallError as error:
        assert ends == 0
        check_attempts(error.report.attempts)
        assert error.report.attempts[-1].failure is not None
        assert error.report.delivered_bytes >= len(held)
        if isinstance(error, StreamInterruptedError):
            assert error.report.delivered_bytes > 0
    except TurnoutError:
        assert not held


async def one_unary(world: World, deadline_seconds: float | None) -> None:
    try:
        result = await world.executor.execute(asking(deadline_seconds=deadline_seconds), chat())
    except CallError as error:
        check_attempts(error.report.attempts)
        assert error.report.delivered_bytes == 0
    except TurnoutError:
        pass
    else:
        check_attempts(result.attempts)
        assert result.target == result.attempts[-1].target


def check_attempts(attempts: tuple[AttemptRecord, ...]) -> None:
    assert 1 <= len(attempts) <= 4
    assert all(attempt.failure is not None for attempt in attempts[:-1])
    assert len({attempt.attempt_id for attempt in attempts}) == len(attempts)
    silent = Counter(attempt.target for attempt in attempts if attempt.failure in SILENCE_FAILURES)
    for target, count in silent.items():
        assert count == 1
        last = max(place for place, attempt in enumerate(attempts) if attempt.target == target)
        assert attempts[last].failure in SILENCE_FAILURES, "a silent target is never tried again"
