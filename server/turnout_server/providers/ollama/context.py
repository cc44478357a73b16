"""How large a context window to ask Ollama's server for: enough for this request, and not another one each time.

The server loads a model anew when the window changes, which takes seconds, and a window costs memory whether it is used
or not. So windows come in doubling steps, and the smallest that holds the request is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from turnout_server.core.chat import ChatInput

SMALLEST_TOKENS = 8192
"""Most requests fit, so that a model is loaded once and stays."""
BYTES_PER_TOKEN = 3
"""Fewer than usual: a window too large costs memory, one too small loses the beginning of the prompt."""
IMAGE_TOKENS = 1500
ANSWER_TOKENS = 2048
"""Left for an answer whose length is not limited."""


def context_tokens(
    messages: Sequence[object], tools: object, chat: ChatInput, limit: int | None, largest: int | None
) -> int | None:
    """Returns the window to ask for, in tokens, at most the model's own; None where that is not known and the request
    is small: then the server's own setting holds.
    """
    image_count = sum(len(entry.get("images", ())) for entry in messages if isinstance(entry, dict))
    words = [
        {key: value for key, value in entry.items() if key != "images"} if isinstance(entry, dict) else entry
        for entry in messages
    ]
    prompt = (len(orjson.dumps(words)) + len(orjson.dumps(tools or []))) // BYTES_PER_TOKEN
    answer = limit if limit is not None else chat.max_output_tokens
    needed = prompt + image_count * IMAGE_TOKENS + (ANSWER_TOKENS if answer is None else answer)
    if largest is None and needed <= SMALLEST_TOKENS // 2:
        return None
    window = SMALLEST_TOKENS
    while window < needed:
        window *= 2
    return window if largest is None else min(window, largest)
