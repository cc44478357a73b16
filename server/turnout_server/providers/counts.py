"""Numbers that vendors state of an answer: what cannot be one is unknown, so that no sum and no bill goes wrong."""

from __future__ import annotations

TOKENS_MAXIMUM = 1_000_000_000
"""More than any request can have; what is beyond is nonsense, and would not fit into the fields of the contract."""
COST_MAXIMUM_USD = 1_000_000.0


def token_count(value: object) -> int | None:
    """Returns a count of tokens, 0 to 1,000,000,000; None for anything else, such as text, true or a negative."""
    return value if type(value) is int and 0 <= value <= TOKENS_MAXIMUM else None


def cost_usd(value: object) -> float | None:
    """Returns a cost in USD, 0 to 1,000,000; None for anything else, such as NaN or infinity."""
    return float(value) if type(value) in (int, float) and 0 <= value <= COST_MAXIMUM_USD else None  # type: ignore[operator,arg-type]  # told by the exact type
