"""What an application does that makes its calls itself: one request with its own key, and what to report of it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace

from tests.simulation.providers import ATTEMPT, Providers
from tests.simulation.sidecars import Sidecar
from tests.simulation.wishes import OUTPUT_TOKENS_MAXIMUM, Wish
from tests.virtual_time import virtual_loop
from turnout_server.core.chat import TextDelta, UsageReported
from turnout_server.core.decision import Candidate, Decision
from turnout_server.core.model import FailureKind, Outcome, Usage
from turnout_server.ports import ResponseHead, UpstreamCall, UpstreamError, UpstreamEvent


class OwnAttempt:
    """One request that an application makes itself, with its own key."""

    def __init__(
        self,
        one: Sidecar,
        providers: Providers,
        candidate: Candidate,
        decision: Decision,
        *,
        attempt_id: str,
        wish: Wish,
    ) -> None:
        self._providers = providers
        self._pod = one.name
        self._candidate = candidate
        self._call = UpstreamCall(
            spec=candidate.spec,
            credential=one.caller_label,
            chat=wish.chat,
            max_output_tokens=OUTPUT_TOKENS_MAXIMUM,
        )
        self._began_at = virtual_loop().time()
        self._first_at: float | None = None
        self._usage: Usage | None = None
        self._cost_usd: float | None = None
        self._status: int | None = None
        self.outcome = Outcome(
            target=candidate.target,
            decision_id=decision.decision_id,
            attempt_id=attempt_id,
            probe_id=candidate.probe.probe_id if candidate.probe is not None else "",
            credential=one.caller_label,
            reported=True,
            streamed=True,
            task=wish.task,
            input_bytes=len(wish.words),
            caller=wish.query.caller,
        )

    async def run(self, seconds: float) -> UpstreamError | None:
        """Makes the request; returns the failure, None for success. `outcome` is what to report."""
        error: UpstreamError | None = None
        token = ATTEMPT.set(self.outcome.attempt_id)
        try:
            async with asyncio.timeout(seconds):
                stream = self._providers.stream(self._call, self._pod, self.outcome.attempt_id)
                async with aclosing(stream) as batches:
                    async for batch in batches:
                        for event in batch:
                            self._take(event)
        except TimeoutError:
            # Its own deadline is no fault of the target: the contract has it reported as CANCELLED.
            kind = FailureKind.CANCELLED if seconds < self._candidate.attempt_timeout_seconds else FailureKind.TIMEOUT
            error = UpstreamError(kind, "took too long")
        except UpstreamError as failed:
            error = failed
        finally:
            ATTEMPT.reset(token)
        self._end(error)
        return error

    def _take(self, event: UpstreamEvent) -> None:
        match event:
            case ResponseHead():
                self._status = event.http_status
                self.outcome = replace(self.outcome, rate_limit=event.rate_limit)
            case TextDelta() if self._first_at is None:
                self._first_at = virtual_loop().time()
            case UsageReported():
                self._usage, self._cost_usd = event.usage, event.cost_usd

    def _end(self, error: UpstreamError | None) -> None:
        now = virtual_loop().time()
        self.outcome = replace(
            self.outcome,
            failure=None if error is None else error.kind,
            http_status=self._status if error is None or error.http_status is None else error.http_status,
            latency_seconds=now - self._began_at,
            before_first_byte=error is not None and error.kind is FailureKind.CANCELLED and self._first_at is None,
            time_to_first_token_seconds=None if self._first_at is None else self._first_at - self._began_at,
            usage=self._usage if error is None else None,
            cost_nano_usd=None if self._cost_usd is None else round(self._cost_usd * 1e9),
            possibly_billed=error is None or error.possibly_billed,
            retry_after_seconds=None if error is None else error.retry_after_seconds,
            rate_limit=self.outcome.rate_limit if error is None else error.rate_limit,
        )
