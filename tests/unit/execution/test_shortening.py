"""Prompts that no target can take are sent without their old turns, where the policy allows it; that is reported."""

from __future__ import annotations

import dataclasses

import pytest

from tests.unit.core.budgets import budget
from tests.unit.execution.scripted import World, answer, asking, fail, spec
from tests.virtual_time import in_virtual_time
from turnout_server.core.call import Completed
from turnout_server.core.chat import ChatInput, Media, MediaKind, Message, Part, Role, Text
from turnout_server.core.errors import (
    AllTargetsUnavailableError,
    AttemptsExhaustedError,
    BudgetExhaustedError,
    NoEligibleTargetError,
)
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.model import Caller, Capability, FailureKind, RouteQuery, Strategy
from turnout_server.core.settings import CacheSettings, Limits, Policy
from turnout_server.core.trimming import TrimReport
from turnout_server.execution.answering import Answering

TRIMS = Policy(trim=True)


def small(name: str, window: int) -> TargetSpec:
    return spec(name, context_window_tokens=window)


def said(role: Role, words: str) -> Message:
    return Message(role=role, parts=(Part(content=Text(text=words)),))


def conversation(turns: int, words: int = 2_000) -> ChatInput:
    """A system message, exchanges of `words` letters each, and a question; a letter is a quarter of a token."""
    messages = [said(Role.SYSTEM, "be kind")]
    for number in range(turns):
        messages += [
            said(Role.USER, f"{number:04}" + "x" * (words // 2 - 4)),
            said(Role.ASSISTANT, f"{number:04}" + "y" * (words // 2 - 4)),
        ]
    return ChatInput(messages=(*messages, said(Role.USER, "and now?")), max_output_tokens=100)


def sent(world: World) -> list[int]:
    """How many messages each attempt was sent."""
    return [len(played.call.chat.messages) for played in world.upstream.played]


@in_virtual_time
async def test_as_few_turns_as_will_do_are_left_out_and_reported() -> None:
    # An exchange is 500 tokens: of a window of 2,200 with 100 for the answer, four and a twentieth fit no more.
    world = World({small("a/m", 2_200): [answer("fine")]}, policy=TRIMS)
    result = await world.executor.execute(asking(), conversation(10))

    assert sent(world) == [1 + 2 * 3 + 1]
    assert world.upstream.played[0].call.chat.messages[1].parts[0].content == Text(text="0007" + "x" * 996)
    assert result.notices is not None
    assert result.notices.trimming == TrimReport(
        removed_messages=14,
        repeated_messages=0,
        tokens_before=5_004,
        tokens_after=1_504,
        reason="longer than the window of every target that can be used",
    )
    assert result.decision.input_tokens == 1_504


@in_virtual_time
async def test_a_stream_reports_it_with_its_end() -> None:
    world = World({small("a/m", 2_200): [answer("fine")]}, policy=TRIMS)
    events = await world.stream(chat=conversation(10))
    last = events[-1]

    assert isinstance(last, Completed)
    assert last.notices is not None
    assert last.notices.trimming is not None
    assert last.notices.trimming.removed_messages == 14


@in_virtual_time
async def test_a_prompt_that_fits_is_sent_whole_and_decided_once() -> None:
    world = World({small("a/m", 6_000): [answer("fine")]}, policy=TRIMS)
    result = await world.executor.execute(asking(), conversation(10))

    assert sent(world) == [22]
    assert result.notices is None
    assert len(world.instruments.decisions) == 1


@in_virtual_time
async def test_a_prompt_that_is_short_for_every_target_is_not_looked_at() -> None:
    world = World({"a/m": [answer("fine")], small("b/n", 12_000): [answer("no")]}, policy=TRIMS)
    short = await world.executor.execute(asking(), conversation(2))
    # Two tokens a byte are the most that any text makes.
    longer = await world.executor.execute(asking(), conversation(3))

    # Each decision takes an id, the ones that are looked at beforehand too.
    numbers = [int(each.decision.decision_id.removeprefix("id-")) for each in (short, longer)]
    of_attempts = [int(each.attempts[0].attempt_id.removeprefix("id-")) for each in (short, longer)]
    assert numbers[0] == 0
    assert of_attempts[1] - numbers[1] == of_attempts[0] - numbers[0]
    assert numbers[1] - of_attempts[0] == 3
    assert sent(world) == [6, 8]


@in_virtual_time
async def test_a_prompt_that_fits_the_largest_of_several_is_sent_there_whole() -> None:
    world = World({small("a/m", 2_200): [answer("no")], small("b/n", 6_000): [answer("fine")]}, policy=TRIMS)
    await world.executor.execute(asking(), conversation(10))

    assert world.names() == ["b/n"]
    assert sent(world) == [22]


@in_virtual_time
async def test_it_is_shortened_to_the_largest_window_that_can_be_used() -> None:
    world = World({small("a/m", 1_200): [answer("no")], small("b/n", 2_200): [answer("fine")]}, policy=TRIMS)
    await world.executor.execute(asking(), conversation(10))

    assert world.names() == ["b/n"]
    assert sent(world) == [8]


@in_virtual_time
async def test_without_leave_it_is_refused_as_too_long() -> None:
    world = World({small("a/m", 2_200): [answer("fine")]})
    with pytest.raises(NoEligibleTargetError, match="CONTEXT_WINDOW"):
        await world.executor.execute(asking(), conversation(10))

    assert world.names() == []


@in_virtual_time
async def test_what_cannot_be_made_to_fit_is_refused_as_it_came() -> None:
    world = World({small("a/m", 2_200): [answer("fine")]}, policy=TRIMS)
    long = ChatInput(messages=(*conversation(2).messages[:-1], said(Role.USER, "x" * 40_000)))
    with pytest.raises(NoEligibleTargetError) as caught:
        await world.executor.execute(asking(), long)

    assert "needs a window of 11" in caught.value.rejections[0].detail
    # One decision is kept: the one that refused it.
    assert len(world.router.state.history) == 1


@in_virtual_time
async def test_the_margin_is_given_up_where_nothing_else_can_be_spared() -> None:
    # One exchange and the question: 4 + 500 tokens. Without the exchange 1,004 + 100 are needed, of 1,110.
    question = said(Role.USER, "z" * 4_000)
    world = World({small("a/m", 1_110): [answer("fine")]}, policy=TRIMS)
    asked = ChatInput(messages=(*conversation(1).messages[:-1], question), max_output_tokens=100)
    await world.executor.execute(asking(), asked)

    assert sent(world) == [2]


@pytest.mark.parametrize("whose", ["request", "policy", "tier"])
@in_virtual_time
async def test_it_is_shortened_to_a_cost_limit(whose: str) -> None:
    # At worst 1,500 tokens of input cost 0.0019 USD, 2,000 of them 0.0026, and the answer of 100 tokens 0.0002.
    limit = 0.0025
    policy = dataclasses.replace(TRIMS, limits=Limits(max_cost_usd=limit)) if whose == "policy" else TRIMS
    world = World({"a/m": [answer("fine")]}, policy=policy)
    query = asking(max_cost_usd=limit) if whose == "request" else asking()
    if whose == "tier":
        settings = world.router.configured.settings
        world.router.adopt(
            world.fleet,
            dataclasses.replace(settings, routing=dataclasses.replace(settings.routing, tiers={"free": limit})),
        )
        query = RouteQuery(caller=Caller(tier="free"))
    result = await world.executor.execute(query, conversation(10))

    assert sent(world) == [8]
    assert result.notices is not None
    assert result.notices.trimming is not None
    assert result.notices.trimming.reason == "dearer than the cost limit at every target that can be used"
    assert result.cost_nano_usd is not None


@in_virtual_time
async def test_a_budget_that_is_used_up_shortens_nothing() -> None:
    world = World({"a/m": [answer("fine")]}, policy=TRIMS, budgets=(budget(limit=2_500_000),))
    with pytest.raises(BudgetExhaustedError):
        await world.executor.execute(asking(), conversation(10))


@in_virtual_time
async def test_a_target_that_is_only_too_small_serves_while_the_large_one_cannot_be_used() -> None:
    world = World({small("a/m", 9_000): [answer("no")], small("b/n", 2_200): [answer("fine")]}, policy=TRIMS)
    world.router.state.targets[0].drained = True
    await world.executor.execute(asking(), conversation(10))

    assert world.names() == ["b/n"]
    assert sent(world) == [8]


@in_virtual_time
async def test_nothing_is_left_out_where_length_is_not_what_is_in_the_way() -> None:
    world = World({small("a/m", 9_000): [answer("no")]}, policy=TRIMS)
    world.router.state.targets[0].drained = True
    with pytest.raises(AllTargetsUnavailableError):
        await world.executor.execute(asking(max_cost_usd=1.0), conversation(10))


@in_virtual_time
async def test_a_fallback_must_hold_what_was_sent_first() -> None:
    world = World(
        {small("a/m", 2_200): [[fail(FailureKind.OVERLOADED)]], small("b/n", 1_200): [answer("no")]}, policy=TRIMS
    )
    with pytest.raises(AttemptsExhaustedError) as caught:
        await world.executor.execute(asking(), conversation(10))

    assert set(world.names()) == {"a/m"}
    assert any(str(each.target) == "b/n" for each in caught.value.report.rejections)


@in_virtual_time
async def test_a_fallback_that_holds_it_gets_the_same_prompt() -> None:
    world = World(
        {small("a/m", 2_200): [[fail(FailureKind.OVERLOADED)]], small("b/n", 2_200): [answer("fine")]}, policy=TRIMS
    )
    result = await world.executor.execute(asking(), conversation(10))

    assert world.names() == ["a/m", "b/n"]
    assert sent(world) == [8, 8]
    assert len(result.attempts) == 2


@in_virtual_time
async def test_what_only_an_old_turn_needed_is_needed_no_more() -> None:
    image = Media(kind=MediaKind.IMAGE, media_type="image/png", data=b"x")
    blind = spec("a/m", context_window_tokens=1_200, capabilities=frozenset({Capability.STREAMING}))
    seeing = small("b/n", 800)
    old = Message(role=Role.USER, parts=(Part(content=image), Part(content=Text(text="what is it?"))))
    asked = ChatInput(
        messages=(old, said(Role.ASSISTANT, "a cat"), *conversation(1).messages[1:]), max_output_tokens=100
    )
    world = World({blind: [answer("fine")], seeing: [answer("fine")]}, policy=TRIMS)
    await world.executor.execute(asking(), asked)

    # The one that sees could do with less of it; the one that does not is preferred, and can take the rest.
    assert world.names() == ["a/m"]
    assert sent(world) == [3]


@in_virtual_time
async def test_learned_tokens_count() -> None:
    world = World({small("a/m", 1_400): [answer("fine")]}, policy=TRIMS)
    for _ in range(20):
        world.router.state.token_ratios.observe("a", "m", byte_count=10_000, input_tokens=5_000)
    result = await world.executor.execute(asking(), conversation(10))

    assert sent(world) == [4]
    assert result.notices is not None
    assert result.notices.trimming is not None
    assert result.notices.trimming.tokens_before == pytest.approx(10_008, rel=0.05)


@in_virtual_time
async def test_shortening_takes_nobody_elses_turn_and_tells_nobody() -> None:
    world = World({small("a/m", 2_200): [answer("fine")]}, policy=TRIMS)
    settings = world.router.configured.settings
    policies = {"default": dataclasses.replace(TRIMS, strategy=Strategy.ROUND_ROBIN)}
    world.router.adopt(
        world.fleet,
        dataclasses.replace(settings, routing=dataclasses.replace(settings.routing, policies=policies)),
    )
    await world.executor.execute(asking(), conversation(10))

    assert len(world.instruments.decisions) == 1
    assert len(world.router.state.history) == 1
    assert world.router.deciding._turn == 1


@in_virtual_time
async def test_the_answer_to_a_shortened_prompt_is_not_kept() -> None:
    policy = dataclasses.replace(TRIMS, cache=CacheSettings(any_temperature=True))
    world = World({small("a/m", 2_200): [answer("fine")]}, policy=policy)
    answering = Answering(world.executor, world.router, clock=world.loop.clock)
    for _ in range(2):
        await answering.execute(asking(), conversation(10), principal="p")

    assert len(answering.cache) == 0
    assert len(world.names()) == 2
