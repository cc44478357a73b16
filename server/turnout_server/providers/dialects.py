"""How vendors differ from the others of their wire, as data: a new vendor is a row here, not code.

What differs from model to model within one vendor stands in each wire's own table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType


class Authentication(StrEnum):
    """In which header the key goes."""

    BEARER = "bearer"
    API_KEY = "x-api-key"
    GOOGLE_API_KEY = "x-goog-api-key"


class ToolCallIds(StrEnum):
    """Which ids of tool calls a vendor takes back; it gives only such itself, but conversations come from elsewhere."""

    USUAL = "usual"
    """Letters, digits, `_` and `-`, at most 40."""
    NINE = "nine"
    """Exactly nine letters and digits."""


class ReasoningBack(StrEnum):
    """In which form a vendor wants its own reasoning back with the turn that it led to."""

    NOT = ""
    CONTENT_FIELD = "reasoning_content"
    FIELD = "reasoning"
    DETAILS = "reasoning_details"
    """As the list of opaque blocks that it gave, unchanged."""
    CHUNKS = "thinking"
    """As chunks of type `thinking` at the head of the content."""


class MediaForm(StrEnum):
    """How the openai wire carries documents and sound."""

    FILES = "file"
    """`file` with a data URL, `input_audio` with data and format."""
    URLS = "document_url"
    """`document_url` with a data or https URL, `input_audio` as one string."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one vendor differs from the others of its wire.

    `vendor` is whose errors these are, for the tables of `classify`, and whose models, for those of each wire; "" for
    servers of no known vendor. Everything from `max_tokens_field` on is for the openai wire.
    """

    vendor: str = ""
    authentication: Authentication = Authentication.BEARER
    max_tokens_field: str = "max_tokens"
    stream_usage: bool = True
    """It must be asked for the usage of a stream; others send it anyway, and some refuse the question."""
    seed_field: str = "seed"
    required_tool_word: str = "required"
    tool_call_ids: ToolCallIds = ToolCallIds.USUAL
    reasoning_back: ReasoningBack = ReasoningBack.NOT
    repeats_reasoning: bool = False
    """A piece of streamed reasoning may repeat all before it: the vendor's guide says so, not all of its servers do."""
    closes_objects: bool = False
    """Its strict schemas must say of every object that it has no further properties."""
    think_tags: bool = False
    """Its models may think in the text of the answer, between `<think>` and `</think>` at its beginning."""
    answers_after_tools: bool = False
    """Between the results of tools and a turn of the user it wants one of the assistant."""
    fetches_media: bool = True
    """It takes media by URL, as far as its wire does; others want the bytes."""
    media_form: MediaForm = MediaForm.FILES
    many_makers: bool = False
    """Its models are of many makers, whose names theirs begin with; each takes back only its own reasoning."""
    asks_for_cost: bool = False
    """It states what a call cost, when asked to."""
    refuses: frozenset[str] = frozenset()
    """Fields that no model of the vendor takes: dropped, because the caller cannot know which target is chosen."""


OPENAI = Dialect(vendor="openai", max_tokens_field="max_completion_tokens", closes_objects=True)
OPENAI_COMPATIBLE = Dialect(think_tags=True)
ANTHROPIC = Dialect(vendor="anthropic", authentication=Authentication.API_KEY)
GOOGLE = Dialect(vendor="google", authentication=Authentication.GOOGLE_API_KEY)
OLLAMA = Dialect(vendor="ollama")
MISTRAL = Dialect(
    vendor="mistral",
    stream_usage=False,
    seed_field="random_seed",
    required_tool_word="any",
    tool_call_ids=ToolCallIds.NINE,
    answers_after_tools=True,
    reasoning_back=ReasoningBack.CHUNKS,
    media_form=MediaForm.URLS,
)
GROQ = Dialect(
    vendor="groq",
    max_tokens_field="max_completion_tokens",
    stream_usage=False,
    reasoning_back=ReasoningBack.FIELD,
    closes_objects=True,
    think_tags=True,
)
CEREBRAS = Dialect(
    vendor="cerebras",
    max_tokens_field="max_completion_tokens",
    reasoning_back=ReasoningBack.FIELD,
    closes_objects=True,
    think_tags=True,
)
XAI = Dialect(vendor="xai", max_tokens_field="max_completion_tokens")
KIMI = Dialect(
    vendor="kimi",
    max_tokens_field="max_completion_tokens",
    reasoning_back=ReasoningBack.CONTENT_FIELD,
    fetches_media=False,
)
MINIMAX = Dialect(
    vendor="minimax",
    max_tokens_field="max_completion_tokens",
    reasoning_back=ReasoningBack.DETAILS,
    repeats_reasoning=True,
    think_tags=True,
    # Not in its reference.
    refuses=frozenset({"tool_choice", "parallel_tool_calls", "seed"}),
)
OPENROUTER = Dialect(
    vendor="openrouter",
    reasoning_back=ReasoningBack.DETAILS,
    think_tags=True,
    many_makers=True,
    asks_for_cost=True,
)

_BY_WIRE: Mapping[str, Dialect] = MappingProxyType(
    {"openai": OPENAI_COMPATIBLE, "anthropic": ANTHROPIC, "gemini": GOOGLE, "ollama": OLLAMA}
)
_BY_PROVIDER: Mapping[tuple[str, str], Dialect] = MappingProxyType(
    {
        ("openai", "openai"): OPENAI,
        ("mistral", "openai"): MISTRAL,
        ("codestral", "openai"): MISTRAL,
        ("devstral", "openai"): MISTRAL,
        ("groq", "openai"): GROQ,
        ("cerebras", "openai"): CEREBRAS,
        ("xai", "openai"): XAI,
        ("kimi", "openai"): KIMI,
        ("minimax", "openai"): MINIMAX,
        ("openrouter", "openai"): OPENROUTER,
    }
)
_VENDORS: Mapping[str, str] = MappingProxyType(
    {"anthropic": "anthropic", "google": "google", "ollama": "ollama"}
    | {provider: dialect.vendor for (provider, _), dialect in _BY_PROVIDER.items()}
)


def dialect_of(provider: str, wire: str) -> Dialect:
    """Returns the dialect of a vendor known by name on this wire, else the plain one of the wire.

    A vendor that serves a second wire speaks that wire plainly, with its own errors. KeyError for an unknown wire.
    """
    known = _BY_PROVIDER.get((provider, wire))
    if known is not None:
        return known
    plain = _BY_WIRE[wire]
    vendor = _VENDORS.get(provider)
    return plain if vendor is None or vendor == plain.vendor else replace(plain, vendor=vendor)
