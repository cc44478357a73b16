"""The anthropic wire: the Messages API, as Anthropic and compatible servers speak it."""

from __future__ import annotations

from collections.abc import Mapping

from turnout_server.ports import UpstreamCall
from turnout_server.providers.anthropic.answer import AnthropicDecoder, whole_answer
from turnout_server.providers.anthropic.request import request_body
from turnout_server.providers.anthropic.structured import answers_by_tool
from turnout_server.providers.dialects import Authentication, Dialect
from turnout_server.providers.framing import Splitter
from turnout_server.providers.sse import EventSplitter
from turnout_server.providers.wire import Decoder, Events, JsonObject

__all__ = ["AnthropicWire"]

API_VERSION = "2023-06-01"


def messages_url(base_url: str) -> str:
    """Returns the base URL with the path of the Messages API, of which it may already have a part."""
    base = base_url.rstrip("/")
    if base.endswith("/messages"):
        return base
    return f"{base}/messages" if base.endswith("/v1") else f"{base}/v1/messages"


class AnthropicWire:
    """The Messages API."""

    name = "anthropic"

    accepts = "text/event-stream"

    def url(self, call: UpstreamCall, *, stream: bool) -> str:  # noqa: ARG002 - part of the protocol
        """Returns where the call goes: `/v1/messages` below the base URL."""
        return messages_url(call.spec.base_url)

    def splitter(self) -> Splitter:
        """Returns what cuts one streamed answer into events."""
        return EventSplitter()

    def headers(self, secret: str, dialect: Dialect) -> Mapping[str, str]:
        """Returns the header that carries the key, and the version of the API."""
        headers = {"anthropic-version": API_VERSION}
        if secret and dialect.authentication is Authentication.API_KEY:
            headers["x-api-key"] = secret
        elif secret:
            headers["authorization"] = f"Bearer {secret}"
        return headers

    def body(self, call: UpstreamCall, dialect: Dialect, *, stream: bool) -> JsonObject:  # noqa: ARG002 - protocol
        """Returns the request."""
        return request_body(call, stream=stream)

    def decoder(self, call: UpstreamCall, dialect: Dialect) -> Decoder:
        """Returns what reads one streamed answer."""
        return AnthropicDecoder(call.chat, by_tool=answers_by_tool(call), vendor=dialect.vendor)

    def whole(self, answer: object, call: UpstreamCall, dialect: Dialect) -> Events:
        """Reads an answer that came in one piece."""
        return whole_answer(answer, call.chat, by_tool=answers_by_tool(call), vendor=dialect.vendor)
