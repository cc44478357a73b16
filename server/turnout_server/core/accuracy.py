"""How well tokens and cost are estimated: what was expected of an answer against what it came to, per model.

Nothing is decided by it; it shows whether what is learned (`tokens`) makes the estimates better.
"""

from __future__ import annotations

from dataclasses import dataclass

from turnout_server.core.cost import expected_cost_nano_usd
from turnout_server.core.expectation import Expected
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.model import Outcome, UsageSource
from turnout_server.core.tokens import OutputLengths

FORGET = 0.98
"""What one more answer leaves of the weight of those before: a mean over about the last fifty, as the ratios have."""
ERROR_MAXIMUM = 10.0
"""One answer of a single token, expected to have hundreds, must not be all that is seen of the others."""
ENTRIES_MAXIMUM = 4096
"""Models told apart; the one longest without an answer is forgotten first."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Means over the answers seen. Errors are shares of the actual value: 0.1 is 10 % too high, as `bias`."""

    mean_absolute_error: float
    bias: float
    sample_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateAccuracy:
    """How well one model's input tokens, output tokens and cost are estimated; None without answers to tell by."""

    input_tokens: Accuracy | None = None
    output_tokens: Accuracy | None = None
    cost: Accuracy | None = None


UNKNOWN = EstimateAccuracy()


class ErrorAverage:
    """Decayed mean absolute percentage error and bias of one estimate."""

    __slots__ = ("_absolute", "_bias", "_count", "_weight")

    def __init__(self) -> None:
        self._absolute = 0.0
        self._bias = 0.0
        self._weight = 0.0
        self._count = 0

    def add(self, expected: float, actual: float) -> None:
        """Takes one answer. There is no share of nothing: where the actual value is 0, or either is negative, none."""
        if actual <= 0 or expected < 0:
            return
        error = min(ERROR_MAXIMUM, (expected - actual) / actual)
        self._weight = self._weight * FORGET + 1.0
        self._absolute += (abs(error) - self._absolute) / self._weight
        self._bias += (error - self._bias) / self._weight
        self._count += 1

    @property
    def value(self) -> Accuracy | None:
        """The means, None before the first answer."""
        return Accuracy(self._absolute, self._bias, self._count) if self._count else None


class _Model:
    __slots__ = ("cost", "input_tokens", "output_tokens")

    def __init__(self) -> None:
        self.input_tokens = ErrorAverage()
        self.output_tokens = ErrorAverage()
        self.cost = ErrorAverage()


class Accuracies:
    """The accuracy of estimates by (provider, model), at most 4,096 of them."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], _Model] = {}

    def of(self, provider: str, model: str) -> EstimateAccuracy:
        """Returns how well a model's answers are estimated."""
        known = self._known.get((provider, model))
        if known is None:
            return UNKNOWN
        return EstimateAccuracy(
            input_tokens=known.input_tokens.value, output_tokens=known.output_tokens.value, cost=known.cost.value
        )

    def observe(self, spec: TargetSpec, outcome: Outcome, expected: Expected | None, lengths: OutputLengths) -> None:
        """Takes one complete answer, before anything is learned from it.

        `expected` is what its decision expected of the target; where that is no longer known, what would be expected
        now stands in for it. Only counts and costs by the provider's own report tell anything. An input that the
        caller has counted is no estimate of ours, but the cost and the output that follow from it are.
        """
        usage = outcome.usage
        if usage is None or usage.source is not UsageSource.REPORTED or outcome.off_path:
            return
        sent = outcome.estimated_input_tokens
        if expected is None:
            if sent is None:
                return
            expected = _expected_now(spec, outcome.task, sent, lengths)
        key = (spec.target.provider, spec.target.model)
        model = self._known.pop(key, None) or _Model()
        self._known[key] = model
        if len(self._known) > ENTRIES_MAXIMUM:
            del self._known[next(iter(self._known))]
        if sent is not None and usage.input_tokens is not None:
            model.input_tokens.add(expected.input_tokens, usage.input_tokens)
        if usage.output_tokens is not None:
            model.output_tokens.add(expected.output_tokens, usage.output_tokens)
        if expected.cost_nano_usd is not None and outcome.cost_nano_usd is not None:
            model.cost.add(expected.cost_nano_usd, outcome.cost_nano_usd)


def _expected_now(spec: TargetSpec, task: str, input_tokens: int, lengths: OutputLengths) -> Expected:
    output = lengths.expected(task, spec.target.provider, spec.target.model)
    output_tokens = round(output if spec.max_output_tokens is None else min(output, spec.max_output_tokens))
    cost = expected_cost_nano_usd(spec.price, input_tokens=input_tokens, output_tokens=output_tokens)
    return Expected(input_tokens, output_tokens, 0.0, 0.0, cost)
