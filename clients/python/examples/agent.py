"""An agent: a model works with tools until it has an answer, within a number of steps and an amount of money.

    python agent.py "Please add 3 and 7, then tell me about it"

Each step is one call through the sidecar, so a provider may fail in the middle and the next one goes on. The turns go
back as they came (`answer.message`): what a provider wants back unchanged, such as the signatures of its thinking,
stays in them, and the sidecar leaves it out for another provider. The sidecar is found as every client finds it:
TURNOUT_ADDRESS, else 127.0.0.1:50151. Exit codes: 0 an answer, 1 failure, or a limit was reached, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import turnout
from turnout.v1 import router_pb2 as pb

STEP_LIMIT = 8
COST_LIMIT_USD = 0.05
MAX_OUTPUT_TOKENS = 1000
STEP_TIMEOUT_SECONDS = 60.0


class LimitReachedError(Exception):
    """The agent had not finished when its steps or its money were used up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTool:
    """A function of ours that the model may call: `schema` is the JSON schema of its arguments, an object."""

    name: str
    description: str
    schema: Mapping[str, Any]
    function: Callable[..., Any]

    def offered(self) -> pb.Tool:
        """Returns the tool as the model is told of it."""
        return pb.Tool(
            name=self.name, description=self.description, parameters_json_schema=json.dumps(dict(self.schema))
        )


@dataclass(slots=True)
class Work:
    """What an agent has done so far."""

    messages: list[pb.Message] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    """Who answered each step."""
    tool_calls: list[str] = field(default_factory=list)
    cost_usd: float = 0.0


class Agent:
    """Runs the loop. `tell` is called with a line for everything that happens."""

    def __init__(
        self,
        client: turnout.Client,
        tools: Sequence[OwnTool],
        *,
        step_limit: int = STEP_LIMIT,
        cost_limit_usd: float = COST_LIMIT_USD,
        tell: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._client = client
        self._tools = {tool.name: tool for tool in tools}
        self._step_limit = step_limit
        self._cost_limit_usd = cost_limit_usd
        self._tell = tell
        self.work = Work()

    def run(self, prompt: str) -> str:
        """Returns the model's answer. Raises LimitReachedError, and TurnoutError where no provider answers."""
        work = self.work = Work(messages=[turnout.message("user", prompt)])
        # Steps of one session stay where their prompt is cached, as long as that target is well.
        session_id = str(uuid.uuid4())
        for step in range(1, self._step_limit + 1):
            answer = self._step(session_id)
            work.messages.append(answer.message)
            work.targets.append(turnout.target_name(answer.target))
            self._tell(f"step {step}: {work.targets[-1]}, ${work.cost_usd:.6f} so far")
            if answer.finish_reason != pb.FINISH_REASON_TOOL_CALLS:
                return answer.text
            # All results of one turn go back together, in the order of the calls.
            results = [pb.Part(tool_result=self._result(call)) for call in answer.tool_calls]
            work.messages.append(turnout.message("tool", results))
        msg = f"no answer after {self._step_limit} steps"
        raise LimitReachedError(msg)

    def _step(self, session_id: str) -> turnout.Answer:
        left = self._cost_limit_usd - self.work.cost_usd
        if left <= 0:
            msg = f"${self.work.cost_usd:.6f} of ${self._cost_limit_usd:.6f} are spent, and there is no answer yet"
            raise LimitReachedError(msg)
        answer = self._client.execute(
            self.work.messages,
            task="planning",
            tools=[tool.offered() for tool in self._tools.values()],
            max_output_tokens=MAX_OUTPUT_TOKENS,
            # What a step is expected to cost must be left; targets without a price are not used at all.
            options=pb.RoutingOptions(max_cost_usd=left),
            session_id=session_id,
            timeout_seconds=STEP_TIMEOUT_SECONDS,
        )
        # Attempts that failed may have cost something as well.
        self.work.cost_usd += sum(attempt.cost_usd for attempt in answer.attempts if attempt.HasField("cost_usd"))
        return answer

    def _result(self, call: pb.ToolCall) -> pb.ToolResult:
        """Calls one tool. What goes wrong is told to the model, which may try otherwise."""
        said, failed = self._called(call)
        self.work.tool_calls.append(f"{call.name}({call.arguments_json})")
        self._tell(f"  {call.name}({call.arguments_json}): {said}")
        return pb.ToolResult(tool_call_id=call.id, name=call.name, content=[pb.Part(text=said)], is_error=failed)

    def _called(self, call: pb.ToolCall) -> tuple[str, bool]:
        tool = self._tools.get(call.name)
        if tool is None:
            return f"there is no tool {call.name!r}; there are {', '.join(self._tools)}", True
        try:
            arguments = json.loads(call.arguments_json or "{}")
            return json.dumps(tool.function(**arguments)), False
        except Exception as error:  # noqa: BLE001 - whatever a tool does, the loop goes on
            return f"{type(error).__name__}: {error}", True


def add(a: float, b: float) -> float:
    """Adds two numbers."""
    return a + b


def count_words(text: str) -> int:
    """Counts the words of a text."""
    return len(text.split())


NUMBER = {"type": "number"}
TOOLS = (
    OwnTool(
        name="add",
        description="Adds two numbers.",
        schema={"type": "object", "properties": {"a": NUMBER, "b": NUMBER}, "required": ["a", "b"]},
        function=add,
    ),
    OwnTool(
        name="count_words",
        description="Counts the words of a text.",
        schema={"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
        function=count_words,
    ),
)


def main() -> int:
    """Runs the agent for one prompt."""
    parser = argparse.ArgumentParser(prog="agent", description=__doc__)
    parser.add_argument("prompt")
    parser.add_argument("--steps", type=int, default=STEP_LIMIT, help="most steps (%(default)s)")
    parser.add_argument("--usd", type=float, default=COST_LIMIT_USD, help="most that it may cost (%(default)s)")
    given = parser.parse_args()
    try:
        with turnout.Client() as client:
            agent = Agent(
                client,
                TOOLS,
                step_limit=given.steps,
                cost_limit_usd=given.usd,
                tell=lambda line: sys.stderr.write(line + "\n"),
            )
            sys.stdout.write(agent.run(given.prompt) + "\n")
    except ValueError as error:
        sys.stderr.write(f"agent: {error}\n")
        return 2
    except (turnout.TurnoutError, LimitReachedError) as error:
        sys.stderr.write(f"agent: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
