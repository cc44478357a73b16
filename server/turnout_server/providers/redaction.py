"""Makes a provider's error message fit to be shown: it may quote the key it refused or the prompt it disliked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from turnout_server.core.chat import ChatInput, Part, Reasoning, Text, ToolCall, ToolResult

MAX_MESSAGE_CHARACTERS = 300
RUN_OF_WORDS = 3
"""So many words in a row that also stand in the prompt are taken for a quotation of it."""
LONG_WORD_CHARACTERS = 12
"""A single word this long that also stands in the prompt is one too."""

_KEY = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|csk|key|api|AIza)[-_][\w\-.*]{6,}|\bBearer\s+\S+|\b(?=\w*\d)\w{24,}\b", re.IGNORECASE
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_GAP = "…"


def safe_message(message: str, *, chat: ChatInput | None, secret: str = "") -> str:
    """Returns the message on one line, cut to 300 characters, without the secret, anything like a key, and without what
    it quotes from the request.
    """
    text = _CONTROL.sub(" ", message[: 4 * MAX_MESSAGE_CHARACTERS]).strip()
    if secret:
        text = text.replace(secret, _GAP)
    text = _KEY.sub(_GAP, text)
    if chat is not None:
        text = _without_quotations(text, "\n".join(_texts(chat)))
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else text[: MAX_MESSAGE_CHARACTERS - 1] + _GAP


def _without_quotations(message: str, prompt: str) -> str:
    if not prompt:
        return message
    words = message.split()
    quoted = [len(bare) >= LONG_WORD_CHARACTERS and bare in prompt for bare in (w.strip("'\"`.,:;()[]") for w in words)]
    for start in range(len(words) - RUN_OF_WORDS + 1):
        run = " ".join(words[start : start + RUN_OF_WORDS]).strip("'\"`.,:;()[]")
        if run in prompt:
            quoted[start : start + RUN_OF_WORDS] = [True] * RUN_OF_WORDS
    kept: list[str] = []
    for word, is_quoted in zip(words, quoted, strict=True):
        if not is_quoted:
            kept.append(word)
        elif not kept or kept[-1] != _GAP:
            kept.append(_GAP)
    return " ".join(kept)


def _texts(chat: ChatInput) -> Iterator[str]:
    for message in chat.messages:
        yield from _part_texts(message.parts)


def _part_texts(parts: Iterable[Part]) -> Iterator[str]:
    for part in parts:
        match part.content:
            case Text(text=text) | Reasoning(text=text):
                yield text
            case ToolCall(arguments_json=arguments):
                yield arguments
            case ToolResult(content=content):
                yield from _part_texts(content)
