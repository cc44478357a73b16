"""The state out to a document and in from one: taken in turns of a few milliseconds, encoded beside the event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from turnout.v1 import admin_pb2 as pb
from turnout_server.api.answers import target as target_message
from turnout_server.api.faults import Faults
from turnout_server.api.instants import timestamp
from turnout_server.state.document import document, exported, read_document
from turnout_server.state.files import UnusableError

if TYPE_CHECKING:
    from turnout_server.core.keeping import Aged
    from turnout_server.core.kept import Line
    from turnout_server.router import Router

TURN_SECONDS = 0.002
"""For how long lines are taken before others have their turn."""


async def export_state(request: pb.ExportStateRequest, router: Router) -> pb.ExportStateResponse:
    """Returns the state as one document."""
    now, now_wall = router.looking_back.now(), router.looking_back.now_wall()
    lines: list[Line] = []
    until = router.looking_back.now() + TURN_SECONDS
    for line in exported(router.memory().kept(now, now_wall), with_past=request.include_history):
        lines.append(line)
        if router.looking_back.now() >= until:
            await asyncio.sleep(0)
            until = router.looking_back.now() + TURN_SECONDS
    data = await asyncio.to_thread(document, lines, now_wall)
    return pb.ExportStateResponse(state=data, as_of=timestamp(now_wall))


async def import_state(request: pb.ImportStateRequest, router: Router, *, by: str) -> pb.ImportStateResponse:
    """Takes over a document. Raises InvalidRequestError, and nothing has changed then."""
    lines = await asyncio.to_thread(imported, request, router.looking_back.now(), router.looking_back.now_wall())
    taken = router.take_over(lines, by=by)
    return pb.ImportStateResponse(targets=[target_message(each) for each in taken.targets], warnings=taken.warnings)


def imported(request: pb.ImportStateRequest, now: float, now_wall: float) -> list[Aged]:
    """Reads what is to be taken over. Raises InvalidRequestError."""
    faults = Faults()
    if not request.state:
        faults.add("state", "is missing; give what ExportState returned")
        faults.raise_any()
    try:
        return read_document(request.state, now=now, now_wall=now_wall)
    except UnusableError as error:
        faults.add("state", str(error))
    faults.raise_any()
    return []
