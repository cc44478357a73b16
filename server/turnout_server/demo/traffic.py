"""The application of the demonstration: mixed requests, by Route with its own call, by Execute and by ExecuteStream."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import httpx

from turnout import AsyncClient, TurnoutError, target_name
from turnout.answer import Answer
from turnout.v1 import router_pb2 as pb
from turnout_server.demo.caller import OwnCaller
from turnout_server.demo.record import Act, Mode, RequestRecord, SeenAttempt
from turnout_server.demo.scene import Scene
from turnout_server.demo.show import choice_text
from turnout_server.demo.watch import failure_name

_TIMEOUT_SECONDS = 15.0
_MAX_OUTPUT_TOKENS = 200
_BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A kind of request; `weight` is how often it comes."""

    name: str
    prompt: str
    weight: float
    strategy: pb.Strategy.ValueType = pb.STRATEGY_UNSPECIFIED
    priority: pb.Priority.ValueType = pb.PRIORITY_NORMAL
    task: str = ""

    def options(self) -> pb.RoutingOptions:
        """Returns what is asked of the decision."""
        return pb.RoutingOptions(
            strategy=self.strategy, priority=self.priority, mid_stream=pb.MID_STREAM_POLICY_RESTART
        )


ASKS = (
    Ask(name="chat", prompt="What is a turnout, in one sentence?", weight=5),
    Ask(
        name="summary",
        prompt="Summarise the night report of the yard in three lines. " * 6,
        weight=2,
        strategy=pb.STRATEGY_COST,
    ),
    Ask(
        name="autocomplete",
        prompt="def throw_switch(position):",
        weight=2,
        strategy=pb.STRATEGY_LATENCY,
        priority=pb.PRIORITY_HIGH,
    ),
    Ask(
        name="review",
        prompt="Review this change and list what could break:\n```python\nsignal.set(track, aspect)\n```\n" * 3,
        weight=2,
        strategy=pb.STRATEGY_QUALITY,
        task="code_review",
    ),
)


@dataclass(slots=True, kw_only=True)
class Traffic:
    """Sends requests at a steady rate until told to stop; every request ends as one record given to `on_record`."""

    client: AsyncClient
    http: httpx.AsyncClient
    scene: Scene
    clock: Callable[[], float]
    act: Callable[[], Act]
    on_record: Callable[[RequestRecord], None]
    rng: random.Random
    per_second: float = 8.0
    _count: int = field(default=0, init=False)

    async def run(self, stop: asyncio.Event) -> None:
        """Sends requests until `stop` is set, then waits for those still running."""
        modes = list(Mode)
        async with asyncio.TaskGroup() as running:
            while not stop.is_set():
                mode = modes[self._count % len(modes)]
                ask = self.rng.choices(ASKS, [ask.weight for ask in ASKS])[0]
                self._count += 1
                running.create_task(self._one(self._count, mode, ask))
                await asyncio.sleep(self.rng.uniform(0.5, 1.5) / self.per_second)

    async def _one(self, number: int, mode: Mode, ask: Ask) -> None:
        began = self.clock()
        blank = RequestRecord(
            number=number, at_seconds=began, act=self.act(), mode=mode, ask=ask.name, latency_seconds=0.0
        )
        try:
            if mode is Mode.ADVISE:
                record = await self._advise(blank, ask, streamed=number % 2 == 0)
            elif mode is Mode.EXECUTE:
                record = await self._execute(blank, ask)
            else:
                record = await self._stream(blank, ask)
        except (TurnoutError, httpx.HTTPError) as error:
            record = _failed(blank, error)
        self.on_record(replace(record, latency_seconds=self.clock() - began))

    async def _execute(self, blank: RequestRecord, ask: Ask) -> RequestRecord:
        answer = await self.client.execute(
            ask.prompt,
            task=ask.task,
            options=ask.options(),
            max_output_tokens=_MAX_OUTPUT_TOKENS,
            timeout_seconds=_TIMEOUT_SECONDS,
        )
        return _answered(blank, answer)

    async def _stream(self, blank: RequestRecord, ask: Ask) -> RequestRecord:
        stream = self.client.stream(
            ask.prompt,
            task=ask.task,
            options=ask.options(),
            max_output_tokens=_MAX_OUTPUT_TOKENS,
            timeout_seconds=_TIMEOUT_SECONDS,
        )
        restarts = 0
        async for event in stream:
            restarts += event.WhichOneof("event") == "restart"
        return replace(_answered(blank, await stream.answer()), restart_count=restarts)

    async def _advise(self, blank: RequestRecord, ask: Ask, *, streamed: bool) -> RequestRecord:
        plan = await self.client.plan(
            task=ask.task,
            options=ask.options(),
            input_tokens=len(ask.prompt) // _BYTES_PER_TOKEN,
            max_output_tokens=_MAX_OUTPUT_TOKENS,
        )
        caller = OwnCaller(self.http, self.scene)
        record = _decided(blank, plan.decision)
        seen: list[SeenAttempt] = []
        for attempt in plan:
            with attempt:
                answer = await caller.call(attempt, ask.prompt, streamed=streamed)
                if answer.complete:
                    cost = self.scene.cost_usd(
                        attempt.provider, attempt.model, answer.input_tokens, answer.output_tokens
                    )
                    attempt.outcome.cost_usd = cost
                    record = replace(
                        record,
                        target=attempt.target,
                        input_tokens=answer.input_tokens,
                        output_tokens=answer.output_tokens,
                        cost_usd=cost,
                        probe=bool(attempt.candidate.probe.probe_id),
                    )
            failure = "" if attempt.succeeded else failure_name(attempt.outcome.failure)
            seen.append(SeenAttempt(target=attempt.target, failure=failure))
        return replace(record, attempts=tuple(seen))


def _decided(blank: RequestRecord, decision: pb.Decision) -> RequestRecord:
    return replace(blank, reason=decision.reason, choice=choice_text(decision), decision_id=decision.decision_id)


def _answered(blank: RequestRecord, answer: Answer) -> RequestRecord:
    costs = [attempt.cost_usd for attempt in answer.attempts if attempt.HasField("cost_usd")]
    return replace(
        _decided(blank, answer.decision),
        target=target_name(answer.target),
        attempts=_seen(answer.attempts),
        input_tokens=answer.usage.input_tokens if answer.usage else 0,
        output_tokens=answer.usage.output_tokens if answer.usage else 0,
        cost_usd=sum(costs) if costs else None,
    )


def _failed(blank: RequestRecord, error: Exception) -> RequestRecord:
    attempts = error.attempts if isinstance(error, TurnoutError) else ()
    decision_id = error.decision_id if isinstance(error, TurnoutError) else ""
    text = str(error) or type(error).__name__
    return replace(blank, error=text, attempts=_seen(attempts), decision_id=decision_id)


def _seen(attempts: tuple[pb.Attempt, ...]) -> tuple[SeenAttempt, ...]:
    return tuple(
        SeenAttempt(target=target_name(attempt.target), failure="" if attempt.ok else failure_name(attempt.failure))
        for attempt in attempts
    )
