"""The agent: tools are called and their results go back, through failures, and within its limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from examples.agent import TOOLS, Agent, LimitReachedError, OwnTool
from tests.examples.stage import Actor, stage
from turnout import Client
from turnout.v1 import router_pb2 as pb

pytestmark = pytest.mark.full


def kinds(agent: Agent) -> list[tuple[str, list[str | None]]]:
    return [
        (pb.Role.Name(message.role), [part.WhichOneof("content") for part in message.parts])
        for message in agent.work.messages
    ]


def test_it_calls_the_tools_and_answers(tmp_path: Path) -> None:
    with stage(tmp_path, north=Actor(wire="openai")) as running:
        ended = running.play("agent.py", "Please add two numbers")

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip()
    assert "step 1: north/m" in ended.stderr
    assert "  add({" in ended.stderr
    assert "step 2: north/m" in ended.stderr


def test_results_of_one_turn_go_back_together_and_signatures_with_the_calls(tmp_path: Path) -> None:
    # A simulated Gemini refuses a tool call of the turn that comes back without its signature.
    with stage(tmp_path, star=Actor(wire="gemini")) as running, Client(running.address) as client:
        agent = Agent(client, TOOLS)

        answer = agent.run("Use add and count_words")

    assert answer
    assert kinds(agent)[1:] == [
        ("ROLE_ASSISTANT", ["tool_call", "tool_call"]),
        ("ROLE_TOOL", ["tool_result", "tool_result"]),
        ("ROLE_ASSISTANT", ["text"]),
    ]
    asked, results = agent.work.messages[1], agent.work.messages[2]
    assert [part.tool_result.tool_call_id for part in results.parts] == [part.tool_call.id for part in asked.parts]
    assert asked.parts[0].signature
    assert asked.parts[0].origin_provider == "star"
    assert agent.work.cost_usd > 0


def test_a_provider_that_fails_in_the_middle_is_left_and_the_work_goes_on(tmp_path: Path) -> None:
    with (
        stage(tmp_path, star=Actor(wire="gemini"), south=Actor(wire="anthropic")) as running,
        Client(running.address) as client,
    ):

        def break_star(**_: Any) -> str:
            running.change("star", fault={"kind": "error", "status": 503})
            return "done"

        schema = {"type": "object", "properties": {}}
        agent = Agent(client, [OwnTool(name="work", description="Works.", schema=schema, function=break_star)])

        answer = agent.run("Please work")

    assert answer
    assert agent.work.targets == ["star/m", "south/m"]


def test_a_tool_that_fails_is_told_to_the_model(tmp_path: Path) -> None:
    def fail(**_: Any) -> str:
        raise ZeroDivisionError("nothing to divide by")

    schema = {"type": "object", "properties": {}}
    with stage(tmp_path, north=Actor(wire="openai")) as running, Client(running.address) as client:
        agent = Agent(client, [OwnTool(name="divide", description="Divides.", schema=schema, function=fail)])
        agent.run("Please divide")

    result = agent.work.messages[2].parts[0].tool_result
    assert result.is_error
    assert result.content[0].text == "ZeroDivisionError: nothing to divide by"


def test_it_stops_at_its_limit_of_steps(tmp_path: Path) -> None:
    with stage(tmp_path, north=Actor(wire="openai")) as running:
        ended = running.play("agent.py", "Please add two numbers", "--steps", "1")
        count = running.request_count("north")

    assert ended.returncode == 1
    assert "no answer after 1 steps" in ended.stderr
    assert count == 1


def test_it_stops_at_its_limit_of_money(tmp_path: Path) -> None:
    with stage(tmp_path, north=Actor(wire="openai", price=1000.0)) as running, Client(running.address) as client:
        too_dear = running.play("agent.py", "Please add two numbers", "--usd", "0.000001")
        count = running.request_count("north")
        agent = Agent(client, TOOLS, cost_limit_usd=1000.0)
        agent.run("Please add two numbers")
        # So much that one step fits and the next does not.
        agent = Agent(client, TOOLS, cost_limit_usd=agent.work.cost_usd)
        agent.work.cost_usd = agent._cost_limit_usd
        with pytest.raises(LimitReachedError, match="are spent"):
            agent._step("s")

    assert too_dear.returncode == 1
    assert "NO_ELIGIBLE_TARGET" in too_dear.stderr
    assert count == 0
