"""A provider that follows a script, and a whole router and executor around it, in virtual time."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import pytest

from tests.virtual_time import virtual_loop
from turnout_server.core.budget import BudgetSpec
from turnout_server.core.call import AttemptRecord, CallEvent
from turnout_server.core.chat import (
    ChatInput,
    Delta,
    Finished,
    Lifecycle,
    Message,
    Part,
    ReasoningDelta,
    ResponseStarted,
    Role,
    Text,
    TextDelta,
    UsageReported,
)
from turnout_server.core.comparison import Comparison
from turnout_server.core.decision import Decision
from turnout_server.core.events import Event
from turnout_server.core.fleet import Fleet, Price, TargetSpec
from turnout_server.core.hedging import HedgeResult
from turnout_server.core.model import (
    Capability,
    FailureKind,
    FinishReason,
    RouteQuery,
    RoutingOptions,
    Strategy,
    Target,
    Usage,
)
from turnout_server.core.settings import FailoverSettings, Policy, RoutingSettings, Settings
from turnout_server.execution.executor import Executor
from turnout_server.execution.waits import Waits, waits_of_call
from turnout_server.ports import ResponseHead, UpstreamCall, UpstreamError, UpstreamEvent
from turnout_server.router import Router

SILENCE = math.inf
"""A step of a script: nothing, for ever."""
PRICE = Price(input_per_million=1_000_000_000, output_per_million=2_000_000_000)
"""1 USD and 2 USD a million tokens: 1,000 and 2,000 nano-USD a token."""

Step = float | UpstreamError | Sequence[UpstreamEvent]
Script = Sequence[Step]

HEAD = ResponseHead(http_status=200)
PING = Lifecycle()


def text(words: str, part_index: int = 0) -> TextDelta:
    return TextDelta(part_index=part_index, text=words)


def thought(words: str) -> ReasoningDelta:
    return ReasoningDelta(part_index=0, text=words)


def answer(*words: str, usage: Usage | None = None, first_after: float = 0.5) -> list[Step]:
    """A complete stream: one read per word, its proper end, and usage where given."""
    end: list[UpstreamEvent] = [Finished(reason=FinishReason.STOP)]
    if usage is not None:
        end.append(UsageReported(usage=usage))
    started = ResponseStarted(model="served-model", response_id="response-1")
    return [first_after, [HEAD, started], *([text(word)] for word in words), end]


def fail(kind: FailureKind, **facts: object) -> UpstreamError:
    return UpstreamError(kind, "as the script says", **facts)  # type: ignore[arg-type]  # tests name what they need


def refused(kind: FailureKind = FailureKind.RATE_LIMITED, **facts: object) -> UpstreamError:
    """A failure that cannot have been billed."""
    return fail(kind, possibly_billed=False, **facts)


@dataclass(kw_only=True)
class Played:
    """One call that a provider got."""

    call: UpstreamCall
    streaming: bool
    began_at: float
    closed_at: float | None = None

    @property
    def name(self) -> str:
        return str(self.call.spec.target)


@dataclass(kw_only=True)
class ScriptedUpstream:
    """Plays the scripts of a target in order, one per call; the last one repeats."""

    scripts: dict[str, list[Script]] = field(default_factory=dict)
    played: list[Played] = field(default_factory=list)
    pulled: int = 0
    closed_at: float | None = None

    async def stream(self, call: UpstreamCall) -> AsyncGenerator[Sequence[UpstreamEvent]]:
        played = self._played(call, streaming=True)
        try:
            for step in self._script(call):
                match step:
                    case float():
                        await _pause(step)
                    case UpstreamError():
                        raise step
                    case _:
                        self.pulled += 1
                        yield step
        finally:
            played.closed_at = virtual_loop().time()

    async def complete(self, call: UpstreamCall) -> Sequence[UpstreamEvent]:
        played = self._played(call, streaming=False)
        events: list[UpstreamEvent] = []
        try:
            for step in self._script(call):
                match step:
                    case float():
                        await _pause(step)
                    case UpstreamError():
                        raise step
                    case _:
                        events += step
        finally:
            played.closed_at = virtual_loop().time()
        return events

    async def aclose(self) -> None:
        self.closed_at = virtual_loop().time()

    def names(self) -> list[str]:
        return [played.name for played in self.played]

    def _played(self, call: UpstreamCall, *, streaming: bool) -> Played:
        played = Played(call=call, streaming=streaming, began_at=virtual_loop().time())
        self.played.append(played)
        return played

    def _script(self, call: UpstreamCall) -> Script:
        scripts = self.scripts[str(call.spec.target)]
        return scripts.pop(0) if len(scripts) > 1 else scripts[0]


async def _pause(seconds: float) -> None:
    if math.isinf(seconds):
        await asyncio.get_running_loop().create_future()
    await asyncio.sleep(seconds)


class Instruments:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.decisions: list[Decision] = []
        self.attempts: list[AttemptRecord] = []
        self.failovers: list[tuple[str, str, FailureKind]] = []
        self.hedges: list[tuple[str, HedgeResult]] = []
        self.comparisons: list[Comparison] = []
        self.outcomes: list[str] = []

    def decision(self, decision: Decision) -> None:
        self.decisions.append(decision)

    def attempt(self, record: AttemptRecord) -> None:
        self.attempts.append(record)

    def failover(self, from_target: Target, to_target: Target, failure: FailureKind) -> None:
        self.failovers.append((str(from_target), str(to_target), failure))

    def hedge(self, target: Target, result: HedgeResult) -> None:
        self.hedges.append((str(target), result))

    def shadow(self, comparison: Comparison) -> None:
        self.comparisons.append(comparison)

    def outcome(self, result: str) -> None:
        self.outcomes.append(result)


ABLE = frozenset({Capability.STREAMING, Capability.TOOLS, Capability.THINKING, Capability.VISION})


def spec(name: str, rank: int = 0, **facts: object) -> TargetSpec:
    """A target that needs no credential unless it is given some."""
    provider, _, model = name.partition("/")
    base = TargetSpec(
        target=Target(provider, model),
        wire="openai",
        base_url="http://scripted",
        context_window_tokens=100_000,
        max_output_tokens=8_000,
        price=PRICE,
        capabilities=ABLE,
        quality=80.0,
        needs_credential=False,
        provider_rank=rank,
        name=name,
    )
    return replace(base, **facts)  # type: ignore[arg-type]  # tests name fields


class World:
    """Targets in the order in which they are preferred, a script for each, and everything that routes among them."""

    def __init__(
        self,
        targets: Mapping[str | TargetSpec, Sequence[Script]],
        *,
        failover: FailoverSettings | None = None,
        policy: Policy | None = None,
        budgets: tuple[BudgetSpec, ...] = (),
    ) -> None:
        loop = virtual_loop()
        self.loop = loop
        self.upstream = ScriptedUpstream()
        specs = []
        for rank, (target, scripts) in enumerate(targets.items()):
            made = spec(target, rank) if isinstance(target, str) else replace(target, provider_rank=rank)
            specs.append(made)
            self.upstream.scripts[str(made.target)] = list(scripts)
        self.fleet = Fleet(tuple(specs))
        self.instruments = Instruments()
        self.events: list[Event] = []
        ids = itertools.count()
        policy = policy or Policy()
        settings = Settings(
            routing=RoutingSettings(policies={"default": replace(policy, strategy=Strategy.PRIORITY)}),
            failover=failover or FailoverSettings(),
            budgets=budgets,
        )
        self.router = Router(
            self.fleet,
            settings,
            clock=loop.clock,
            wall=loop.wall,
            rng=random.Random(7),
            new_id=lambda: f"id-{next(ids)}",
            on_event=self.events.append,
            instruments=self.instruments,
        )
        self.executor = Executor(
            self.router,
            dict.fromkeys(self.fleet.providers, self.upstream),
            clock=loop.clock,
            wall=loop.wall,
            rng=random.Random(11),
            new_id=lambda: f"id-{next(ids)}",
        )

    @property
    def now(self) -> float:
        return self.loop.time()

    def names(self) -> list[str]:
        """The targets called, in order."""
        return self.upstream.names()

    async def stream(self, query: RouteQuery | None = None, chat: ChatInput | None = None) -> list[CallEvent]:
        """Runs a stream to its end and returns its events."""
        async with aclosing(self.executor.execute_stream(query or asking(), chat or HELLO)) as events:
            return [event async for event in events]


class OwnTime:
    """Measures a call that the present task makes from now on, as the server does: what of its time was no wait."""

    def __init__(self) -> None:
        self._clock = virtual_loop().clock
        self._began_at = self._clock()
        self._waits = Waits(self._clock)
        waits_of_call.set(self._waits)

    @property
    def seconds(self) -> float:
        return self._clock() - self._began_at - self._waits.seconds


NOTHING = pytest.approx(0.0, abs=1e-6)


def asking(deadline_seconds: float | None = 300.0, **options: object) -> RouteQuery:
    return RouteQuery(
        options=RoutingOptions(**options),  # type: ignore[arg-type]  # tests name fields
        deadline_seconds=deadline_seconds,
    )


def chat(words: str = "hello", **facts: object) -> ChatInput:
    return ChatInput(
        messages=(Message(role=Role.USER, parts=(Part(content=Text(text=words)),)),),
        **facts,  # type: ignore[arg-type]  # tests name fields
    )


HELLO = chat()


def words_of(deltas: Sequence[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
