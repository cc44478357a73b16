"""Answers kept for equal requests: found again exactly, bounded, gone in time, and never anybody else's."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.budgets import budget
from tests.unit.execution.scripted import Script, World, answer, asking, chat, fail, spec, text, words_of
from tests.virtual_time import in_virtual_time, run
from turnout_server.core.budget import BudgetSpec
from turnout_server.core.call import AttemptDeltas, AttemptStarted, CallEvent, CallResult, Completed
from turnout_server.core.chat import (
    ChatInput,
    ChatOutput,
    Finished,
    JsonFormat,
    Part,
    SignatureDelta,
    Text,
    Tool,
    ToolCallDelta,
)
from turnout_server.core.decision import Decision
from turnout_server.core.errors import InvalidRequestError
from turnout_server.core.fleet import Fleet
from turnout_server.core.history import DecisionResult
from turnout_server.core.model import (
    Caller,
    FailureKind,
    FinishReason,
    MidStreamPolicy,
    Priority,
    RequestProfile,
    RouteQuery,
    RoutingOptions,
    Strategy,
    Target,
    Usage,
    Weights,
)
from turnout_server.core.settings import CacheSettings, Policy
from turnout_server.execution.answer_cache import AnswerCache
from turnout_server.execution.answering import Answering

COLD = chat(temperature=0.0)


def world_of(
    *scripts: Script, cache: CacheSettings | None = None, budgets: tuple[BudgetSpec, ...] = ()
) -> tuple[World, Answering]:
    world = World({"a/m": scripts}, policy=Policy(cache=cache or CacheSettings()), budgets=budgets)
    return world, Answering(world.executor, world.router, clock=world.loop.clock)


def said(result: CallResult) -> str:
    return "".join(part.content.text for part in result.output.parts if isinstance(part.content, Text))


async def streamed(answering: Answering, query: RouteQuery, asked: ChatInput = COLD) -> list[CallEvent]:
    async with aclosing(answering.execute_stream(query, asked, principal="p")) as events:
        return [event async for event in events]


def deltas_of(events: list[CallEvent]) -> str:
    return words_of([delta for event in events if isinstance(event, AttemptDeltas) for delta in event.deltas])


@in_virtual_time
async def test_an_equal_request_is_answered_at_once_and_for_nothing() -> None:
    usage = Usage(input_tokens=10, output_tokens=2)
    world, answering = world_of(answer("kept", usage=usage), budgets=(budget(limit=10**12),))
    told: list[str] = []
    first = await answering.execute(asking(), COLD, principal="p")
    at, spent = world.now, world.router.budgets.reports()[0].accounts[0].spent
    await asyncio.sleep(12.0)
    hit = await answering.execute(
        asking(), COLD, principal="p", on_decision=lambda decision: told.append(decision.decision_id)
    )

    assert (said(hit), hit.cached, hit.cost_nano_usd, hit.attempts) == ("kept", True, 0, ())
    assert (hit.usage, hit.target, hit.output) == (usage, first.target, first.output)
    assert world.now == at + 12.0
    assert world.router.budgets.reports()[0].accounts[0].spent == spent
    assert len(world.names()) == len(world.instruments.attempts) == len(world.instruments.decisions) == 1
    assert told == [hit.decision.decision_id]
    assert hit.decision.decision_id != first.decision.decision_id
    assert hit.notices is not None
    assert [each.name for each in hit.notices.budgets] == ["monthly"]


@in_virtual_time
async def test_history_says_that_the_answer_was_kept() -> None:
    world, answering = world_of(answer("kept"))
    await answering.execute(asking(), COLD, principal="p")
    await asyncio.sleep(12.0)
    hit = await answering.execute(asking(), COLD, principal="p")
    record = world.router.looking_back.decision(hit.decision.decision_id)

    assert record.cached
    assert record.result is DecisionResult.OK
    assert record.decision.reason == "a/m answered an equal request 12 s ago; policy default keeps answers"
    assert [str(candidate.target) for candidate in record.decision.candidates] == ["a/m"]


@in_virtual_time
async def test_a_hit_needs_no_target_that_can_be_used() -> None:
    world, answering = world_of(answer("kept"))
    await answering.execute(asking(), COLD, principal="p")
    world.router.state.targets[0].drained = True

    assert (await answering.execute(asking(), COLD, principal="p")).cached


OTHERS: dict[str, tuple[RouteQuery, ChatInput]] = {
    "other words": (asking(), chat("bye", temperature=0.0)),
    "a tool": (asking(), chat(temperature=0.0, tools=(Tool(name="t"),))),
    "a format": (asking(), chat(temperature=0.0, response_format=JsonFormat())),
    "a seed": (asking(), chat(temperature=0.0, seed=1)),
    "a top_p": (asking(), chat(temperature=0.0, top_p=0.5)),
    "a stop": (asking(), chat(temperature=0.0, stop=("x",))),
    "a limit": (asking(), chat(temperature=0.0, max_output_tokens=9)),
    "a limit in the profile": (RouteQuery(profile=RequestProfile(max_output_tokens=9)), COLD),
    "an option of a provider": (asking(), chat(temperature=0.0, provider_options={"a": {"k": 1}})),
    "a task": (RouteQuery(profile=RequestProfile(task="chat")), COLD),
    "a tier": (RouteQuery(caller=Caller(tier="pro")), COLD),
    "a strategy": (asking(strategy=Strategy.COST), COLD),
    "weights": (asking(weights=Weights(cost=1.0)), COLD),
    "a quality": (asking(min_quality=10.0), COLD),
    "a forced target": (asking(force_target="a/m"), COLD),
    "an included target": (asking(include=("a/m",)), COLD),
    "an excluded target": (asking(exclude=("b/n",)), COLD),
}
SAME: dict[str, RouteQuery] = {
    "a session": RouteQuery(session_id="s"),
    "a label": RouteQuery(caller=Caller(labels={"k": "v"})),
    "a user": RouteQuery(caller=Caller(user="u")),
    "a deadline": asking(1.0),
    "a priority": asking(priority=Priority.CRITICAL),
    "a price": asking(max_cost_usd=0.5),
    "a sticky key": asking(sticky_key="k"),
    "a restart": asking(mid_stream=MidStreamPolicy.RESTART),
}


@pytest.mark.parametrize("what", OTHERS)
@in_virtual_time
async def test_whatever_could_change_the_answer_makes_another_request(what: str) -> None:
    world = World({"a/m": [answer("fine")], "b/n": [answer("fine")]}, policy=Policy(cache=CacheSettings()))
    answering = Answering(world.executor, world.router, clock=world.loop.clock)
    await answering.execute(asking(), COLD, principal="p")
    query, asked = OTHERS[what]
    results = [await answering.execute(query, asked, principal="p") for _ in range(2)]

    assert [result.cached for result in results] == [False, True]


@pytest.mark.parametrize("what", SAME)
@in_virtual_time
async def test_whatever_could_not_change_the_answer_makes_no_other_request(what: str) -> None:
    _, answering = world_of(answer("kept"))
    await answering.execute(asking(), COLD, principal="p")

    assert (await answering.execute(SAME[what], COLD, principal="p")).cached


@in_virtual_time
async def test_names_in_another_order_are_the_same_restriction() -> None:
    world = World({"a/m": [answer("fine")], "b/n": [answer("fine")]}, policy=Policy(cache=CacheSettings()))
    answering = Answering(world.executor, world.router, clock=world.loop.clock)
    await answering.execute(asking(include=("a/m", "b/n")), COLD, principal="p")

    assert (await answering.execute(asking(include=("b/n", "a/m", "b/n")), COLD, principal="p")).cached


@in_virtual_time
async def test_callers_never_get_the_answers_of_others() -> None:
    _, answering = world_of(answer("for p"), answer("for q"))
    results = [await answering.execute(asking(), COLD, principal=who) for who in ("p", "q", "p")]

    assert [said(result) for result in results] == ["for p", "for q", "for p"]
    assert [result.cached for result in results] == [False, False, True]


@pytest.mark.parametrize(
    ("temperature", "any_temperature", "kept"),
    [(0.0, False, True), (0.1, False, False), (None, False, False), (0.1, True, True), (None, True, True)],
)
@in_virtual_time
async def test_only_answers_at_temperature_0_are_kept_unless_asked(
    temperature: float | None,
    any_temperature: bool,  # noqa: FBT001  # a table's column
    kept: bool,  # noqa: FBT001  # likewise
) -> None:
    _, answering = world_of(answer("fine"), cache=CacheSettings(any_temperature=any_temperature))
    asked = chat(temperature=temperature)
    await answering.execute(asking(), asked, principal="p")

    assert (await answering.execute(asking(), asked, principal="p")).cached is kept


@pytest.mark.parametrize("reason", FinishReason)
@in_virtual_time
async def test_only_whole_answers_are_kept(reason: FinishReason) -> None:
    script: Script = [[text("some")], [Finished(reason=reason)]]
    _, answering = world_of(script)
    await answering.execute(asking(), COLD, principal="p")
    streamed_before = await streamed(answering, asking(), chat("x", temperature=0.0))
    hits = [await answering.execute(asking(), asked, principal="p") for asked in (COLD, chat("x", temperature=0.0))]

    assert isinstance(streamed_before[-1], Completed)
    assert {hit.cached for hit in hits} == {reason in {FinishReason.STOP, FinishReason.TOOL_CALLS}}


@in_virtual_time
async def test_answers_are_forgotten_when_their_time_is_over() -> None:
    world, answering = world_of(answer("kept"), cache=CacheSettings(ttl_seconds=60.0))
    await answering.execute(asking(), COLD, principal="p")
    kept_at = world.now
    await asyncio.sleep(59.0)
    in_time = await answering.execute(asking(), COLD, principal="p")
    await asyncio.sleep(kept_at + 60.0 - world.now)
    too_late = await answering.execute(asking(), COLD, principal="p")
    await asyncio.sleep(60.0)
    answering.expire()

    assert in_time.cached
    assert not too_late.cached
    assert len(answering.cache) == answering.cache.size_bytes == 0


@in_virtual_time
async def test_a_policy_keeps_as_many_answers_as_it_says_and_the_oldest_goes_first() -> None:
    _, answering = world_of(answer("kept"), cache=CacheSettings(max_entries=3))
    for number in range(5):
        await answering.execute(asking(), chat(str(number), temperature=0.0), principal="p")
    held = len(answering.cache)
    again = [await answering.execute(asking(), chat(str(n), temperature=0.0), principal="p") for n in (4, 3, 2, 1)]

    assert held == 3
    assert [result.cached for result in again] == [True, True, True, False]


def bare() -> Decision:
    """A decision as it is kept."""
    return dataclasses.replace(World({"a/m": []}).router.deciding.look_ahead(asking()), candidates=(), rejections=())


def kept_answer(
    cache: AnswerCache, policy: str, digest: bytes, size: int, now: float, *, decision: Decision | None = None
) -> None:
    cache.keep(
        policy,
        digest,
        CacheSettings(),
        output=ChatOutput(parts=(Part(content=Text(text="x" * size)),), finish_reason=FinishReason.STOP),
        target=Target("a", "m"),
        usage=None,
        decision=decision or bare(),
        now=now,
    )


@in_virtual_time
async def test_all_policies_share_one_bound_in_bytes_and_one_large_answer_is_not_kept() -> None:
    cache = AnswerCache(max_bytes=640_000)
    for number in range(100):
        kept_answer(cache, f"policy-{number % 2}", bytes([number]), 8_000, float(number))
        assert cache.size_bytes <= 640_000
    kept_answer(cache, "policy-0", b"large", 9_500, 100.0)
    found = [number for number in range(100) if cache.get(f"policy-{number % 2}", bytes([number]), 101.0)]

    assert found == list(range(100 - len(cache), 100))
    assert 60 < len(cache) < 80
    assert cache.get("policy-0", b"large", 101.0) is None


@in_virtual_time
async def test_an_answer_kept_again_takes_the_place_of_the_older_one() -> None:
    cache = AnswerCache()
    for _ in range(3):
        kept_answer(cache, "p", b"same", 100, 0.0)
    size = cache.size_bytes
    cache.clear()
    kept_answer(cache, "p", b"same", 100, 0.0)

    assert len(cache) == 1
    assert cache.size_bytes == size


@in_virtual_time
async def test_a_removed_targets_answers_do_not_stay() -> None:
    world, answering = world_of(answer("kept"), answer("anew"))
    await answering.execute(asking(), COLD, principal="p")
    world.router.adopt(Fleet((spec("a/m"), spec("b/n"))), world.router.configured.settings)
    answering.expire()
    held = len(answering.cache)

    assert held == 0
    assert said(await answering.execute(asking(), COLD, principal="p")) == "anew"


@in_virtual_time
async def test_other_rules_make_what_was_kept_void() -> None:
    world, answering = world_of(answer("kept"), answer("anew"))
    await answering.execute(asking(), COLD, principal="p")
    settings = world.router.configured.settings
    world.router.adopt(
        world.router.configured.fleet,
        dataclasses.replace(settings, routing=dataclasses.replace(settings.routing, policy_version="other")),
    )

    assert said(await answering.execute(asking(), COLD, principal="p")) == "anew"


@in_virtual_time
async def test_an_answer_that_was_under_way_when_the_fleet_changed_is_not_kept() -> None:
    world, answering = world_of(answer("old", first_after=5.0), answer("anew"))
    running = asyncio.ensure_future(answering.execute(asking(), COLD, principal="p"))
    stream = asyncio.ensure_future(streamed(answering, asking(), chat("x", temperature=0.0)))
    await asyncio.sleep(1.0)
    world.router.adopt(Fleet((spec("a/m"), spec("b/n"))), world.router.configured.settings)
    await running
    await stream

    assert len(answering.cache) == 0


@in_virtual_time
async def test_a_stream_fills_the_cache_and_is_answered_from_it() -> None:
    script: Script = [
        [text("some "), text("words")],
        [
            ToolCallDelta(part_index=1, id="1", name="look", arguments_fragment='{"a"'),
            SignatureDelta(part_index=1, signature="sig"),
        ],
        [ToolCallDelta(part_index=1, arguments_fragment=":1}")],
        [Finished(reason=FinishReason.TOOL_CALLS)],
    ]
    world, answering = world_of(script)
    await streamed(answering, asking())
    events = await streamed(answering, asking())
    unary = await answering.execute(asking(), COLD, principal="p")
    last = events[-1]
    deltas = [delta for event in events if isinstance(event, AttemptDeltas) for delta in event.deltas]

    assert len(world.names()) == 1
    assert isinstance(events[0], Decision)
    assert not any(isinstance(event, AttemptStarted) for event in events)
    assert words_of(deltas) == "some words"
    assert ToolCallDelta(part_index=1, id="1", name="look") in deltas
    assert ToolCallDelta(part_index=1, arguments_fragment='{"a":1}') in deltas
    assert SignatureDelta(part_index=1, signature="sig") in deltas
    assert isinstance(last, Completed)
    assert (last.cached, last.cost_nano_usd, last.attempts) == (True, 0, ())
    assert unary.cached
    assert unary.output.finish_reason is FinishReason.TOOL_CALLS
    assert unary.output.parts[1].origin_provider == "a"


@in_virtual_time
async def test_long_answers_come_in_pieces_that_any_caller_can_take() -> None:
    long = "x" * 300_000
    _, answering = world_of(answer(long))
    await answering.execute(asking(), COLD, principal="p")
    events = await streamed(answering, asking())
    sizes = [len(words_of(event.deltas)) for event in events if isinstance(event, AttemptDeltas)]

    assert deltas_of(events) == long
    assert max(sizes) <= 65_536


@in_virtual_time
async def test_only_the_last_beginning_of_a_restarted_stream_is_kept() -> None:
    world = World(
        {"a/m": [[[text("half")], fail(FailureKind.TRUNCATED)]], "b/n": [answer("whole")]},
        policy=Policy(cache=CacheSettings()),
    )
    answering = Answering(world.executor, world.router, clock=world.loop.clock)
    await streamed(answering, asking(mid_stream=MidStreamPolicy.RESTART))
    hit = await answering.execute(asking(), COLD, principal="p")

    assert hit.cached
    assert said(hit) == "whole"


@in_virtual_time
async def test_a_stream_that_broke_or_was_left_is_not_kept() -> None:
    _, answering = world_of([[text("half")], fail(FailureKind.TRUNCATED)], answer("fine"))
    with pytest.raises(Exception, match="broke"):
        await streamed(answering, asking())
    async with aclosing(answering.execute_stream(asking(), COLD, principal="p")) as events:
        async for event in events:
            if isinstance(event, AttemptDeltas):
                break

    assert len(answering.cache) == 0


@in_virtual_time
async def test_a_caller_who_leaves_with_the_last_event_leaves_the_answer_here() -> None:
    _, answering = world_of(answer("fine"))
    async with aclosing(answering.execute_stream(asking(), COLD, principal="p")) as events:
        async for event in events:
            if isinstance(event, Completed):
                break

    assert len(answering.cache) == 1


@in_virtual_time
async def test_hits_and_misses_are_counted_by_policy() -> None:
    _, answering = world_of(answer("kept"))
    for asked in (COLD, COLD, COLD, chat(temperature=1.0)):
        await answering.execute(asking(), asked, principal="p")

    assert dict(answering.cache.hit_counts) == {"default": 2}
    assert dict(answering.cache.miss_counts) == {"default": 1}


@in_virtual_time
async def test_a_callers_nonsense_is_told_though_an_answer_is_there() -> None:
    _, answering = world_of(answer("kept"))
    await answering.execute(asking(), COLD, principal="p")
    with pytest.raises(InvalidRequestError, match="min_availability"):
        await answering.execute(asking(min_availability=3.0), COLD, principal="p")


@in_virtual_time
async def test_a_policy_without_a_cache_keeps_nothing() -> None:
    world = World({"a/m": [answer("fine")]}, policy=Policy(cache=CacheSettings()))
    routing = world.router.configured.settings.routing
    plain = Policy(name="plain")
    world.router.adopt(
        world.router.configured.fleet,
        dataclasses.replace(
            world.router.configured.settings,
            routing=dataclasses.replace(routing, policies={**routing.policies, "plain": plain}),
        ),
    )
    answering = Answering(world.executor, world.router, clock=world.loop.clock)
    for _ in range(2):
        await answering.execute(RouteQuery(options=RoutingOptions(policy="plain")), COLD, principal="p")

    assert len(world.names()) == 2
    assert len(answering.cache) == 0


@in_virtual_time
async def test_a_request_with_an_id_is_answered_from_the_cache_as_well() -> None:
    world, answering = world_of(answer("kept"))
    await answering.execute(asking(), COLD, principal="p")
    hits = [
        await answering.execute(dataclasses.replace(asking(), request_id=name), COLD, principal="p")
        for name in ("one", "one", "two")
    ]
    events = await streamed(answering, dataclasses.replace(asking(), request_id="three"))

    assert [(hit.cached, hit.joined) for hit in hits] == [(True, False), (True, True), (True, False)]
    assert deltas_of(events) == "kept"
    assert len(world.names()) == 1


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["p", "q"]),
        st.integers(0, 5),
        st.integers(0, 6_000),
        st.integers(0, 40),
        st.sampled_from(["keep", "get", "expire"]),
    ),
    max_size=40,
)


async def all_steps(steps: list[tuple[str, int, int, int, str]]) -> None:
    cache = AnswerCache(max_bytes=300_000)
    known: dict[tuple[str, int], tuple[float, int]] = {}
    now, decision = 0.0, bare()
    for policy, number, size, later, step in steps:
        now += later
        if step == "keep":
            kept_answer(cache, policy, bytes([number]), size, now, decision=decision)
            # Larger ones are not kept, and what was kept before them stays.
            if 1_024 + 400 + size < cache.largest_bytes:
                known[policy, number] = (now, size)
        elif step == "get":
            found = cache.get(policy, bytes([number]), now)
            expected = known.get((policy, number))
            alive = expected is not None and expected[0] + 300.0 > now
            assert alive is (found is not None)
            assert found is None or expected is None or found.kept_at == expected[0]
        else:
            cache.expire(now)
            assert len(cache) == sum(at + 300.0 > now for at, _ in known.values())
        assert cache.size_bytes <= 300_000
        assert (cache.size_bytes == 0) == (len(cache) == 0)
    cache.expire(now + 300.0)

    assert len(cache) == cache.size_bytes == 0


@given(steps=STEPS)
def test_the_cache_knows_what_was_kept_until_its_time_is_over(steps: list[tuple[str, int, int, int, str]]) -> None:
    run(all_steps(steps))
