"""What OpenAI's model generations take and refuse, by their names: facts from the vendor's documentation."""

from __future__ import annotations

import re
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


class ModelFacts(NamedTuple):
    """What one model takes."""

    reasons: bool = False
    least_effort: str = "low"
    cache_breakpoints: bool = False

    def effort(self, effort: ReasoningEffort) -> str:
        """Returns the wire's word for an effort."""
        return self.least_effort if effort is ReasoningEffort.NONE else effort.value.lower()


def facts_of(model: str) -> ModelFacts:
    """Returns the facts of a model by its name; names that follow no pattern are taken not to reason."""
    name = model.rpartition("/")[2].lower()
    if _O_SERIES.match(name):
        return ModelFacts(reasons=True)
    match = _GPT.match(name)
    if match is None or "chat" in name:
        return ModelFacts()
    version = (int(match[1]), int(match[2] or 0))
    if version < REASONS_SINCE:
        return ModelFacts()
    return ModelFacts(
        reasons=True,
        least_effort="none" if version >= NO_REASONING_SINCE else "minimal",
        cache_breakpoints=version >= CACHE_BREAKPOINTS_SINCE,
    )
