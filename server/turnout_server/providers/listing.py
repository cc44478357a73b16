"""Where each wire lists its models: asking there costs nothing, and shows that a provider answers."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from turnout_server.core.chat import ChatInput
from turnout_server.ports import UpstreamCall

if TYPE_CHECKING:
    from turnout_server.core.fleet import TargetSpec
    from turnout_server.providers.wire import Wire

NO_LIST_STATUSES = frozenset({404, 405, 410, 501})
"""What servers without such a list answer. They have answered."""


class Listing(NamedTuple):
    """Where a wire lists models: so many segments of the address of a call dropped, this path put in their place.

    `key_path` is asked first where the list itself needs no key.
    """

    dropped_segments: int
    path: str
    field: str
    name: str
    prefix: str = ""
    key_path: str = ""


_BY_WIRE: Mapping[str, Listing] = MappingProxyType(
    {
        "openai": Listing(2, "/models", "data", "id"),
        "anthropic": Listing(1, "/models?limit=1000", "data", "id"),
        "gemini": Listing(2, "/models?pageSize=1000", "models", "name", prefix="models/"),
        "ollama": Listing(1, "/tags", "models", "name"),
    }
)
_BY_VENDOR: Mapping[str, Listing] = MappingProxyType(
    {"openrouter": Listing(2, "/models", "data", "id", key_path="/key")}
)


def listing_of(wire: str, vendor: str) -> Listing:
    """Returns where the models of a wire, or of a vendor that differs from it, are listed."""
    return _BY_VENDOR.get(vendor) or _BY_WIRE[wire]


def root_of(wire: Wire, call: UpstreamCall, listing: Listing) -> str:
    """Returns the address that the listing's paths are put behind."""
    return wire.url(call, stream=False).rsplit("/", listing.dropped_segments)[0]


def address_to_ask(wire: Wire, vendor: str, spec: TargetSpec) -> str:
    """Returns an address of a target's endpoint where asking with the key costs nothing."""
    listing = listing_of(spec.wire, vendor)
    call = UpstreamCall(spec=spec, credential="", chat=ChatInput(messages=()))
    return root_of(wire, call, listing) + (listing.key_path or listing.path)
