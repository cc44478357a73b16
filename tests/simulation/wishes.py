"""What callers of a simulated world ask for, and how."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from tests.simulation.providers import BAD_REQUEST
from turnout_server.core.chat import ChatInput, Message, Part, Role, Text
from turnout_server.core.model import Caller, RequestProfile, RouteQuery, RoutingOptions, Strategy

OUTPUT_TOKENS_MAXIMUM = 300


class Mode(StrEnum):
    """How a call is made."""

    UNARY = "Execute"
    STREAM = "ExecuteStream"
    ADVISED = "Route and ReportOutcome"


class Reporting(StrEnum):
    """What an application does about its outcomes."""

    AT_ONCE = "at once"
    LATE = "after ten seconds"
    TWICE = "twice"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What one call asks for. `gives_up_seconds`: its caller goes away then."""

    mode: Mode
    words: str = "hello"
    deadline: float | None = None
    bad: bool = False
    task: str = ""
    strategy: Strategy | None = None
    gives_up_seconds: float | None = None
    reporting: Reporting = Reporting.AT_ONCE
    regions: tuple[str, ...] = ()
    """What the request allows."""
    held_to: tuple[str, ...] = ()
    """What request and policy allow together, the preferred one first; its words begin with them."""
    max_cost_usd: float | None = None
    """Its cap."""
    max_output_tokens: int | None = OUTPUT_TOKENS_MAXIMUM

    def allows(self, target: str) -> bool:
        """Whether a target, whose endpoint is named for its region, may serve it."""
        return not self.held_to or target.partition("@")[2] in self.held_to

    @property
    def chat(self) -> ChatInput:
        """What is sent."""
        words = BAD_REQUEST if self.bad else self.words
        message = Message(role=Role.USER, parts=(Part(content=Text(text=words)),))
        return ChatInput(messages=(message,), max_output_tokens=self.max_output_tokens)

    @property
    def query(self) -> RouteQuery:
        """What is asked of the router."""
        profile = RequestProfile(task=self.task)
        if self.mode is Mode.ADVISED:
            profile = replace(
                profile, input_bytes=len(self.words), input_tokens=max(1, len(self.words) // 4), max_output_tokens=300
            )
        options = RoutingOptions(strategy=self.strategy, regions=self.regions, max_cost_usd=self.max_cost_usd)
        return RouteQuery(
            profile=profile, options=options, caller=Caller(tenant="tenant"), deadline_seconds=self.deadline
        )
