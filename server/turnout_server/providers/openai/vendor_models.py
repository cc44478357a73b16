"""What the models of OpenAI-compatible vendors take and refuse: one table, first fitting row of the vendor wins.

Sources, autumn 2026: the vendors' references and Python libraries (mistralai, groq, cerebras_cloud_sdk); what api.x.ai,
api.moonshot.ai and api.groq.com answered with 400, as reported on GitHub: open-webui#21266, grok2api#814 (xAI),
pi#4178, oh-my-pi#1077, inspect_ai#5152 (Kimi), rig#1134, pluely#219 (Groq), models.dev#1986 (Mistral).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from turnout_server.core.fleet import TargetSpec
from turnout_server.core.model import Capability, ReasoningEffort
from turnout_server.providers.dialects import Dialect
from turnout_server.providers.openai.models import (
    LEVELS,
    EffortForm,
    Efforts,
    ForcedTools,
    ModelFacts,
    efforts,
    facts_of,
)


class _Row(NamedTuple):
    """`pattern` is searched for in the model's name; `thinking` rows are for models that the catalog says think."""

    pattern: str
    facts: ModelFacts
    thinking: bool = False


_NEVER_OFF = efforts("low")
_OFF_ONLY: Efforts = MappingProxyType({ReasoningEffort.NONE: "none"})
_PARSED = MappingProxyType({"reasoning_format": "parsed"})
_SPLIT = MappingProxyType({"reasoning_split": True})
_FIXED_SAMPLING = frozenset({"temperature", "top_p"})
_NO_STOP = frozenset({"stop"})
_NO_JSON = frozenset({"response_format"})
_PLAIN = ModelFacts()

_MISTRAL = (
    # Reasons always, and cannot be told how much.
    _Row(r"magistral", ModelFacts(reasons=True)),
    _Row(r"codestral|devstral|ministral|large", _PLAIN),
    _Row(r"", ModelFacts(reasons=True, efforts=efforts("none", "high", "high", "high")), thinking=True),
)
_GROQ = (
    # Gives its reasoning apart anyway, and refuses to be told so.
    _Row(r"gpt-oss", ModelFacts(reasons=True, efforts=_NEVER_OFF)),
    _Row(r"qwen-?3\.8", ModelFacts(reasons=True, efforts=LEVELS, always=_PARSED)),
    _Row(r"qwen", ModelFacts(reasons=True, efforts=efforts("none", "default", "default", "default"), always=_PARSED)),
    _Row(r"deepseek-r1", ModelFacts(reasons=True, always=_PARSED)),
)
_CEREBRAS = (
    _Row(r"gpt-oss", ModelFacts(reasons=True, efforts=_NEVER_OFF)),
    _Row(r"qwen-?3\.8", ModelFacts(reasons=True, efforts=LEVELS, always=_PARSED)),
    _Row(r"glm", ModelFacts(reasons=True, efforts=_OFF_ONLY, always=_PARSED)),
    _Row(r"", ModelFacts(reasons=True, efforts=LEVELS), thinking=True),
)
_XAI = (
    _Row(r"non-reasoning|grok-2|grok-3(?!-mini)", _PLAIN),
    _Row(r"grok-3-mini", ModelFacts(reasons=True, efforts=efforts("low", medium="low"), refuses=_NO_STOP)),
    _Row(r"grok-4\.3", ModelFacts(reasons=True, efforts=LEVELS, refuses=_NO_STOP)),
    _Row(
        r"grok-4\.20|grok-4(-1)?-fast|grok-4(-\d{4}|-latest)?$|grok-code|grok-build",
        ModelFacts(reasons=True, refuses=_NO_STOP),
    ),
    _Row(r"", ModelFacts(reasons=True, efforts=_NEVER_OFF, refuses=_NO_STOP), thinking=True),
)
_KIMI_THINKS = ModelFacts(
    reasons=True, refuses=_FIXED_SAMPLING, forced_tools=ForcedTools.NEVER, wants_reasoning_back=True
)
_KIMI = (
    _Row(
        r"kimi-k3",
        _KIMI_THINKS._replace(efforts=efforts("low", medium="high"), forced_tools=ForcedTools.ONE_OF_ALL),
    ),
    _Row(
        r"kimi-k2\.[56]",
        _KIMI_THINKS._replace(
            efforts=efforts("disabled", "enabled", "enabled", "enabled"),
            effort_form=EffortForm.SWITCH,
            forced_tools=ForcedTools.UNTHINKING,
        ),
    ),
    _Row(r"kimi-k2\.|kimi.*thinking", _KIMI_THINKS),
    _Row(r"", _KIMI_THINKS, thinking=True),
)
_MINIMAX = (
    _Row(
        r"minimax-m3",
        ModelFacts(
            reasons=True,
            efforts=efforts("disabled", "adaptive", "adaptive", "adaptive"),
            effort_form=EffortForm.SWITCH,
            always=_SPLIT,
        ),
    ),
    _Row(r"minimax-m\d", ModelFacts(reasons=True, always=_SPLIT, refuses=_NO_JSON)),
    _Row(r"", ModelFacts(refuses=_NO_JSON)),
)
_OPENROUTER = (_Row(r"", ModelFacts(reasons=True, efforts=LEVELS, effort_form=EffortForm.OBJECT), thinking=True),)
_OTHERS = (_Row(r"", ModelFacts(reasons=True, efforts=LEVELS), thinking=True),)

ROWS: Mapping[str, tuple[_Row, ...]] = MappingProxyType(
    {
        "mistral": _MISTRAL,
        "groq": _GROQ,
        "cerebras": _CEREBRAS,
        "xai": _XAI,
        "kimi": _KIMI,
        "minimax": _MINIMAX,
        "openrouter": _OPENROUTER,
    }
)
"""By vendor, of the dialect."""


def model_facts(spec: TargetSpec, dialect: Dialect) -> ModelFacts:
    """Returns the facts of a target's model; of models of no known vendor, the catalog says whether they think."""
    model = spec.target.model
    if dialect.vendor == "openai":
        return facts_of(model)
    thinks = Capability.THINKING in spec.capabilities
    name = model.lower()
    for row in ROWS.get(dialect.vendor, _OTHERS):
        if (thinks or not row.thinking) and re.search(row.pattern, name):
            return row.facts
    return _PLAIN
