"""What outcomes tell a target's baseline, and the events of what turns by it.

Prompts, and answers, of one size are held against each other: what a long one costs is each model's own, so that
another mix of requests is not taken for another speed.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from turnout_server.core.charts import Measure, Turn
from turnout_server.core.events import Event, EventName
from turnout_server.core.latency import PREFILL_SHARE_PER_TOKEN
from turnout_server.core.learning import uncached_input_tokens
from turnout_server.core.model import HEALTH_FAILURES, FailureKind, Outcome

if TYPE_CHECKING:
    from turnout_server.core.target_state import TargetState

PROMPT_SIZES = (2_000, 16_000, 64_000)
ANSWER_LENGTHS = (64, 512)
"""Upper bounds in tokens of the sizes that are told apart; a last one is above."""
TOKENS_MINIMUM = 32
"""Below so many output tokens the time for each is noise."""

_COUNTED = HEALTH_FAILURES - {FailureKind.CONNECTION} | {FailureKind.UNKNOWN}
"""What is the target's own fault. That nothing can be connected to may be anybody's, and opens breakers soon enough."""


def take_drift(target: TargetState, outcome: Outcome, failure: FailureKind | None, now: float) -> list[Event]:
    """Takes how an attempt ended; `failure` is its kind as it counts. Trials of our own are like no call: left out."""
    if outcome.off_path or (failure is not None and failure not in _COUNTED):
        return []
    turns = [target.baseline.ended(ok=failure is None, now=now)]
    if failure is None:
        turns += _latencies(target, outcome, now)
    return [_event(target, turn, now) for turn in turns if turn is not None]


def drift_over(target: TargetState, now: float) -> list[Event]:
    """Returns the events of drifts that are over since no call has confirmed them for long."""
    return [_event(target, turn, now) for turn in target.baseline.look(now)]


def _latencies(target: TargetState, outcome: Outcome, now: float) -> list[Turn | None]:
    latency, first = outcome.latency_seconds, outcome.time_to_first_token_seconds
    if latency is None or latency < 0.0:
        return []
    spec, baseline = target.spec, target.baseline
    prompt_tokens = uncached_input_tokens(outcome)
    size = bisect_left(PROMPT_SIZES, prompt_tokens)
    output_tokens = None if outcome.usage is None else outcome.usage.output_tokens
    prior_first = max(1e-6, spec.latency_prior_seconds * (1.0 + PREFILL_SHARE_PER_TOKEN * prompt_tokens))
    prior_token = max(1e-6, spec.seconds_per_output_token_prior)
    length = 0 if output_tokens is None else bisect_left(ANSWER_LENGTHS, output_tokens)
    if outcome.streamed and first is not None and 0.0 < first <= latency:
        turns = [baseline.answered(Measure.FIRST_TOKEN, first / prior_first, size, now)]
        if output_tokens is not None and output_tokens >= TOKENS_MINIMUM:
            per_token = (latency - first) / output_tokens
            turns.append(baseline.answered(Measure.PER_TOKEN, per_token / prior_token, length, now))
        return turns
    if output_tokens is None:
        return []
    kind = size * (len(ANSWER_LENGTHS) + 1) + length
    ratio = latency / (prior_first + prior_token * max(0, output_tokens))
    return [baseline.answered(Measure.WHOLE, ratio, kind, now)]


def _event(target: TargetState, turn: Turn, now: float) -> Event:
    fields: dict[str, str | int | float] = {"measure": turn.measure.value}
    if turn.measure is Measure.FAILURES:
        fields |= {"error_rate": round(turn.present, 4), "usual_error_rate": round(turn.usual, 4)}
    else:
        fields["times_usual"] = round(turn.present, 2)
    if not turn.drifting:
        fields["after_seconds"] = round(turn.after_seconds, 3)
    where = target.spec.target
    name = EventName.DRIFTING if turn.drifting else EventName.STEADY
    return Event(name=name, at=now, target=where, provider=where.provider, endpoint=where.endpoint, fields=fields)
