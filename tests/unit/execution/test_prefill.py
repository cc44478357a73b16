"""A conversation that ends with the assistant's turn, from target to target."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.execution.hedged import HEDGING, SLOW
from tests.unit.execution.scripted import Script, World, answer, asking, chat, fail, spec
from tests.virtual_time import in_virtual_time
from turnout_server.core.chat import ChatInput, Message, Part, Role, Text
from turnout_server.core.errors import AttemptsExhaustedError
from turnout_server.core.fleet import Prefill
from turnout_server.core.model import FailureKind
from turnout_server.core.settings import Policy

K = FailureKind
PREFILLED = ChatInput(
    messages=(*chat().messages, Message(role=Role.ASSISTANT, parts=(Part(content=Text(text="It is")),)))
)


def world(scripts: list[Script], *, second: Prefill, policy: Policy | None = None) -> World:
    """First `a/m`, of which nothing is known, then `b/m`, then `c/m`, which takes a prefill."""
    return World(
        {
            "a/m": scripts,
            replace(spec("b/m", 1), prefill=second): [answer("of b")],
            replace(spec("c/m", 2), prefill=Prefill.TAKEN): [answer("of c")],
        },
        policy=policy,
    )


@pytest.mark.parametrize("second", [Prefill.UNKNOWN, Prefill.REFUSED])
@pytest.mark.parametrize("failure", [K.SERVER_ERROR, K.OVERLOADED, K.TIMEOUT, K.PROTOCOL])
@in_virtual_time
async def test_hop_passes_over_whoever_may_refuse_it(second: Prefill, failure: FailureKind) -> None:
    played = world([[fail(failure)], [fail(failure)]], second=second)
    result = await played.executor.execute(asking(), PREFILLED)

    assert "c/m" == str(result.target)
    assert "b/m" not in played.names()


@in_virtual_time
async def test_hedge_passes_over_whoever_may_refuse_it() -> None:
    played = world([SLOW], second=Prefill.UNKNOWN, policy=HEDGING)
    await played.executor.execute(asking(), PREFILLED)

    assert ["a/m", "c/m"] == played.names()


@in_virtual_time
async def test_first_choice_of_which_nothing_is_known_is_asked_and_asked_again() -> None:
    played = World({"a/m": [[fail(K.PROTOCOL)], answer("of a")], "b/m": [answer("of b")]})
    result = await played.executor.execute(asking(), PREFILLED)

    assert "a/m" == str(result.target)
    assert ["a/m", "a/m"] == played.names()


@in_virtual_time
async def test_failure_of_the_first_choice_is_what_is_told_where_nobody_else_is_known_to_take_it() -> None:
    played = World({"a/m": [[fail(K.TIMEOUT)]], "b/m": [answer("of b")]})

    with pytest.raises(AttemptsExhaustedError) as caught:
        await played.executor.execute(asking(), PREFILLED)

    assert [K.TIMEOUT] == [attempt.failure for attempt in caught.value.report.attempts]
