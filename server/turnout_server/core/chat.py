"""A chat request and its answer without any vendor's shape: what `api` reads and `providers` write to wires.

A part that a vendor does not know is either filtered out beforehand by capability, or dropped where that is the rule
(opaque state of another vendor).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from turnout_server.core.model import FinishReason, ReasoningEffort, Usage


class Role(StrEnum):
    """Who speaks."""

    SYSTEM = "SYSTEM"
    USER = "USER"
    ASSISTANT = "ASSISTANT"
    TOOL = "TOOL"


class MediaKind(StrEnum):
    """What a media part holds."""

    IMAGE = "IMAGE"
    AUDIO = "AUDIO"
    DOCUMENT = "DOCUMENT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Plain text."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """An image, a sound or a document: either bytes or an https URL that the provider fetches; we never do."""

    kind: MediaKind
    media_type: str = ""
    data: bytes | None = field(default=None, repr=False)
    url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A model's wish to call a tool; the arguments are JSON text, passed on as they came."""

    id: str
    name: str
    arguments_json: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a tool returned, for the call with this id."""

    tool_call_id: str
    name: str = ""
    content: tuple[Part, ...] = ()
    is_error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoning:
    """A model's thinking: readable text, or opaque bytes where the vendor hides it."""

    text: str = ""
    redacted_data: bytes | None = field(default=None, repr=False)


PartContent = Text | Media | ToolCall | ToolResult | Reasoning


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One piece of a message.

    `signature` is opaque state of `origin_provider` that must go back to it unchanged and to nobody else.
    """

    content: PartContent
    signature: str = ""
    origin_provider: str = ""
    cache_breakpoint: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn."""

    role: Role
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool the model may call; its parameters are a JSON schema as text."""

    name: str
    description: str = ""
    parameters_json_schema: str = ""


class ToolChoiceMode(StrEnum):
    """Whether the model may, must or must not call tools."""

    AUTO = "AUTO"
    NONE = "NONE"
    REQUIRED = "REQUIRED"
    NAMED = "NAMED"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolChoice:
    """`name` is set for NAMED only."""

    mode: ToolChoiceMode = ToolChoiceMode.AUTO
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonFormat:
    """The answer must be JSON: any object when `schema_json` is empty, else one that fits the schema."""

    name: str = ""
    schema_json: str = ""
    strict: bool = True


NO_OPTIONS: Mapping[str, Mapping[str, object]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatInput:
    """Everything of a chat request but the model: the target is chosen by us."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: JsonFormat | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    reasoning_effort: ReasoningEffort | None = None
    provider_options: Mapping[str, Mapping[str, object]] = field(default_factory=lambda: NO_OPTIONS)
    """By provider name: extra top-level fields for that provider's request body."""


# What a provider's stream is made of, after its vendor's shape is taken off. A wire yields these in order; it never
# yields anything after `Finished` but `UsageReported`, and it raises rather than ending without a `Finished`.


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """A sign of life without content: a ping, a role chunk, an empty delta. Resets the idle clock only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseStarted:
    """The provider named its response; neither field is promised."""

    model: str = ""
    response_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta:
    """A piece of the text of part `part_index`."""

    part_index: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallDelta:
    """A piece of a tool call; `id` and `name` come with the first piece of the part only."""

    part_index: int
    id: str = ""
    name: str = ""
    arguments_fragment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningDelta:
    """A piece of thinking: text, or redacted bytes."""

    part_index: int
    text: str = ""
    redacted_data: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureDelta:
    """Opaque state that belongs to part `part_index`; to be sent back unchanged in the next turn."""

    part_index: int
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReported:
    """Token counts so far; later ones replace earlier ones. `cost_usd` where the provider states its own price."""

    usage: Usage
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The provider's proper end of the answer."""

    reason: FinishReason


Delta = TextDelta | ToolCallDelta | ReasoningDelta | SignatureDelta
"""What a caller sees of an answer while it comes."""

StreamEvent = Lifecycle | ResponseStarted | Delta | UsageReported | Finished


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatOutput:
    """A complete answer."""

    parts: tuple[Part, ...]
    finish_reason: FinishReason
    model: str = ""
    response_id: str = ""
