"""When the present RPC came in: told sideways, so that the time of a call is counted from there and not from its start.

What lies between is waiting for room, reading the request, and looking for an answer that is there already.
"""

from __future__ import annotations

from contextvars import ContextVar

arrived_at: ContextVar[float | None] = ContextVar("arrived_at", default=None)
"""Monotonic seconds; None where no RPC is answered, as in tests and for requests of our own."""
