"""How long a simulated provider takes: the same model of latency that decisions predict with, plus chance."""

from __future__ import annotations

import random

from pydantic import BaseModel, ConfigDict, Field


class LatencyModel(BaseModel):
    """Time to first token grows with the uncached input, the rest with the output; all in seconds.

    `jitter` is the largest relative deviation either way, drawn anew for each wait.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    first_token_seconds: float = Field(default=0.02, ge=0.0)
    seconds_per_input_token: float = Field(default=0.0, ge=0.0)
    seconds_per_output_token: float = Field(default=0.0005, ge=0.0)
    jitter: float = Field(default=0.1, ge=0.0, lt=1.0)

    def until_first_token(self, uncached_input_tokens: int, rng: random.Random) -> float:
        """Returns the seconds between a request and its first content."""
        return self._vary(self.first_token_seconds + self.seconds_per_input_token * uncached_input_tokens, rng)

    def for_output(self, token_count: int, rng: random.Random) -> float:
        """Returns the seconds that so many output tokens take."""
        return self._vary(self.seconds_per_output_token * token_count, rng)

    def _vary(self, seconds: float, rng: random.Random) -> float:
        return seconds * (1.0 + self.jitter * (2.0 * rng.random() - 1.0))
