"""Which models take a conversation that ends with a turn of the assistant: a table, because targets are filtered by it.

Sources, autumn 2026: Anthropic's migration guides (400 since Claude 4.6) and its guide to extended thinking; what
Google's API answered with 400 ("Requests ending with a model turn are not supported"), as measured model by model in
LibreChat-AI/agents#323 and kept in pipecat-ai/pipecat#5821; Mistral's 400 "Expected last role User or Tool (or
Assistant with prefix True)"; Groq's guide to prefilling; xAI's on the order of roles. OpenAI's older models take such a
turn and write another one after it; what those that reason do is nowhere said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from turnout_server.core.fleet import Prefill
from turnout_server.providers.anthropic.models import facts_of as anthropic_facts
from turnout_server.providers.dialects import Dialect
from turnout_server.providers.gemini.models import facts_of as gemini_facts
from turnout_server.providers.openai.models import facts_of as openai_facts


def prefill_of(dialect: Dialect, wire: str, model: str) -> Prefill:
    """Returns what a model of a vendor does with it on a wire; UNKNOWN for what nobody has said anything about."""
    match wire:
        case "anthropic":
            return anthropic_facts(model).prefill
        case "gemini":
            return gemini_facts(model).prefill
        case "ollama":
            # The server puts the last turn at the end of the prompt, unfinished, whatever the model.
            return Prefill.TAKEN
        case _:
            of_vendor = _BY_VENDOR.get(dialect.vendor)
            return Prefill.UNKNOWN if of_vendor is None else of_vendor(model)


def _openai(model: str) -> Prefill:
    name = model.rpartition("/")[2]
    return Prefill.TAKEN if name.startswith("gpt-") and not openai_facts(name).reasons else Prefill.UNKNOWN


def _elsewhere(model: str) -> Prefill:
    """Whoever stands between passes the turn on to the vendor that the model's name begins with."""
    maker, _, name = model.partition("/")
    of_maker = _BY_MAKER.get(maker)
    return Prefill.UNKNOWN if of_maker is None else of_maker(name)


_BY_MAKER: Mapping[str, Callable[[str], Prefill]] = MappingProxyType(
    {
        "anthropic": lambda name: anthropic_facts(name).prefill,
        "google": lambda name: gemini_facts(name).prefill,
        "mistralai": lambda _: Prefill.REFUSED,
        "openai": _openai,
    }
)
_BY_VENDOR: Mapping[str, Callable[[str], Prefill]] = MappingProxyType(
    {
        "openai": _openai,
        "openrouter": _elsewhere,
        "groq": lambda _: Prefill.TAKEN,
        "xai": lambda _: Prefill.TAKEN,
        # It would take one that is marked as a prefix; but then its answer repeats it, and others' do not.
        "mistral": lambda _: Prefill.REFUSED,
    }
)
