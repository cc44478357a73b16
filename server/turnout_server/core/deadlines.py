"""How long a call and each of its attempts may take: a silent provider costs a part of the caller's time, not all.

The caller's deadline covers everything. Work ends a little earlier, because once the caller's own clock fires it drops
whatever we could still tell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from turnout_server.core.fleet import TargetSpec
from turnout_server.core.model import ReasoningEffort, RouteQuery
from turnout_server.core.settings import FailoverSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTimes:
    """When a call began, when our work on it ends, and when a stream of it ends at the latest; monotonic seconds."""

    started_at: float
    ends_at: float
    stream_ends_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptLimits:
    """What one attempt is held to; times are monotonic.

    Before the first content: `first_content_at`, which is `share_at` where the caller's time, and not the target's
    slowness, is the tighter limit. After it: `idle_seconds` between events (`thinking_idle_seconds` while the model
    thinks) and `ends_at`.
    """

    first_content_at: float
    limited_by_share: bool
    idle_seconds: float
    thinking_idle_seconds: float
    ends_at: float


def call_times(deadline_seconds: float | None, settings: FailoverSettings, *, now: float) -> CallTimes:
    """Returns the times of a call that begins now; `deadline_seconds` is what the caller gives, None for nothing.

    The reserve is 2 % of the time given, at least 20 ms; half of it where the time given is shorter than that.
    """
    given = settings.request_timeout_seconds if deadline_seconds is None else max(0.0, deadline_seconds)
    reserve = max(settings.deadline_reserve_share * given, settings.deadline_reserve_min_seconds)
    ends_at = now + given - min(reserve, given / 2)
    return CallTimes(started_at=now, ends_at=ends_at, stream_ends_at=min(ends_at, now + settings.stream_max_seconds))


def with_less_time(query: RouteQuery, spent_seconds: float) -> RouteQuery:
    """Returns a query of which so much time was spent since its caller's time was read."""
    given = query.deadline_seconds
    if given is None or spent_seconds <= 0.0:
        return query
    return replace(query, deadline_seconds=max(0.0, given - spent_seconds))


def asks_to_think(effort: ReasoningEffort | None) -> bool:
    """Whether the request asks for any thinking."""
    return effort is not None and effort is not ReasoningEffort.NONE


def thinks(spec: TargetSpec, effort: ReasoningEffort | None) -> bool:
    """Whether long silence before the first content is expected: the model thinks silently, or was asked to think."""
    return spec.silent_thinking or asks_to_think(effort)


def first_token_limit_seconds(
    spec: TargetSpec, predicted_seconds: float, settings: FailoverSettings, *, effort: ReasoningEffort | None = None
) -> float:
    """Returns how long a target may take to its first content.

    max(10 s, 4 × predicted), at least 180 s where it thinks. The provider's own setting replaces all of that, the
    global setting the part that comes from the prediction.
    """
    if spec.first_token_timeout_seconds is not None:
        return spec.first_token_timeout_seconds
    limit = settings.first_token_timeout_seconds
    if limit is None:
        limit = max(settings.first_token_minimum_seconds, settings.first_token_factor * predicted_seconds)
    return max(limit, settings.silent_thinking_timeout_seconds) if thinks(spec, effort) else limit


def whole_answer_limit_seconds(
    spec: TargetSpec,
    predicted_seconds: float,
    settings: FailoverSettings,
    *,
    predicted_first_token_seconds: float = 0.0,
    effort: ReasoningEffort | None = None,
) -> float:
    """Returns how long a call without streaming may take: max(10 s, 4 × predicted), never less than a first token."""
    return max(
        settings.first_token_minimum_seconds,
        settings.first_token_factor * predicted_seconds,
        first_token_limit_seconds(spec, predicted_first_token_seconds, settings, effort=effort),
    )


def attempt_limits(
    spec: TargetSpec,
    times: CallTimes,
    settings: FailoverSettings,
    *,
    now: float,
    answer_limit_seconds: float,
    others_remain: bool,
    effort: ReasoningEffort | None = None,
    streaming: bool = True,
) -> AttemptLimits:
    """Returns the limits of an attempt that begins now.

    `answer_limit_seconds` is the limit to the first content, or to the whole answer without streaming. While another
    candidate remains, the attempt gets at most 60 % of the time that is left.
    """
    ends_at = times.stream_ends_at if streaming else times.ends_at
    limit_at = now + answer_limit_seconds
    share_at = now + settings.attempt_share * (ends_at - now) if others_remain else ends_at
    idle = settings.idle_timeout_seconds
    return AttemptLimits(
        first_content_at=min(limit_at, share_at),
        limited_by_share=share_at < limit_at,
        idle_seconds=idle,
        thinking_idle_seconds=max(idle, settings.silent_thinking_timeout_seconds) if thinks(spec, effort) else idle,
        ends_at=ends_at,
    )


def streams_unary(
    expected_output_tokens: int | None, effort: ReasoningEffort | None, settings: FailoverSettings
) -> bool:
    """Whether a unary answer is fetched as a stream, so that silence and stalls are seen: all but short ones are."""
    if asks_to_think(effort):
        return True
    return expected_output_tokens is None or expected_output_tokens >= settings.unary_direct_max_tokens
