"""What holds for a whole call, and what is chosen for each of its attempts."""

from __future__ import annotations

from dataclasses import dataclass

from turnout_server.core.chat import ChatInput
from turnout_server.core.cost_cap import CostCap
from turnout_server.core.deadlines import CallTimes
from turnout_server.core.decision import Candidate, Decision
from turnout_server.core.in_force import InForce
from turnout_server.core.model import RouteQuery
from turnout_server.core.permits import Permit
from turnout_server.core.settings import FailoverSettings, Policy
from turnout_server.core.trimming import TrimReport
from turnout_server.execution.upstreams import Connected


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The next attempt: permitted, with what limits it. `reason` tells why it is made, "" for the first.

    `hedge`: it is made beside the one before it, which is late.
    """

    permit: Permit
    candidate: Candidate
    streaming: bool
    answer_limit_seconds: float
    others_remain: bool
    reason: str = ""
    hedge: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFacts:
    """What holds for a whole call."""

    call_id: str
    query: RouteQuery
    chat: ChatInput
    decision: Decision
    under: InForce
    """The configuration that the call began with, and ends under."""
    connected: Connected
    """Its connections to providers; whoever made these facts gives them back."""
    policy: Policy
    settings: FailoverSettings
    times: CallTimes
    streaming: bool
    """The caller gets a stream."""
    trimming: TrimReport | None = None
    """What was left out of the prompt; `chat` and `query` are of what is left."""
    cap: CostCap | None = None
    """What all of its attempts together may cost; None for no cap."""
    hedging: bool = False
    """A second target may be asked when the first is slow to begin."""
