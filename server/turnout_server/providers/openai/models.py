"""What models of the openai wire take and refuse, and OpenAI's own generations by their names.

Facts are from the vendors' documentation; those of other vendors' models stand in `vendor_models`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from turnout_server.core.model import ReasoningEffort

_O_SERIES = re.compile(r"o\d")
_GPT = re.compile(r"gpt-(\d+)(?:\.(\d+))?(?![\d])")

REASONS_SINCE = (5, 0)
"""The first GPT generation whose models reason, and so refuse sampling parameters and stop sequences."""
NO_REASONING_SINCE = (5, 1)
"""The first generation that can be told not to reason; before it the least is `minimal`, for the o-series `low`."""
CACHE_BREAKPOINTS_SINCE = (5, 6)
"""The first generation that takes explicit prompt-cache breakpoints."""

Efforts = Mapping[ReasoningEffort, str]


def efforts(none: str, low: str = "low", medium: str = "medium", high: str = "high") -> Efforts:
    """Returns the wire's word for each effort."""
    return MappingProxyType(dict(zip(ReasoningEffort, (none, low, medium, high), strict=True)))


LEVELS = efforts("none")
NO_EFFORTS: Efforts = MappingProxyType({})
NO_FIELDS: Mapping[str, object] = MappingProxyType({})


class EffortForm(StrEnum):
    """How an effort is asked for."""

    FIELD = "reasoning_effort"
    """`reasoning_effort: word`."""
    OBJECT = "reasoning"
    """`reasoning: {effort: word}`."""
    SWITCH = "thinking"
    """`thinking: {type: word}`."""


class ForcedTools(StrEnum):
    """Whether a model can be made to call a tool."""

    ANY = "any"
    """Some tool, or a named one."""
    ONE_OF_ALL = "one of all"
    """Some tool, but not a named one."""
    UNTHINKING = "unthinking"
    """Only where it does not think in this answer."""
    NEVER = "never"


class ModelFacts(NamedTuple):
    """What one model takes. Defaults are those of a name that follows no pattern: taken not to reason."""

    reasons: bool = False
    efforts: Efforts = NO_EFFORTS
    """An effort without a word is not asked for."""
    effort_form: EffortForm = EffortForm.FIELD
    refuses: frozenset[str] = frozenset()
    """Fields that are a 400; dropped, because the caller cannot know which target is chosen."""
    always: Mapping[str, object] = NO_FIELDS
    """Fields of every request."""
    forced_tools: ForcedTools = ForcedTools.ANY
    wants_reasoning_back: bool = False
    """A turn that called tools is refused without the reasoning that led to it."""
    cache_breakpoints: bool = False


_SAMPLING = frozenset({"temperature", "top_p", "stop"})


def facts_of(model: str) -> ModelFacts:
    """Returns the facts of one of OpenAI's models by its name; names that follow no pattern are taken not to reason."""
    name = model.rpartition("/")[2].lower()
    if _O_SERIES.match(name):
        return ModelFacts(reasons=True, efforts=efforts("low"), refuses=_SAMPLING)
    match = _GPT.match(name)
    if match is None or "chat" in name:
        return ModelFacts()
    version = (int(match[1]), int(match[2] or 0))
    if version < REASONS_SINCE:
        return ModelFacts()
    return ModelFacts(
        reasons=True,
        efforts=LEVELS if version >= NO_REASONING_SINCE else efforts("minimal"),
        refuses=_SAMPLING,
        cache_breakpoints=version >= CACHE_BREAKPOINTS_SINCE,
    )
