"""The ollama wire: the chat API of Ollama's server, whose streams are lines of JSON."""

from __future__ import annotations

from collections.abc import Mapping

from turnout_server.core.model import FailureKind
from turnout_server.ports import UpstreamCall, UpstreamError
from turnout_server.providers.dialects import Dialect
from turnout_server.providers.framing import Splitter
from turnout_server.providers.ndjson import LineSplitter
from turnout_server.providers.ollama.answer import OllamaDecoder
from turnout_server.providers.ollama.request import request_body
from turnout_server.providers.wire import Decoder, Events, JsonObject

__all__ = ["OllamaWire", "api_url"]

_CHAT = "chat"


def api_url(base_url: str, path: str) -> str:
    """Returns where a path of the API is; the base URL may end in `/api` or in the path of the chat."""
    base = base_url.rstrip("/").removesuffix(f"/api/{_CHAT}").removesuffix("/api")
    return f"{base}/api/{path}"


class OllamaWire:
    """The chat API."""

    name = "ollama"

    accepts = "application/x-ndjson"

    def url(self, call: UpstreamCall, *, stream: bool) -> str:  # noqa: ARG002 - part of the protocol
        """Returns where the call goes."""
        return api_url(call.spec.base_url, _CHAT)

    def splitter(self) -> Splitter:
        """Returns what cuts one streamed answer into events."""
        return LineSplitter()

    def headers(self, secret: str, dialect: Dialect) -> Mapping[str, str]:  # noqa: ARG002 - part of the protocol
        """Returns the header that carries the key: the vendor's cloud wants one, and so do proxies before a server."""
        return {"authorization": f"Bearer {secret}"} if secret else {}

    def body(self, call: UpstreamCall, dialect: Dialect, *, stream: bool) -> JsonObject:  # noqa: ARG002 - protocol
        """Returns the request."""
        return request_body(call, stream=stream)

    def decoder(self, call: UpstreamCall, dialect: Dialect) -> Decoder:
        """Returns what reads one streamed answer."""
        return OllamaDecoder(call.chat, dialect.vendor)

    def whole(self, answer: object, call: UpstreamCall, dialect: Dialect) -> Events:
        """Reads an answer that came in one piece: the one line of a stream that has but one."""
        out: Events = []
        decoder = OllamaDecoder(call.chat, dialect.vendor)
        decoder.read(answer, out)
        if not decoder.finished:
            raise UpstreamError(FailureKind.PROTOCOL, "the answer is not marked as done", http_status=200)
        return out
