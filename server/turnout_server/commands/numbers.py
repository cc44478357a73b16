"""Numbers on the command line: those that the contract's fields can hold, and never "not a number"."""

from __future__ import annotations

import math
from typing import Any

import click

MAX_TOKENS = 2**31 - 1
"""What the contract's 32-bit token counts hold."""

MAX_SECONDS = 86_400.0
"""A day is longer than any call, and still far from what gRPC and protobuf refuse."""

MAX_MINUTES = 525_600.0
"""A year; the history never reaches back so far."""


class FiniteRange(click.FloatRange):
    """A range that leaves out NaN: it is neither below nor above any bound, so a plain range lets it through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Returns the number. Ends with wrong usage where it is none, not finite, or out of range."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number.", param, ctx)
        return number
