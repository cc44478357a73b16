"""Makes a provider's error message fit to be shown: it may quote the key it refused or the prompt it disliked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from turnout_server.core.chat import ChatInput, Part, Reasoning, Text, ToolCall, ToolResult

MAX_MESSAGE_CHARACTERS = 300
RUN_OF_WORDS = 3
"""So many words in a row that also stand in the prompt are taken for a quotation of it."""
SEARCHED_CHARACTERS = 512 * 1024
"""In longer requests nothing is looked for, and the message is not shown: a million take 80 ms, while every other call
waits. Code and status say what happened.
"""
LONG_WORD_CHARACTERS = 12
"""A single word this long that also stands in the prompt is one too."""

_KEY = re.compile(
    r"\b(?:sk|pk|rk|ak|gsk|xai|csk|key|api|hf|r8)[-_][\w\-.*]{6,}|\bAIza[\w\-*]{6,}|\beyJ[\w\-]{6,}\.[\w\-.]+"
    r"|\bBearer\s+\S+|\b(?=\w*\d)\w{24,}\b|\b\w{2,8}\*{3,}\w*",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w+")
_ESCAPED = re.compile(r"\\+(?:u([0-9a-fA-F]{4})|[ntr\"'])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]+")
"""Controls of either set, and what breaks lines or turns their direction where a log is read."""
_GAP = "…"


def safe_message(message: str, *, chat: ChatInput | None, secret: str = "") -> str:
    """Returns the message on one line, cut to 300 characters, without the secret, anything like a key, and without what
    it quotes from the request; "" where the request is too long to look for quotations in.
    """
    text = _CONTROL.sub(" ", message[: 4 * MAX_MESSAGE_CHARACTERS]).strip()
    if secret:
        text = text.replace(secret, _GAP)
    text = _KEY.sub(_GAP, text)
    if chat is not None:
        prompt = "\n".join(_texts(chat, SEARCHED_CHARACTERS))
        text = _without_quotations(text, prompt) if len(prompt) <= SEARCHED_CHARACTERS else ""
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else text[: MAX_MESSAGE_CHARACTERS - 1] + _GAP


def _without_quotations(message: str, prompt: str) -> str:
    """Leaves out the words that stand in the prompt, however the message breaks lines, escapes or punctuates them."""
    # What controls a prompt holds is all the same: none is part of a word.
    wanted = _WORD.findall(_ESCAPED.sub(_character, prompt) if "\\" in prompt else prompt)
    if not wanted:
        return message
    message = _unescaped(message)
    spaced = f" {' '.join(wanted)} "
    words = list(_WORD.finditer(message))
    run = min(RUN_OF_WORDS, len(wanted))
    quoted = [len(word[0]) >= LONG_WORD_CHARACTERS and word[0] in spaced for word in words]
    for start in range(len(words) - run + 1):
        if f" {' '.join(word[0] for word in words[start : start + run])} " in spaced:
            quoted[start : start + run] = [True] * run
    kept: list[str] = []
    end = 0
    in_quotation = False
    for word, is_quoted in zip(words, quoted, strict=True):
        if is_quoted:
            if not in_quotation:
                kept += [message[end : word.start()], _GAP]
            end = word.end()
        in_quotation = is_quoted
    return "".join([*kept, message[end:]])


def _unescaped(text: str) -> str:
    """Undoes the escapes of JSON and of Python's repr, as far as they hide words."""
    return _CONTROL.sub(" ", _ESCAPED.sub(_character, text))


def _character(escape: re.Match[str]) -> str:
    code = escape[1]
    return chr(int(code, 16)) if code else " "


def _texts(chat: ChatInput, enough: int) -> Iterator[str]:
    """Yields the request's own texts, until they have more than `enough` characters together."""
    for message in chat.messages:
        for text in _part_texts(message.parts):
            yield text
            enough -= len(text)
            if enough < 0:
                return


def _part_texts(parts: Iterable[Part]) -> Iterator[str]:
    for part in parts:
        match part.content:
            case Text(text=text) | Reasoning(text=text):
                yield text
            case ToolCall(arguments_json=arguments):
                yield arguments
            case ToolResult(content=content):
                yield from _part_texts(content)
