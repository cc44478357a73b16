"""The openai wire: chat completions, as OpenAI and the many compatible servers speak it."""

from __future__ import annotations

from collections.abc import Mapping

from turnout_server.core.model import FailureKind
from turnout_server.ports import UpstreamCall, UpstreamError
from turnout_server.providers.dialects import Authentication, Dialect
from turnout_server.providers.framing import Splitter
from turnout_server.providers.openai.answer import OpenAIDecoder
from turnout_server.providers.openai.request import request_body
from turnout_server.providers.sse import EventSplitter
from turnout_server.providers.wire import Decoder, Events, JsonObject

__all__ = ["OpenAIWire"]

_PATH = "/chat/completions"


def chat_url(base_url: str) -> str:
    """Returns the base URL with the path of chat completions, which it may already have."""
    base = base_url.rstrip("/")
    return base if base.endswith(_PATH) else base + _PATH


class OpenAIWire:
    """Chat completions."""

    name = "openai"

    accepts = "text/event-stream"

    def url(self, call: UpstreamCall, *, stream: bool) -> str:  # noqa: ARG002 - part of the protocol
        """Returns where the call goes: `/chat/completions` below the base URL."""
        return chat_url(call.spec.base_url)

    def splitter(self) -> Splitter:
        """Returns what cuts one streamed answer into events."""
        return EventSplitter()

    def headers(self, secret: str, dialect: Dialect) -> Mapping[str, str]:
        """Returns the header that carries the key."""
        if not secret:
            return {}
        if dialect.authentication is Authentication.API_KEY:
            return {"x-api-key": secret}
        return {"authorization": f"Bearer {secret}"}

    def body(self, call: UpstreamCall, dialect: Dialect, *, stream: bool) -> JsonObject:
        """Returns the request."""
        return request_body(call, dialect, stream=stream)

    def decoder(self, call: UpstreamCall, dialect: Dialect) -> Decoder:
        """Returns what reads one streamed answer."""
        return OpenAIDecoder(call.chat, dialect, call.spec.target.model)

    def whole(self, answer: object, call: UpstreamCall, dialect: Dialect) -> Events:
        """Reads an answer that came in one piece: a chunk whose delta is called message."""
        out: Events = []
        decoder = OpenAIDecoder(call.chat, dialect, call.spec.target.model)
        decoder.read(answer, out)
        if not decoder.finished:
            raise UpstreamError(FailureKind.PROTOCOL, "the answer has no finish reason", http_status=200)
        return out
