"""A wait is told once, with its time: the sidecar's message has it, and a command that shows the message adds none."""

from __future__ import annotations

import pytest

from tests.unit.core.fleets import NOW, SetBreaker, SetFleet, decided, spec
from turnout.errors import TurnoutError
from turnout.status import error_from_status
from turnout_server.api.status import status
from turnout_server.commands.exits import Failure
from turnout_server.commands.sidecar import calling
from turnout_server.core.call import AttemptRecord
from turnout_server.core.decide import unavailable
from turnout_server.core.errors import SidecarOverloadedError
from turnout_server.core.errors import TurnoutError as CoreError
from turnout_server.core.model import BreakerState, FailureKind, Target
from turnout_server.execution.ends import CallEnd, error_of
from turnout_server.ports import UpstreamError

PLACE = "127.0.0.1:1"


def shown(error: TurnoutError) -> str:
    """What a command ends with when a call of it ends so."""
    with pytest.raises(Failure) as caught, calling(PLACE):
        raise error
    return str(caught.value)


def received(error: CoreError) -> TurnoutError:
    """An error of the sidecar's as the client reads it."""
    answer = status(error, offset=0.0)
    return error_from_status(answer.code, answer.message, answer.trailers)


def refused(detail: str) -> CoreError:
    attempt = AttemptRecord(
        target=Target("north", "small"),
        attempt_id="a-1",
        started_at_wall=0.0,
        failure=FailureKind.RATE_LIMITED,
        http_status=429,
        detail=detail,
        possibly_billed=False,
    )
    return error_of(
        CallEnd(
            decision_id="d-1",
            error=UpstreamError(FailureKind.RATE_LIMITED, detail),
            attempts=(attempt,),
            rejections=(),
            delivered_bytes=0,
            delivered=False,
            out_of_time=False,
            free_in_seconds=5.1,
        )
    )


@pytest.mark.parametrize("detail", ["too many requests", "too many requests " * 100], ids=["short", "long"])
def test_attempts_that_were_refused_say_the_wait_once_with_its_time(detail: str) -> None:
    error = refused(detail)
    text = shown(received(error))

    assert (1, 1) == (text.count("try again"), text.count("5.1 s"))
    assert "try again in 5.1 s" in error.message


def test_a_sidecar_without_room_says_the_wait_once_with_its_time() -> None:
    error = SidecarOverloadedError("no room for more calls; nothing was sent", retry_after_seconds=2.0)

    assert "no room for more calls; nothing was sent; try again in 2.0 s" == error.message
    assert 1 == shown(received(error)).count("try again")


def test_targets_that_are_out_say_the_wait_once() -> None:
    fleet = SetFleet(spec("a/m"))
    fleet.at("a/m").breaker = SetBreaker(BreakerState.OPEN, again_at=NOW + 5.1)
    text = shown(received(unavailable(decided(fleet), NOW)))

    assert (1, 1) == (text.count("try again"), text.count("5.1 s"))
