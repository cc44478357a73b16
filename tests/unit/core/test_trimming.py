"""What may be left out of a conversation: never what it is about, never a half of anything, the oldest first."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.core.chat import ChatInput, Message, Part, PartContent, Role, Text, ToolCall, ToolResult
from turnout_server.core.trimming import trim_plan, trimmed


def said(role: Role, *contents: PartContent) -> Message:
    return Message(role=role, parts=tuple(Part(content=content) for content in contents))


def system(words: str) -> Message:
    return said(Role.SYSTEM, Text(text=words))


def user(words: str) -> Message:
    return said(Role.USER, Text(text=words))


def model(words: str) -> Message:
    return said(Role.ASSISTANT, Text(text=words))


def call(*ids: str, arguments: str = "{}") -> Message:
    return said(Role.ASSISTANT, *(ToolCall(id=each, name="look", arguments_json=arguments) for each in ids))


def result(call_id: str, words: str = "found") -> Message:
    return said(Role.TOOL, ToolResult(tool_call_id=call_id, content=(Part(content=Text(text=words)),)))


def groups(*messages: Message) -> tuple[tuple[int, ...], ...]:
    return trim_plan(ChatInput(messages=messages)).groups


def test_exchanges_go_whole_and_the_oldest_first() -> None:
    found = groups(system("s"), user("a"), model("b"), user("c"), call("1"), result("1"), model("d"), user("e"))

    assert found == ((1, 2), (3, 4, 5, 6))


def test_what_stands_again_later_goes_before_all_that_does_not() -> None:
    plan = trim_plan(
        ChatInput(messages=(user("a"), model("b"), user("c"), model("d"), user("c"), model("d"), user("e")))
    )

    assert plan.groups == ((2, 3), (0, 1), (4, 5))
    assert plan.repeated_count == 1
    assert [plan.removed_messages(count) for count in range(4)] == [0, 2, 4, 6]
    assert [plan.repeated_messages(count) for count in range(4)] == [0, 2, 2, 2]


def test_a_question_asked_twice_with_another_answer_is_no_repetition() -> None:
    plan = trim_plan(ChatInput(messages=(user("a"), model("b"), user("a"), model("c"), user("e"))))

    assert plan.repeated_count == 0


def test_rounds_of_tools_behind_the_last_user_turn_go_but_for_the_last_one() -> None:
    found = groups(user("a"), call("1"), result("1"), call("2", "3"), result("2"), result("3"), call("4"), result("4"))

    assert found == ((1, 2), (3, 4, 5))


def test_results_read_twice_are_repeated_whatever_ids_their_calls_go_by() -> None:
    plan = trim_plan(
        ChatInput(
            messages=(
                user("a"),
                call("1", arguments="[1]"),
                result("1", "one"),
                call("2", arguments="[2]"),
                result("2", "two"),
                call("3", arguments="[2]"),
                result("3", "two"),
                call("4"),
                result("4"),
            )
        )
    )

    assert plan.groups == ((3, 4), (1, 2), (5, 6))
    assert plan.repeated_count == 1


def test_results_in_a_users_message_are_no_turn_of_the_user() -> None:
    of_user = said(Role.USER, ToolResult(tool_call_id="1", content=(Part(content=Text(text="found")),)))

    assert groups(user("a"), call("1"), of_user, call("2"), result("2")) == ((1, 2),)


def test_a_call_and_a_result_far_from_it_go_together_or_not_at_all() -> None:
    assert groups(user("a"), call("1"), user("b"), model("c"), user("d"), result("1"), model("x"), user("e")) == (
        (0, 1, 4, 5, 6),
        (2, 3),
    )
    assert groups(user("a"), call("1"), user("b"), model("c"), user("d"), result("1")) == ((2, 3),)


def test_a_result_belongs_to_the_last_call_of_its_id() -> None:
    assert groups(user("a"), call("0"), result("0"), user("b"), call("0"), result("0"), user("c")) == (
        (0, 1, 2),
        (3, 4, 5),
    )


def test_user_messages_in_a_row_are_one_turn() -> None:
    assert groups(user("a"), user("b"), model("c"), user("the document"), user("the question")) == ((0, 1, 2),)


def test_a_greeting_of_the_model_goes_first() -> None:
    assert groups(model("hi"), user("a"), model("b"), user("c")) == ((0,), (1, 2))


def test_the_beginning_of_an_answer_stays() -> None:
    assert groups(user("a"), model("b"), user("c"), model("I beg")) == ((0, 1),)


@pytest.mark.parametrize(
    "messages",
    [(), (system("s"),), (user("a"),), (system("s"), user("a"), user("b")), (model("a"), model("b"))],
    ids=["none", "system", "one", "one turn", "no user"],
)
def test_where_all_of_it_must_stay_there_is_nothing_to_leave_out(messages: tuple[Message, ...]) -> None:
    assert groups(*messages) == ()


WORDS = st.sampled_from(["a", "b", "c"])
IDS = st.sampled_from(["0", "1", "2"])
ROUND = st.builds(
    lambda ids, words: [call(*ids), *(result(each, words) for each in ids)],
    st.lists(IDS, min_size=1, max_size=2, unique=True),
    WORDS,
)
EXCHANGE = st.builds(
    lambda turn, rounds, answer: [*turn, *(message for each in rounds for message in each), *answer],
    st.lists(st.builds(user, WORDS), min_size=1, max_size=2),
    st.lists(ROUND, max_size=3),
    st.lists(st.builds(model, WORDS), min_size=1, max_size=1),
)
CONVERSATIONS = st.builds(
    lambda before, exchanges, asks, rounds: (
        *before,
        *(message for each in exchanges for message in each),
        user(asks),
        *(message for each in rounds for message in each),
    ),
    st.lists(st.builds(system, WORDS), max_size=2),
    st.lists(EXCHANGE, max_size=6),
    WORDS,
    st.lists(ROUND, max_size=4),
)
ANY_MESSAGES = st.lists(
    st.one_of(
        st.builds(system, WORDS),
        st.builds(user, WORDS),
        st.builds(model, WORDS),
        st.builds(call, IDS),
        st.builds(result, IDS, WORDS),
    ),
    max_size=14,
).map(tuple)


def speakers(messages: tuple[Message, ...]) -> list[bool]:
    """Who speaks, the model or not, system messages apart: what wires want to alternate."""
    return [message.role is Role.ASSISTANT for message in messages if message.role is not Role.SYSTEM]


def same_twice(messages: tuple[Message, ...]) -> int:
    """How often a model, or somebody who is not, speaks twice in a row."""
    who = speakers(messages)
    return sum(one == other for one, other in itertools.pairwise(who))


def unanswered(messages: tuple[Message, ...]) -> tuple[int, int]:
    """How many results have no call before them, and how many calls no result behind them."""
    open_calls: dict[str, int] = {}
    orphans = 0
    for message in messages:
        for part in message.parts:
            if isinstance(part.content, ToolCall):
                open_calls[part.content.id] = open_calls.get(part.content.id, 0) + 1
            elif isinstance(part.content, ToolResult):
                if open_calls.get(part.content.tool_call_id, 0):
                    open_calls[part.content.tool_call_id] -= 1
                else:
                    orphans += 1
    return orphans, sum(open_calls.values())


@given(messages=st.one_of(CONVERSATIONS, ANY_MESSAGES), data=st.data())
def test_what_a_conversation_is_about_stays_in_its_order(messages: tuple[Message, ...], data: st.DataObject) -> None:
    chat = ChatInput(messages=messages, temperature=0.5)
    plan = trim_plan(chat)
    count = data.draw(st.integers(0, len(plan.groups)))
    left = trimmed(chat, plan, count)
    places = [place for group in plan.groups for place in group]
    gone = {place for group in plan.groups[:count] for place in group}

    # Each message goes at most once, and what stays is what came, in its order.
    assert len(places) == len(set(places))
    assert left.messages == tuple(message for place, message in enumerate(messages) if place not in gone)
    assert plan.removed_messages(count) == len(messages) - len(left.messages)
    assert 0 <= plan.repeated_messages(count) <= plan.removed_messages(count)
    assert left.temperature == 0.5
    # System messages, the last turn of a user and the last message stay.
    assert [m for m in left.messages if m.role is Role.SYSTEM] == [m for m in messages if m.role is Role.SYSTEM]
    users = [place for place, message in enumerate(messages) if message.role is Role.USER]
    if users:
        assert users[-1] not in gone
    spoken = [place for place, message in enumerate(messages) if message.role is not Role.SYSTEM]
    if spoken:
        assert spoken[-1] not in gone


@given(messages=CONVERSATIONS, data=st.data())
def test_roles_alternate_and_calls_have_their_results_as_before(
    messages: tuple[Message, ...], data: st.DataObject
) -> None:
    chat = ChatInput(messages=messages)
    plan = trim_plan(chat)
    left = trimmed(chat, plan, data.draw(st.integers(0, len(plan.groups)))).messages
    roles = [message.role for message in left if message.role is not Role.SYSTEM]

    assert roles[0] is Role.USER
    assert same_twice(left) <= same_twice(messages)
    assert unanswered(left) == unanswered(messages) == (0, 0)


@given(messages=ANY_MESSAGES, data=st.data())
def test_no_result_is_left_without_the_call_that_it_had(messages: tuple[Message, ...], data: st.DataObject) -> None:
    chat = ChatInput(messages=messages)
    plan = trim_plan(chat)
    left = trimmed(chat, plan, data.draw(st.integers(0, len(plan.groups)))).messages
    orphans, _ = unanswered(left)

    assert orphans <= unanswered(messages)[0]


def steps_of(work: Callable[[], object]) -> int:
    """Counts the lines, calls and returns of Python that some work takes: the same on every machine."""
    count, usual = 0, sys.gettrace()

    def step(*_: object) -> Any:
        nonlocal count
        count += 1
        return step

    sys.settrace(step)
    try:
        work()
    finally:
        sys.settrace(usual)
    return count


def test_four_times_as_many_messages_take_four_times_as_many_steps() -> None:
    taken = []
    for count in (250, 1_000):
        rounds = [message for number in range(count) for message in (call(str(number)), result(str(number)))]
        turns = [message for number in range(count) for message in (user(str(number % 7)), model("x" * (number % 5)))]
        # These begin alike, and none is another's beginning.
        alike = [message for number in range(count) for message in (user("go on"), model(str(number)))]
        chats = ((user("a"), *rounds), (*turns, user("a")), (*alike, user("a")))

        assert [len(groups(*chat)) for chat in chats] == [count - 1, count, count]
        taken.append(steps_of(lambda: [groups(*chat) for chat in chats]))  # noqa: B023  # run now

    # Sixteen times as many where it compares all with all.
    assert taken[1] < 5 * taken[0]
