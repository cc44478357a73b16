"""What a wire format must bring: how a call becomes a request, and how an answer becomes events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from turnout_server.core.chat import StreamEvent
from turnout_server.core.model import FinishReason
from turnout_server.ports import UpstreamCall
from turnout_server.providers.dialects import Dialect
from turnout_server.providers.framing import Splitter

Events = list[StreamEvent]

JsonObject = dict[str, object]


class Decoder(Protocol):
    """Turns the events of one streamed answer into ours. Anything it cannot read it raises as UpstreamError."""

    finished: bool
    """`Finished` has been given out: the answer is complete, whatever happens to the connection."""

    ended: bool
    """The wire's end marker has come: nothing follows."""

    def feed(self, data: bytes, out: Events) -> None:
        """Reads the data of one event, and appends what it means."""
        ...

    def end(self, out: Events) -> None:
        """The connection has ended in good order; appends what that means, or raises UpstreamError TRUNCATED."""
        ...


class Wire(Protocol):
    """One wire format."""

    name: str

    accepts: str
    """The media type that a streamed answer is asked for with."""

    def url(self, call: UpstreamCall, *, stream: bool) -> str:
        """Returns where the call goes."""
        ...

    def splitter(self) -> Splitter:
        """Returns what cuts one streamed answer into events."""
        ...

    def headers(self, secret: str, dialect: Dialect) -> Mapping[str, str]:
        """Returns the headers that carry the key, none where it is "", and what else the wire asks for."""
        ...

    def body(self, call: UpstreamCall, dialect: Dialect, *, stream: bool) -> JsonObject:
        """Returns the request; UpstreamError INVALID_REQUEST where the call cannot be put on this wire."""
        ...

    def decoder(self, call: UpstreamCall, dialect: Dialect) -> Decoder:
        """Returns what reads one streamed answer."""
        ...

    def whole(self, answer: object, call: UpstreamCall, dialect: Dialect) -> Events:
        """Reads a parsed answer that came in one piece, each part as one delta; UpstreamError as for streams."""
        ...


def finish(reasons: Mapping[str, FinishReason], reason: object) -> FinishReason:
    """Returns what a wire's reason means; OTHER for one that is not known."""
    return reasons.get(reason, FinishReason.OTHER) if isinstance(reason, str) else FinishReason.OTHER
