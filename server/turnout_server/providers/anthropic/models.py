"""What Anthropic's model generations take and refuse, by their names: facts from the vendor's documentation.

The vendor changed how thinking is asked for, whether it can be switched off, and whether sampling parameters are taken
from one generation to the next; a request that does not fit is a 400.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from turnout_server.core.fleet import Prefill

_FAMILY_FIRST = re.compile(r"claude-(opus|sonnet|haiku|fable|mythos)-(\d+)(?:[.-](\d{1,2}))?(?!\d)")
_VERSION_FIRST = re.compile(r"claude-(\d+)(?:[.-](\d{1,2}))?-(opus|sonnet|haiku)")

ONE_SAMPLER_SINCE = (4, 1)
"""From here on temperature and top_p exclude each other."""
SCHEMA_SINCE = (4, 5)
"""Structured outputs (`output_config.format`)."""
ADAPTIVE_SINCE = (4, 6)
"""`thinking: adaptive` with `output_config.effort`; before it `thinking: enabled` with a budget in tokens."""
NO_PREFILL_SINCE = (4, 6)
"""From here on, and in the fable and mythos families, a conversation that ends with the assistant's turn is refused."""
NO_SAMPLING_SINCE = (4, 7)
"""From here on any temperature or top_p other than the default is refused."""
THINKS_BY_DEFAULT_SINCE = (5, 0)
"""From here on a request that says nothing of thinking thinks."""
THINKS_ALWAYS_SINCE = (5, 5)
"""From here on, and in the fable and mythos families, thinking cannot be switched off."""
BETWEEN_TOOLS = "sonnet"
"""The family whose least thinking, since it cannot be switched off, is `between_tools`."""


class Thinking(StrEnum):
    """How a model is asked to think."""

    BUDGET = "enabled"
    ADAPTIVE = "adaptive"


class ModelFacts(NamedTuple):
    """What one model takes. Defaults are those of a name that follows no pattern: the oldest form is the safest."""

    thinking: Thinking = Thinking.BUDGET
    off: str | None = None
    """The `thinking.type` that stands for no thinking, None where leaving thinking out does."""
    always_thinks: bool = False
    thinks_by_default: bool = False
    sampling: bool = True
    one_sampler: bool = False
    schema: bool = False
    prefill: Prefill = Prefill.UNKNOWN


def facts_of(model: str) -> ModelFacts:
    """Returns the facts of a model by its name, whatever a platform put before or behind it."""
    name = model.lower()
    match = _FAMILY_FIRST.search(name)
    if match is not None:
        family, version = match[1], (int(match[2]), int(match[3] or 0))
    else:
        match = _VERSION_FIRST.search(name)
        if match is None:
            return ModelFacts()
        family, version = match[3], (int(match[1]), int(match[2] or 0))
    always = family in {"fable", "mythos"} or version >= THINKS_ALWAYS_SINCE
    by_default = always or version >= THINKS_BY_DEFAULT_SINCE
    off = None
    if always:
        off = "between_tools" if family == BETWEEN_TOOLS else None
    elif by_default:
        off = "disabled"
    return ModelFacts(
        thinking=Thinking.ADAPTIVE if version >= ADAPTIVE_SINCE else Thinking.BUDGET,
        off=off,
        always_thinks=always,
        thinks_by_default=by_default,
        sampling=version < NO_SAMPLING_SINCE,
        one_sampler=version >= ONE_SAMPLER_SINCE,
        schema=version >= SCHEMA_SINCE,
        prefill=Prefill.REFUSED if always or version >= NO_PREFILL_SINCE else Prefill.TAKEN_WITHOUT_THINKING,
    )
