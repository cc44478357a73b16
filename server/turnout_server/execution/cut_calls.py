"""What a call had come to when it was cut off: told sideways, since a cancelled call neither returns nor raises it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from turnout_server.core.call import CallReport


@dataclass(slots=True)
class CutCall:
    """Is told once, by the call, as it is cancelled; nothing where there was no decision yet."""

    report: CallReport | None = None
    decision_id: str = ""


watched_call: ContextVar[CutCall | None] = ContextVar("watched_call", default=None)
"""Set around a call by whoever may cut it, and wants to hear then what had been tried, delivered and spent."""
