"""What Google's model generations take and refuse, by their names.

Sources, autumn 2026: ai.google.dev/gemini-api/docs (thinking, thought-signatures, function-calling, structured-output,
whats-new-gemini-3.6, whats-new-gemini-3.7, latest-model); for what the API answered with 400:
github.com/googleapis/python-genai#867, google-gemini/gemini-cli#19436, fishjar/kiss-translator#1048.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from turnout_server.core.fleet import Prefill
from turnout_server.core.model import ReasoningEffort

_NUMBERED = re.compile(r"gemini-(\d+)(?:\.(\d+))?(?:-(pro|flash-lite|flash))?(?![a-z])")
_LATEST = re.compile(r"gemini-(pro|flash-lite|flash)-latest")

LATEST = (3, 8)
"""The generation that names ending in `-latest` are taken for."""

SCHEMA_SINCE = (2, 0)
"""`responseJsonSchema`; before it an instruction says what is wanted."""
THINKS_SINCE = (2, 5)
LEVELS_SINCE = (3, 0)
"""From here on thinking is asked for by `thinkingLevel`, before by `thinkingBudget`; both together are refused.

Since then, too, JSON goes together with tools, tools return media, and a call without its signature is refused.
"""
SINCE_3_6 = (3, 6)
"""From here on, and in 3.5 flash-lite, temperature and topP are without effect, and announced to be refused; and a
conversation that ends with a turn of the model is refused.
"""
NO_MINIMAL_SINCE = (3, 7)
"""From here on MINIMAL is refused; pro models never took it."""

Levels = Mapping[ReasoningEffort, str]


def _levels(none: str, medium: str = "MEDIUM") -> Levels:
    return MappingProxyType(dict(zip(ReasoningEffort, (none, "LOW", medium, "HIGH"), strict=True)))


_WITH_MINIMAL = _levels("MINIMAL")
_FROM_LOW = _levels("LOW")
_LOW_OR_HIGH = _levels("LOW", medium="HIGH")
_NO_LEVELS: Levels = MappingProxyType({})


class Budget(NamedTuple):
    """The thinking tokens that a model can be given."""

    least: int
    most: int
    can_be_off: bool


_BUDGETS: Mapping[str, Budget] = MappingProxyType(
    {
        "pro": Budget(128, 32_768, can_be_off=False),
        "flash": Budget(1, 24_576, can_be_off=True),
        "flash-lite": Budget(512, 24_576, can_be_off=True),
    }
)


class ModelFacts(NamedTuple):
    """What one model takes. Defaults are those of a name that follows no pattern, taken not to think."""

    levels: Levels = _NO_LEVELS
    """The `thinkingLevel` for each effort; for NONE the least there is."""
    budget: Budget | None = None
    sampling: bool = True
    schema: bool = True
    json_with_tools: bool = False
    media_in_results: bool = False
    """Results of tools hold media; before, media follow them in a turn of their own."""
    signs_calls: bool = False
    """A turn whose first tool call has no signature is refused."""
    prefill: Prefill = Prefill.UNKNOWN
    """A name ending in `-latest` may mean another generation tomorrow."""


def facts_of(model: str) -> ModelFacts:
    """Returns the facts of a model by its name, whatever stands before or behind it."""
    name = model.lower()
    numbered = _NUMBERED.search(name)
    if numbered is not None:
        version, family = (int(numbered[1]), int(numbered[2] or 0)), numbered[3] or ""
    else:
        latest = _LATEST.search(name)
        if latest is None:
            return ModelFacts()
        version, family = LATEST, latest[1]
    if version < LEVELS_SINCE:
        return ModelFacts(
            budget=_BUDGETS.get(family) if version >= THINKS_SINCE else None,
            schema=version >= SCHEMA_SINCE,
            prefill=Prefill.TAKEN,
        )
    # What came with 3.6 came with one model before it.
    since_3_6 = version >= SINCE_3_6 or (version, family) == ((3, 5), "flash-lite")
    prefill = Prefill.REFUSED if since_3_6 else Prefill.TAKEN
    return ModelFacts(
        levels=_levels_of(version, family),
        sampling=not since_3_6,
        prefill=Prefill.UNKNOWN if numbered is None else prefill,
        json_with_tools=True,
        media_in_results=True,
        signs_calls=True,
    )


def _levels_of(version: tuple[int, int], family: str) -> Levels:
    if family == "pro" and version == LEVELS_SINCE:
        return _LOW_OR_HIGH
    return _FROM_LOW if family not in {"flash", "flash-lite"} or version >= NO_MINIMAL_SINCE else _WITH_MINIMAL
