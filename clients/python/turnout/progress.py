"""What a stream has come to, and whether it may be made again: the rule that sync and asyncio streams share."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from turnout.answer import Answer
from turnout.errors import ContractError, RestartedError, TurnoutError
from turnout.gather import Gatherer
from turnout.retrying import Tries
from turnout.status import error_from_rpc
from turnout.v1 import router_pb2 as pb


class StreamProgress:
    """The one stream of a caller, over however many calls it takes until content comes."""

    def __init__(self, tries: Tries) -> None:
        self.tries = tries
        self.gatherer = Gatherer()
        self.error: TurnoutError | None = None

    def take(self, event: pb.ExecuteStreamResponse) -> bool:
        """Takes an event; returns whether the caller sees it. A failure is seen as the error that follows it."""
        return self.gatherer.add(event) and event.WhichOneof("event") not in ("failure", None)

    def wait_after(self, error: grpc.RpcError, now: float) -> float | None:
        """Returns how many seconds to wait before the call is made again; raises the typed error where it must not be.

        None: the answer was complete before the connection failed, so nothing is lost.
        """
        if self.gatherer.complete:
            return None
        self.error = error_from_rpc(error, self.gatherer.failure)
        wait = None if self.gatherer.has_content else self.tries.wait_after(self.error, now)
        if wait is None:
            raise self.error from error
        self.error = None
        self.gatherer = Gatherer()
        return wait

    def ended(self) -> None:
        """Checks a stream that ended with OK. Raises ContractError where its completion is missing."""
        if not self.gatherer.complete:
            self.error = ContractError("the stream ended without its completion: what came is not a whole answer")
            raise self.error

    def answer(self) -> Answer:
        """Returns the complete answer; raises what ended the stream otherwise."""
        if self.error is not None:
            raise self.error
        return self.gatherer.answer()


class TextPieces:
    """Picks the text out of events, and sees to it that text of a discarded attempt is not taken for the answer's."""

    def __init__(self, on_restart: Callable[[], None] | None) -> None:
        self._on_restart = on_restart
        self._given = False

    def of(self, event: pb.ExecuteStreamResponse) -> str:
        """Returns the text of an event, "" for none. Raises RestartedError for a restart that nobody would hear of."""
        kind = event.WhichOneof("event")
        if kind == "restart" and self._given:
            if self._on_restart is None:
                raise RestartedError(
                    "the text so far is void, the answer began again: pass on_restart to begin again too"
                )
            self._given = False
            self._on_restart()
        text = event.delta.text if kind == "delta" else ""
        self._given = self._given or bool(text)
        return text
