"""How many tokens go in and come out, before anybody has counted: bytes in, habits out, both learned from reports.

No tokenizer: one would be wrong for most vendors, and a ratio learned per model is within a few percent after a few
answers.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

TOKENS_PER_BYTE = 0.25
"""Prior: four bytes of text make a token, the usual rule of thumb for English and code."""
RATIO_MINIMUM, RATIO_MAXIMUM = 0.02, 2.0
"""Outside of this a report is not about this text: 50 bytes to a token, or two tokens to a byte."""
RATIO_FORGET = 0.98
RATIO_FULL_BYTES = 1000.0
"""A prompt of this length or more counts as one, a shorter one as its part of it."""
RATIO_PRIOR_COUNT = 0.25
"""The prior counts as a quarter of a prompt: a few answers say more of a tokenizer than a rule of thumb."""
RATIO_BYTES_MINIMUM = 64
"""Shorter prompts say more about the vendor's framing than about text."""

OUTPUT_TOKENS = 400.0
"""Prior: what an answer has, where nothing is known of the task or the model."""
LENGTH_PRIOR_COUNT = 2.0
LENGTH_COUNT_MAXIMUM = 50.0
"""A mean over about the last fifty answers."""
ENTRIES_MAXIMUM = 4096
"""Bound of each table; tasks are the callers' words. The entry longest without a report is forgotten first."""


def estimate_input_tokens(byte_count: int, ratio: float) -> int:
    """Returns the tokens that `byte_count` bytes of text make at `ratio` tokens per byte, rounded up; not negative."""
    return max(0, ceil(byte_count * ratio))


class TokenRatios:
    """Tokens per byte of each (provider, model), from what providers report; 0.25 where nothing is known.

    The harmonic mean over prompts, since by it the relative errors of estimates cancel out. A mean by bytes would
    follow the longest prompts, and those are in whatever language the tokenizer is worst at.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[float, float]] = {}
        """By model: bytes per token, added up over prompts, and how many prompts those are; both fading."""

    def ratio(self, provider: str, model: str) -> float:
        """Returns tokens per byte, between 0.02 and 2."""
        sums = self._known.get((provider, model))
        return TOKENS_PER_BYTE if sums is None else sums[1] / sums[0]

    def keep(self) -> list[tuple[str, str, float, float]]:
        """Returns a row for each model: provider, model and its two sums."""
        return [(provider, model, *sums) for (provider, model), sums in self._known.items()]

    def resume(self, rows: Iterable[tuple[str, str, float, float]]) -> None:
        """Takes what was kept, as far as it makes sense."""
        for provider, model, total, count in rows:
            if total > 0.0 and count > 0.0 and RATIO_MINIMUM <= count / total <= RATIO_MAXIMUM:
                self._known[provider, model] = (total, count)

    def observe(self, provider: str, model: str, *, byte_count: int, input_tokens: int) -> None:
        """Learns from one prompt; ignores short ones and reports that cannot be about this text."""
        if byte_count < RATIO_BYTES_MINIMUM or not RATIO_MINIMUM <= input_tokens / byte_count <= RATIO_MAXIMUM:
            return
        key = (provider, model)
        total, count = self._known.pop(key, (RATIO_PRIOR_COUNT / TOKENS_PER_BYTE, RATIO_PRIOR_COUNT))
        weight = min(1.0, byte_count / RATIO_FULL_BYTES)
        kept = RATIO_FORGET**weight
        self._known[key] = (total * kept + weight * byte_count / input_tokens, count * kept + weight)
        if len(self._known) > ENTRIES_MAXIMUM:
            del self._known[next(iter(self._known))]


class OutputLengths:
    """Tokens of output by (task, provider, model), from what was answered.

    A pair never seen takes the model's mean over all tasks, a model never seen the prior.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str], tuple[float, float]] = {}

    def expected(self, task: str, provider: str, model: str) -> float:
        """Returns the expected tokens of output, without any cap of the request."""
        known = self._known.get((task, provider, model))
        if known is None and task:
            known = self._known.get(("", provider, model))
        return OUTPUT_TOKENS if known is None else known[0]

    def keep(self) -> list[tuple[str, str, str, float, float]]:
        """Returns a row for each task and model: task, provider, model, mean and count."""
        return [(*key, *known) for key, known in self._known.items()]

    def resume(self, rows: Iterable[tuple[str, str, str, float, float]]) -> None:
        """Takes what was kept, as far as it makes sense."""
        for task, provider, model, mean, count in rows:
            if mean >= 0.0 and 0.0 < count <= LENGTH_COUNT_MAXIMUM and len(self._known) < ENTRIES_MAXIMUM:
                self._known[task, provider, model] = (mean, count)

    def observe(self, task: str, provider: str, model: str, output_tokens: int) -> None:
        """Learns from one complete answer."""
        if output_tokens < 0:
            return
        if task:
            self._learn((task, provider, model), output_tokens, self.expected("", provider, model))
        self._learn(("", provider, model), output_tokens, OUTPUT_TOKENS)

    def _learn(self, key: tuple[str, str, str], output_tokens: int, prior: float) -> None:
        mean, count = self._known.pop(key, (prior, LENGTH_PRIOR_COUNT))
        count = min(count + 1.0, LENGTH_COUNT_MAXIMUM)
        self._known[key] = (mean + (output_tokens - mean) / count, count)
        if len(self._known) > ENTRIES_MAXIMUM:
            del self._known[next(iter(self._known))]
