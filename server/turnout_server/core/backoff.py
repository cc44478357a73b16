"""How long to wait before the same target is used again; chance is an argument, so that callers spread out."""

from __future__ import annotations

import random

from turnout_server.core.settings import BackoffKind, BackoffSettings, FailoverSettings


def backoff_seconds(settings: BackoffSettings, retry: int, rng: random.Random) -> float:
    """Returns the wait before retry number `retry` (0 is the first): uniform between 0 and a growing ceiling.

    The ceiling is `base · 2ⁿ` or, linear, `base · (n + 1)`, never above `max_seconds`. Full jitter, after the AWS
    architecture blog's "Exponential Backoff and Jitter": it empties a queue of retrying callers the fastest.
    """
    return rng.uniform(0.0, backoff_ceiling_seconds(settings, retry))


def backoff_ceiling_seconds(settings: BackoffSettings, retry: int) -> float:
    """Returns the longest wait that `backoff_seconds` can return for this retry."""
    if settings.kind is BackoffKind.LINEAR:
        return min(settings.max_seconds, settings.base_seconds * (retry + 1))
    # 2.0 ** 1024 overflows; the cap is reached long before 64 doublings.
    return min(settings.max_seconds, settings.base_seconds * 2.0 ** min(retry, 64))


def quick_retry_seconds(settings: FailoverSettings, rng: random.Random) -> float:
    """Returns the short wait before the one quick retry after a server error or a broken connection."""
    return rng.uniform(settings.quick_retry_min_seconds, settings.quick_retry_max_seconds)
