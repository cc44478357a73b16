"""Adds a caller's options for one provider to that provider's request."""

from __future__ import annotations

from turnout_server.core.chat import ChatInput
from turnout_server.core.reserved_options import reserved_options
from turnout_server.providers.failures import invalid_request
from turnout_server.providers.json_text import whole_numbers
from turnout_server.providers.wire import JsonObject


def add_provider_options(body: JsonObject, chat: ChatInput, provider: str) -> None:
    """Sets the extra top-level fields in place; they win over what the input says, but for tools, which add up.

    Raises UpstreamError INVALID_REQUEST for fields that are reserved.
    """
    options = chat.provider_options.get(provider)
    if not options:
        return
    reserved = reserved_options(options)
    if reserved:
        raise invalid_request(f"provider_options[{provider}] must not set {', '.join(reserved)}")
    for name, value in options.items():
        mine = body.get(name)
        theirs = whole_numbers(value)
        if name == "tools" and isinstance(mine, list) and isinstance(theirs, list):
            body[name] = [*mine, *theirs]
        elif isinstance(mine, dict) and isinstance(theirs, dict):
            body[name] = {**mine, **theirs}
        else:
            body[name] = theirs
