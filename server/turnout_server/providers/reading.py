"""Reads one streamed answer chunk by chunk. What came before an error is never lost to it, however the chunks fell."""

from __future__ import annotations

from collections.abc import Sequence

from turnout_server.core.chat import Lifecycle, StreamEvent
from turnout_server.core.model import FailureKind
from turnout_server.ports import UpstreamError
from turnout_server.providers.failures import protocol_error
from turnout_server.providers.framing import EventTooLargeError, Splitter
from turnout_server.providers.wire import Decoder, Events

_SIGN_OF_LIFE = (Lifecycle(),)

MAX_STREAM_BYTES = 512 * 1024 * 1024


class StreamReading:
    """The events of one answer. `error`, once set, is what ended it; `over` says that nothing more is to be read."""

    __slots__ = ("_bytes_left", "_decoder", "_splitter", "error")

    def __init__(self, decoder: Decoder, splitter: Splitter) -> None:
        self._decoder = decoder
        self._splitter = splitter
        self._bytes_left = MAX_STREAM_BYTES
        self.error: UpstreamError | None = None

    @property
    def over(self) -> bool:
        """Whether the end marker has come, or an error."""
        return self._decoder.ended or self.error is not None

    def feed(self, chunk: bytes) -> Sequence[StreamEvent]:
        """Returns what the chunk brought; a sign of life for bytes that were no event: pings, comments, halves."""
        events: Events = []
        decoder = self._decoder
        self._bytes_left -= len(chunk)
        try:
            if self._bytes_left < 0:
                raise protocol_error("the answer is larger than 512 MiB")
            for data in self._splitter.feed(chunk):
                decoder.feed(data, events)
                if decoder.ended:
                    break
        except EventTooLargeError:
            self._fail(protocol_error("one event of the answer is larger than 1 MiB"))
        except UpstreamError as error:
            self._fail(error)
        return events if events or decoder.finished or self.error else _SIGN_OF_LIFE

    def broke(self, error: UpstreamError) -> None:
        """The connection broke: a complete answer stays one."""
        self._fail(error)

    def end(self) -> Events:
        """Returns what the orderly end of the connection brought: also an event that only lacks its blank line."""
        events: Events = []
        rest = self._splitter.rest()
        try:
            if rest is not None:
                try:
                    self._decoder.feed(rest, events)
                except UpstreamError as error:
                    # Half an event is the mark of a cut, not of a malformed answer.
                    if error.kind is not FailureKind.PROTOCOL:
                        raise
            self._decoder.end(events)
        except UpstreamError as error:
            self._fail(error)
        return events

    def _fail(self, error: UpstreamError) -> None:
        if self._decoder.finished:
            # The answer is complete; what follows it is nobody's concern.
            self._decoder.ended = True
        else:
            self.error = error
