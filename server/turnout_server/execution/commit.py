"""The commit rule: until an attempt brings content, nothing of it is shown, so that a failure can still be hidden.

Content is text, a tool call, or thinking. What a provider sends before that (empty pieces, signatures) is held back, at
most 64 pieces and 256 KiB of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from turnout_server.core.chat import Delta, ReasoningDelta, TextDelta, ToolCallDelta
from turnout_server.core.model import FailureKind
from turnout_server.core.settings import FailoverSettings
from turnout_server.execution.accounting import delta_bytes
from turnout_server.ports import UpstreamError


def is_content(delta: Delta) -> bool:
    """Whether a delta brings something of the answer."""
    match delta:
        case TextDelta(text=text):
            return bool(text)
        case ReasoningDelta():
            return bool(delta.text) or delta.redacted_data is not None
        case ToolCallDelta():
            return True
        case _:
            return False


class CommitBuffer:
    """Holds back an attempt's deltas until the first content; after that it lets everything through."""

    __slots__ = ("_bytes", "_held", "_max_bytes", "_max_events", "committed")

    def __init__(self, settings: FailoverSettings) -> None:
        self._max_events = settings.precommit_max_events
        self._max_bytes = settings.precommit_max_bytes
        self._held: list[Delta] = []
        self._bytes = 0
        self.committed = False

    def add(self, deltas: Iterable[Delta]) -> tuple[Delta, ...]:
        """Takes deltas that arrived and returns those that may be shown now.

        Raises UpstreamError of kind PROTOCOL where more would have to be held than the bounds allow.
        """
        if self.committed:
            return tuple(deltas)
        for delta in deltas:
            self._held.append(delta)
            self.committed = self.committed or is_content(delta)
            if not self.committed:
                self._bytes += delta_bytes(delta)
        if self.committed:
            return self.release()
        if len(self._held) > self._max_events or self._bytes > self._max_bytes:
            raise UpstreamError(
                FailureKind.PROTOCOL,
                f"{len(self._held)} pieces of {self._bytes} bytes came before any content; at most "
                f"{self._max_events} pieces of {self._max_bytes} bytes are held back",
            )
        return ()

    def release(self) -> tuple[Delta, ...]:
        """Returns what is held back: the answer is complete, or its content has come."""
        held, self._held = tuple(self._held), []
        return held
