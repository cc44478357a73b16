"""How large a context window to ask Ollama's server for: enough for this request, and not another one each time.

The server loads a model anew when the window changes, which takes seconds, and a window costs memory whether it is used
or not. So windows come in doubling steps, and the smallest that holds the request is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from turnout_server.core.chat import ChatInput
from turnout_server.providers.base64_text import written

SMALLEST_TOKENS = 8192
"""Most requests fit, so that a model is loaded once and stays."""
BYTES_PER_TOKEN = 3
"""Fewer than usual: a window too large costs memory, one too small loses the beginning of the prompt."""
IMAGE_TOKENS = 1500
COUNTED_CHARACTERS = 64 * 1024
ANSWER_TOKENS = 2048
"""Left for an answer whose length is not limited."""


def context_tokens(
    messages: Sequence[object], tools: object, chat: ChatInput, limit: int | None, largest: int | None
) -> int | None:
    """Returns the window to ask for, in tokens, at most the model's own; None where that is not known and the request
    is small: then the server's own setting holds.
    """
    image_count = sum(len(entry.get("images", ())) for entry in messages if isinstance(entry, dict))
    byte_count = sum(map(_entry_bytes, messages)) + len(orjson.dumps(tools or [], default=written))
    prompt = byte_count // BYTES_PER_TOKEN
    answer = limit if limit is not None else chat.max_output_tokens
    needed = prompt + image_count * IMAGE_TOKENS + (ANSWER_TOKENS if answer is None else answer)
    if largest is None and needed <= SMALLEST_TOKENS // 2:
        return None
    window = SMALLEST_TOKENS
    while window < needed:
        window *= 2
    return window if largest is None else min(window, largest)


def _entry_bytes(entry: object) -> int:
    """Returns about how many bytes of text an entry has. A long text is not written a second time only to be counted:
    its characters are, and those outside of ASCII as the three bytes that most of them have.
    """
    if not isinstance(entry, dict):
        return len(orjson.dumps(entry, default=written))
    text = entry.get("content")
    if not isinstance(text, str) or len(text) <= COUNTED_CHARACTERS:
        return len(orjson.dumps({key: value for key, value in entry.items() if key != "images"}, default=written))
    rest = {key: value for key, value in entry.items() if key not in {"content", "images"}}
    return len(text) * (1 if text.isascii() else 3) + len(orjson.dumps(rest))
