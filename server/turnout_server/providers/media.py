"""Which media each wire takes, and how: a table, because a target's capabilities are made from it.

The sidecar never fetches a URL: where a wire does not take one, only bytes will do.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from turnout_server.core.chat import MediaKind
from turnout_server.core.model import Capability
from turnout_server.providers.dialects import Dialect

MEDIA_BY_URL: Mapping[str, frozenset[Capability]] = MappingProxyType(
    {
        "openai": frozenset({Capability.VISION}),
        "anthropic": frozenset({Capability.VISION, Capability.DOCUMENTS}),
        "gemini": frozenset({Capability.VISION, Capability.DOCUMENTS}),
        "ollama": frozenset(),
    }
)
"""By wire: media that go as a URL which the provider fetches."""

MEDIA_BY_BYTES: Mapping[str, frozenset[Capability]] = MappingProxyType(
    {
        "openai": frozenset({Capability.VISION, Capability.AUDIO, Capability.DOCUMENTS}),
        "anthropic": frozenset({Capability.VISION, Capability.DOCUMENTS}),
        "gemini": frozenset({Capability.VISION, Capability.AUDIO, Capability.DOCUMENTS}),
        "ollama": frozenset({Capability.VISION}),
    }
)
"""By wire: media that go as bytes within the request."""


def media_by_url(wire: str, dialect: Dialect) -> frozenset[Capability]:
    """Returns what a vendor takes by URL on a wire."""
    return MEDIA_BY_URL[wire] if dialect.fetches_media else frozenset()


DEFAULT_MEDIA_TYPE: Mapping[MediaKind, str] = MappingProxyType(
    {MediaKind.IMAGE: "image/png", MediaKind.AUDIO: "audio/wav", MediaKind.DOCUMENT: "application/pdf"}
)
"""What a part without a media type is taken for."""
