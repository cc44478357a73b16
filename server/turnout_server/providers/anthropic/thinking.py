"""Asks a model of the anthropic wire to think, or not to, in the form that its generation knows."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from turnout_server.core.chat import ChatInput, Reasoning, Role, ToolChoiceMode, ToolResult
from turnout_server.core.model import Capability, ReasoningEffort
from turnout_server.ports import UpstreamCall
from turnout_server.providers.anthropic.models import ModelFacts, Thinking
from turnout_server.providers.wire import JsonObject

BUDGET_TOKENS: Mapping[ReasoningEffort, int] = MappingProxyType(
    {ReasoningEffort.LOW: 2048, ReasoningEffort.MEDIUM: 8192, ReasoningEffort.HIGH: 24576}
)
"""What an effort is worth where thinking is asked for by a number of tokens."""
LEAST_BUDGET_TOKENS = 1024
"""The vendor refuses less."""
ANSWER_TOKENS = 1024
"""What is kept of `max_tokens` for the answer itself, since thinking counts towards it."""


def add_thinking(body: JsonObject, call: UpstreamCall, facts: ModelFacts, max_tokens: int) -> bool:
    """Sets `thinking` and `output_config.effort` in place; returns whether the model will think."""
    chat, effort = call.chat, call.chat.reasoning_effort
    if forces_tool(chat) and not facts.always_thinks:
        # Forced tool use and thinking exclude each other, and the tool was asked for more plainly.
        effort = ReasoningEffort.NONE
    if effort is None or Capability.THINKING not in call.spec.capabilities:
        return facts.thinks_by_default
    if effort is ReasoningEffort.NONE:
        if facts.off is not None:
            body["thinking"] = {"type": facts.off}
        elif facts.always_thinks:
            body["output_config"] = {"effort": "low"}
        return facts.always_thinks
    if facts.thinking is Thinking.ADAPTIVE:
        # Some generations leave the text out by default; asking for it also brings the first token sooner.
        body["thinking"] = {"type": "adaptive", "display": "summarized"}
        body["output_config"] = {"effort": effort.value.lower()}
        return True
    budget = min(BUDGET_TOKENS[effort], max_tokens - ANSWER_TOKENS)
    if budget < LEAST_BUDGET_TOKENS or _in_tool_loop_without_thinking(chat, call.spec.target.provider):
        return False
    body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    return True


def forces_tool(chat: ChatInput) -> bool:
    """Whether the caller says that a tool must be called."""
    return bool(chat.tools) and (
        chat.tool_choice is not None and chat.tool_choice.mode in {ToolChoiceMode.REQUIRED, ToolChoiceMode.NAMED}
    )


def _in_tool_loop_without_thinking(chat: ChatInput, provider: str) -> bool:
    """Whether the last turn of the assistant awaits tool results but does not begin with thinking of this provider's.

    With a budget the vendor refuses that; it happens when a conversation moves over from another provider.
    """
    last = chat.messages[-1] if chat.messages else None
    if last is None or not any(isinstance(part.content, ToolResult) for part in last.parts):
        return False
    for message in reversed(chat.messages):
        if message.role is Role.ASSISTANT:
            first = message.parts[0] if message.parts else None
            return first is None or not isinstance(first.content, Reasoning) or first.origin_provider != provider
    return False
