"""What a chat request needs of a target, read from the request itself: in Execute the input says it, not the caller.

A caller may add to it (a task, further capabilities, a token limit that the input leaves open), but not contradict it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from turnout_server.core.chat import (
    ChatInput,
    Media,
    MediaKind,
    Part,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from turnout_server.core.errors import FieldViolation, InvalidRequestError
from turnout_server.core.forms import needed_forms
from turnout_server.core.model import Capability, ReasoningEffort, RequestProfile

HINT_CHARACTERS = 8192
"""How much of the last user turn is looked at to infer complexity."""

IMAGE_TOKENS = 1000
"""An image of middling size: vendors charge about 85 to 1,600, by its resolution."""
AUDIO_BYTES_PER_TOKEN = 500
"""About 32 tokens for a second of sound at 128 kbit/s."""
DOCUMENT_BYTES_PER_TOKEN = 40
"""A PDF page of 60 kB is about 1,500 tokens."""
UNSEEN_MEDIA_TOKENS = 1500
"""Sound or a document that is only known by its URL."""

_MEDIA_CAPABILITY = {
    MediaKind.IMAGE: Capability.VISION,
    MediaKind.AUDIO: Capability.AUDIO,
    MediaKind.DOCUMENT: Capability.DOCUMENTS,
}


def demanded_profile(given: RequestProfile, chat: ChatInput, *, streaming: bool) -> RequestProfile:
    """Returns the profile of a chat request: what its input says, with what the caller's profile adds.

    Raises InvalidRequestError where the given profile contradicts the input.
    """
    effort = _agreed(given, chat)
    needs: set[Capability] = set(given.capabilities)
    by_url: set[Capability] = set()
    byte_count = sum(
        len(tool.name) + _size(tool.description) + _size(tool.parameters_json_schema) for tool in chat.tools
    )
    extra_tokens = 0
    for part in all_parts(chat):
        byte_count += text_bytes(part)
        match part.content:
            case Media() as media:
                capability = _MEDIA_CAPABILITY[media.kind]
                needs.add(capability)
                extra_tokens += media_tokens(media)
                if media.url is not None:
                    by_url.add(capability)
            case ToolCall() | ToolResult():
                needs.add(Capability.TOOLS)
            case _:
                pass
    if chat.tools:
        needs.add(Capability.TOOLS)
    if chat.parallel_tool_calls and chat.tools:
        needs.add(Capability.PARALLEL_TOOLS)
    if chat.response_format is not None and chat.response_format.schema_json:
        needs.add(Capability.JSON_SCHEMA)
        byte_count += _size(chat.response_format.schema_json)
    if effort not in {None, ReasoningEffort.NONE}:
        needs.add(Capability.THINKING)
    if streaming:
        needs.add(Capability.STREAMING)
    return dataclasses.replace(
        given,
        input_tokens=None,
        input_bytes=byte_count,
        extra_input_tokens=extra_tokens,
        max_output_tokens=given.max_output_tokens if chat.max_output_tokens is None else chat.max_output_tokens,
        capabilities=frozenset(needs),
        url_capabilities=frozenset(by_url),
        forms=needed_forms(chat, effort),
        prefilled=ends_with_assistant(chat),
        reasoning_effort=effort,
        text_hint=last_user_text(chat),
    )


def ends_with_assistant(chat: ChatInput) -> bool:
    """Whether the last turn is the assistant's; turns of the system do not count, since they go to the top."""
    last = next((message for message in reversed(chat.messages) if message.role is not Role.SYSTEM), None)
    return last is not None and last.role is Role.ASSISTANT


def agreed_input(chat: ChatInput, profile: RequestProfile) -> ChatInput:
    """Returns the input with what only the profile said of the answer: what is routed for is what is sent."""
    if chat.max_output_tokens == profile.max_output_tokens and chat.reasoning_effort == profile.reasoning_effort:
        return chat
    return dataclasses.replace(
        chat, max_output_tokens=profile.max_output_tokens, reasoning_effort=profile.reasoning_effort
    )


def all_parts(chat: ChatInput) -> Iterator[Part]:
    """Yields every part of every message, those inside tool results included."""
    for message in chat.messages:
        for part in message.parts:
            yield part
            if isinstance(part.content, ToolResult):
                yield from part.content.content


def text_bytes(part: Part) -> int:
    """Returns the UTF-8 bytes of a part's own text; 0 for media and tool results, whose parts stand by themselves."""
    match part.content:
        case Text(text=text):
            return _size(text)
        case ToolCall() as call:
            return _size(call.name) + _size(call.arguments_json)
        case Reasoning() as reasoning:
            return _size(reasoning.text) + len(reasoning.redacted_data or b"")
        case _:
            return 0


def media_tokens(media: Media) -> int:
    """Estimates what an image, a sound or a document costs in input tokens."""
    if media.kind is MediaKind.IMAGE:
        return IMAGE_TOKENS
    if media.data is None:
        return UNSEEN_MEDIA_TOKENS
    if media.kind is MediaKind.AUDIO:
        return 1 + len(media.data) // AUDIO_BYTES_PER_TOKEN
    # Text documents are prompts like any other, at four bytes a token.
    return 1 + len(media.data) // (4 if media.media_type.startswith("text/") else DOCUMENT_BYTES_PER_TOKEN)


def last_user_text(chat: ChatInput) -> str:
    """Returns the beginning of the last user turn's text, from which complexity may be inferred."""
    for message in reversed(chat.messages):
        if message.role is Role.USER:
            texts = (part.content.text for part in message.parts if isinstance(part.content, Text))
            return "\n".join(text[:HINT_CHARACTERS] for text in texts)[:HINT_CHARACTERS]
    return ""


def _agreed(given: RequestProfile, chat: ChatInput) -> ReasoningEffort | None:
    """Returns the effort that holds. Raises InvalidRequestError where profile and input disagree."""
    violations = []
    if (
        None not in {given.max_output_tokens, chat.max_output_tokens}
        and given.max_output_tokens != chat.max_output_tokens
    ):
        violations.append(
            FieldViolation(
                field="profile.max_output_tokens",
                description=f"is {given.max_output_tokens}, but input.max_output_tokens is {chat.max_output_tokens}; "
                "leave one of them out",
            )
        )
    if None not in {given.reasoning_effort, chat.reasoning_effort} and given.reasoning_effort != chat.reasoning_effort:
        violations.append(
            FieldViolation(
                field="profile.reasoning_effort",
                description=f"is {given.reasoning_effort}, but input.reasoning_effort is {chat.reasoning_effort}; "
                "leave one of them out",
            )
        )
    if violations:
        raise InvalidRequestError(violations)
    return given.reasoning_effort if chat.reasoning_effort is None else chat.reasoning_effort


def _size(text: str) -> int:
    """Returns the UTF-8 length without encoding where every character is one byte."""
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
