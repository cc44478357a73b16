"""Which decisions to ask for again, so that few are written out twice: with many targets they are large."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from turnout.v1 import admin_pb2

MOST = 30
"""As many at most, however tall the screen is."""
_WAIT = timedelta(seconds=60)
"""A call that has not ended by then, or a plan that was not reported, is looked at with the next whole page only."""

Records = tuple[admin_pb2.DecisionRecord, ...]


def ask_since(known: Records, now: datetime) -> Timestamp | None:
    """Returns from when on to ask, by the sidecar's clock: since the newest known, and the eldest that may still end.

    None is everything.
    """
    if not known:
        return None
    waiting = [
        record.decision.decided_at
        for record in known
        if record.result == admin_pb2.DECISION_RESULT_UNKNOWN
        and now - record.decision.decided_at.ToDatetime(now.tzinfo) < _WAIT
    ]
    return min((known[0].decision.decided_at, *waiting), key=Timestamp.ToNanoseconds)


def joined(known: Records, read: Sequence[admin_pb2.DecisionRecord], count: int) -> Records:
    """Returns the newest `count`, newest first: what was read, and of what was known what it leaves room for.

    Where as many were read as were asked for, there may be others between them and those known.
    """
    if len(read) >= count:
        return tuple(read[:count])
    again = {record.decision.decision_id for record in read}
    older = [record for record in known if record.decision.decision_id not in again]
    return (*read, *older)[:count]
