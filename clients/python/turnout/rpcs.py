"""How each RPC is called: its deadline where the caller names none, and when it may be called again."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from turnout.retrying import RetryClass, Tries

MAX_RETRY_COUNT = 3
LEAST_SECONDS = 0.001
"""What is left for a call at the least: gRPC takes no deadline that is over."""

REPORT_CLOSE_SECONDS = 2.0
"""How long closing a client waits for the last reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rpc:
    """`timeout_seconds` is the default deadline of a call with its retries."""

    timeout_seconds: float
    retry_class: RetryClass

    def seconds(self, timeout_seconds: float | None) -> float:
        """Returns the deadline of a call: as asked, else the default. Raises ValueError where it is not positive."""
        seconds = self.timeout_seconds if timeout_seconds is None else timeout_seconds
        if math.isnan(seconds) or seconds <= 0:
            msg = f"timeout_seconds is {seconds}: give a positive number of seconds, or leave it out"
            raise ValueError(msg)
        return seconds

    def tries(
        self,
        now: float,
        *,
        timeout_seconds: float | None,
        max_retry_count: int,
        rng: random.Random,
        renewed: Callable[[], bool] = lambda: False,
    ) -> Tries:
        """Returns the tries of a call that begins now. Raises ValueError for a timeout that is not positive."""
        seconds = self.seconds(timeout_seconds)
        return Tries(
            retry_class=self.retry_class,
            deadline=now + seconds,
            max_retry_count=max_retry_count,
            rng=rng,
            renewed=renewed,
        )


ROUTE = Rpc(timeout_seconds=2.0, retry_class=RetryClass.IDEMPOTENT)
REPORT_OUTCOME = Rpc(timeout_seconds=5.0, retry_class=RetryClass.IDEMPOTENT)
PROVIDER_STATUS = Rpc(timeout_seconds=5.0, retry_class=RetryClass.IDEMPOTENT)
UPDATE_PROVIDER = Rpc(timeout_seconds=5.0, retry_class=RetryClass.IDEMPOTENT)
RESET_HEALTH = Rpc(timeout_seconds=5.0, retry_class=RetryClass.IDEMPOTENT)
"""Both say what is to hold: done twice they do the same."""

CHECK_HEALTH = Rpc(timeout_seconds=120.0, retry_class=RetryClass.NEVER)
"""Each check may take ten seconds and a few tokens; whether to make it again is for whoever asked."""

ADMIN_READ = Rpc(timeout_seconds=5.0, retry_class=RetryClass.IDEMPOTENT)
ADMIN_CHANGE = Rpc(timeout_seconds=10.0, retry_class=RetryClass.EXECUTE)
"""A change of which nobody knows whether it was made is not made again: the second answer would be a wrong one."""

ADMIN_STATE = Rpc(timeout_seconds=30.0, retry_class=RetryClass.EXECUTE)

EXECUTE = Rpc(timeout_seconds=600.0, retry_class=RetryClass.EXECUTE)
"""The sidecar's own default for a call without a deadline."""

EXECUTE_STREAM = Rpc(timeout_seconds=1800.0, retry_class=RetryClass.EXECUTE)
"""The sidecar's own default for the longest stream; how long silence may last is the sidecar's to watch."""

WATCH = Rpc(timeout_seconds=math.inf, retry_class=RetryClass.NEVER)
"""Watching has no end of its own."""
