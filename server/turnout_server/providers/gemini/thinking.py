"""Asks a model of the gemini wire to think, or not to, in the form that its generation knows."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from turnout_server.core.model import Capability, ReasoningEffort
from turnout_server.ports import UpstreamCall
from turnout_server.providers.gemini.models import Budget, ModelFacts
from turnout_server.providers.wire import JsonObject

BUDGET_TOKENS: Mapping[ReasoningEffort, int] = MappingProxyType(
    {ReasoningEffort.LOW: 1024, ReasoningEffort.MEDIUM: 8192, ReasoningEffort.HIGH: 24_576}
)
"""What an effort is worth where thinking is asked for by a number of tokens, as in the vendor's OpenAI-like API."""
ANSWER_TOKENS = 1024
"""What is kept of the limit for the answer itself, since thinking counts towards it."""


def thinking_config(call: UpstreamCall, facts: ModelFacts, max_tokens: int | None) -> JsonObject | None:
    """Returns `thinkingConfig`, None where there is nothing to ask for: the model then does as it usually does."""
    effort = call.chat.reasoning_effort
    if effort is None or Capability.THINKING not in call.spec.capabilities:
        return None
    asked: JsonObject
    if facts.levels:
        asked = {"thinkingLevel": facts.levels[effort]}
    elif facts.budget is not None:
        asked = {"thinkingBudget": _budget_tokens(effort, facts.budget, max_tokens)}
    else:
        return None
    if effort is not ReasoningEffort.NONE:
        asked["includeThoughts"] = True
    return asked


def _budget_tokens(effort: ReasoningEffort, budget: Budget, max_tokens: int | None) -> int:
    least = 0 if budget.can_be_off else budget.least
    if effort is ReasoningEffort.NONE:
        return least
    wanted = min(BUDGET_TOKENS[effort], budget.most)
    if max_tokens is not None:
        wanted = min(wanted, max_tokens - ANSWER_TOKENS)
    return wanted if wanted >= budget.least else least
