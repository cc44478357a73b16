"""What is known of the present RPC, told sideways: whatever is logged on the way carries the id of its decision."""

from __future__ import annotations

from contextvars import ContextVar

decision_under_way: ContextVar[str] = ContextVar("decision_under_way", default="")
"""The id of the decision that is being carried out, "" where there is none."""
