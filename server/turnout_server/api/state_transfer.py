"""The state out to a document, in turns of a few milliseconds; in from one, read beside the event loop, in turns."""

from __future__ import annotations

import asyncio
import gc
from contextlib import contextmanager
from math import ceil
from typing import TYPE_CHECKING

from turnout.v1 import admin_pb2 as pb
from turnout_server.api.answers import target as target_message
from turnout_server.api.faults import Faults
from turnout_server.api.instants import timestamp
from turnout_server.api.provider_states import in_turns
from turnout_server.core.errors import FieldViolation, InvalidRequestError
from turnout_server.core.taking_over import received
from turnout_server.state.document import document, exported, read_document
from turnout_server.state.files import UnusableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from turnout_server.core.fleet import Fleet
    from turnout_server.core.settings import Settings
    from turnout_server.core.taking_over import Received, TakenOver
    from turnout_server.router import Router

TURN_SECONDS = 0.002
"""For how long lines are taken before others have their turn."""
MIB = 1024 * 1024
BESIDE_BYTES = 1024
"""Room for what a message has beside the lines: the document's heading, and when it was true."""
COLLECTED_AT_ONCE = 2
"""How many times the youngest objects are looked over before those that stayed are: twenty otherwise."""


async def export_state(
    request: pb.ExportStateRequest, router: Router, max_message_bytes: int
) -> pb.ExportStateResponse:
    """Returns the state as one document. Raises InvalidRequestError where no message may be as large as that."""
    now, now_wall = router.looking_back.now(), router.looking_back.now_wall()
    # As bytes: the lines of hundreds of targets are a million objects, through which the collector would go again.
    lines: list[bytes] = []
    most_bytes, size = max_message_bytes - BESIDE_BYTES, 0
    until = router.looking_back.now() + TURN_SECONDS
    for line in exported(
        router.state_transfer.memory().kept(now, now_wall), now_wall, with_past=request.include_history
    ):
        size += len(line)
        if size <= most_bytes:
            lines.append(line)
        else:
            # None of it will be sent; the rest is only measured.
            lines.clear()
        if router.looking_back.now() >= until:
            await asyncio.sleep(0)
            until = router.looking_back.now() + TURN_SECONDS
    if size > most_bytes:
        raise too_large(size, max_message_bytes, with_past=request.include_history)
    data = await asyncio.to_thread(document, lines)
    return pb.ExportStateResponse(state=data, as_of=timestamp(now_wall))


def too_large(size: int, max_message_bytes: int, *, with_past: bool) -> InvalidRequestError:
    """Returns the error for a state of `size` bytes that no message can carry."""
    # Rounded up, so that what is hardly too large is not said to fit.
    sizes = f"{ceil(10 * size / MIB) / 10} MiB, and a message at most {max_message_bytes / MIB:g} MiB"
    if not with_past:
        return InvalidRequestError(
            [FieldViolation(field="state", description=f"has {sizes}; raise limits.max_message_mib")]
        )
    what = f"with the past the state has {sizes}; leave it out, or raise limits.max_message_mib"
    return InvalidRequestError([FieldViolation(field="include_history", description=what)])


async def import_state(
    request: pb.ImportStateRequest, router: Router, one_at_a_time: asyncio.Lock, *, by: str
) -> pb.ImportStateResponse:
    """Takes over a document. Raises InvalidRequestError, and nothing has changed then."""
    # A caller that goes away in the middle must not leave a part.
    taken = await asyncio.shield(_taken_over(request, router, one_at_a_time, by))
    return pb.ImportStateResponse(targets=[target_message(each) for each in taken.targets], warnings=taken.warnings)


async def _taken_over(
    request: pb.ImportStateRequest, router: Router, one_at_a_time: asyncio.Lock, by: str
) -> TakenOver:
    looking_back = router.looking_back
    # Read, a document takes many times its length.
    async with one_at_a_time:
        document = await asyncio.to_thread(
            imported,
            request,
            router.configured.fleet,
            router.configured.settings,
            looking_back.now(),
            looking_back.now_wall(),
        )
        return await in_turns(router.state_transfer.take_over(document, by=by))


def imported(request: pb.ImportStateRequest, fleet: Fleet, settings: Settings, now: float, now_wall: float) -> Received:
    """Reads what is to be taken over, and makes it ready. Raises InvalidRequestError."""
    faults = Faults()
    if not request.state:
        faults.add("state", "is missing; give what ExportState returned")
    faults.raise_any()
    try:
        with _short_collections():
            lines = read_document(request.state, now=now, now_wall=now_wall)
            return received(lines, fleet, settings, now=now, now_wall=now_wall)
    except UnusableError as error:
        description = str(error)
    raise InvalidRequestError([FieldViolation(field="state", description=description)])


@contextmanager
def _short_collections() -> Iterator[None]:
    """Has the collector look over less at a time: what is read stays, and calls wait while it looks."""
    before = gc.get_threshold()
    gc.set_threshold(before[0], COLLECTED_AT_ONCE, before[2])
    try:
        yield
    finally:
        gc.set_threshold(*before)
