"""The gemini wire: generateContent of the Gemini API, as Google and compatible servers speak it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from turnout_server.ports import UpstreamCall
from turnout_server.providers.dialects import Authentication, Dialect
from turnout_server.providers.framing import Splitter
from turnout_server.providers.gemini.answer import GeminiDecoder, whole_answer
from turnout_server.providers.gemini.request import request_body
from turnout_server.providers.sse import EventSplitter
from turnout_server.providers.wire import Decoder, Events, JsonObject

__all__ = ["GeminiWire", "generate_url"]

API_VERSION = "v1beta"
"""What a base URL that names no version is taken for: the vendor's documentation is written for it."""

_VERSION = re.compile(r"v\d+((alpha|beta)\d*)?")


def generate_url(base_url: str, model: str, *, stream: bool) -> str:
    """Returns where a call of this model goes.

    The base URL may end before or after the version, or in a collection of models. A model may bring its collection,
    as in `tunedModels/NAME`.
    """
    base = base_url.rstrip("/")
    if not any(_VERSION.fullmatch(segment) for segment in urlsplit(base).path.split("/")):
        base = f"{base}/{API_VERSION}"
    base = base.removesuffix("/models")
    name = model if "/" in model else f"models/{model}"
    return f"{base}/{quote(name, safe='/@')}:{'streamGenerateContent?alt=sse' if stream else 'generateContent'}"


class GeminiWire:
    """generateContent."""

    name = "gemini"

    accepts = "text/event-stream"

    def url(self, call: UpstreamCall, *, stream: bool) -> str:
        """Returns where the call goes: the model and the way of answering are part of the path."""
        return generate_url(call.spec.base_url, call.spec.target.model, stream=stream)

    def splitter(self) -> Splitter:
        """Returns what cuts one streamed answer into events."""
        return EventSplitter()

    def headers(self, secret: str, dialect: Dialect) -> Mapping[str, str]:
        """Returns the header that carries the key; in the URL, where the API takes it too, it would be logged."""
        if not secret:
            return {}
        if dialect.authentication is Authentication.GOOGLE_API_KEY:
            return {"x-goog-api-key": secret}
        return {"authorization": f"Bearer {secret}"}

    def body(self, call: UpstreamCall, dialect: Dialect, *, stream: bool) -> JsonObject:  # noqa: ARG002 - protocol
        """Returns the request, the same for both ways of answering."""
        return request_body(call)

    def decoder(self, call: UpstreamCall, dialect: Dialect) -> Decoder:
        """Returns what reads one streamed answer."""
        return GeminiDecoder(call.chat, dialect.vendor)

    def whole(self, answer: object, call: UpstreamCall, dialect: Dialect) -> Events:
        """Reads an answer that came in one piece."""
        return whole_answer(answer, call.chat, dialect.vendor)
