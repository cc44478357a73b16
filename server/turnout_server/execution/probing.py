"""Tries targets that silence had closed, off every caller's path: a request of one token under the trial's lease."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import NamedTuple

from turnout_server.core.deadlines import CallTimes, attempt_limits, first_token_limit_seconds
from turnout_server.core.model import Capability, FailureKind, RouteQuery, Target
from turnout_server.core.permits import Permit
from turnout_server.execution.running import Running, Shell
from turnout_server.execution.sending import PROBE_INPUT, upstream_call
from turnout_server.execution.settling import Sent
from turnout_server.execution.upstreams import Connected
from turnout_server.ports import UpstreamError

PROBE_QUERY = RouteQuery(executing=True)
PROBE_TOKENS = 8
"""What the shortest request comes to with the vendors' framing."""


class Trial(NamedTuple):
    """A call of one token that may be made: by whose leave, over which connections, and until when."""

    permit: Permit
    connected: Connected
    limit_seconds: float
    ends_after_seconds: float


class Probing:
    """Runs trials in the background, one per target at most: the lease sees to that."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._running: set[asyncio.Task[None]] = set()
        self._ending = False

    def start(self, targets: tuple[Target, ...], tenant: str) -> None:
        """Starts the trials that nobody else makes now, with keys that the tenant may use; returns at once."""
        for target in targets:
            trial = self._begin(target, tenant)
            if trial is None:
                continue
            task = asyncio.create_task(self._probe(trial, tenant), name=f"probe of {target}")
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            # Also where it is cancelled before its first step.
            task.add_done_callback(partial(self._give_back, trial.connected))

    async def once(self, target: Target, *, trial_only: bool) -> Running | None:
        """Makes one call of one token and returns how it went; None where the target may not be called now.

        `trial_only`: only where it is half-open, under the lease of its trial.
        """
        trial = self._begin(target, "", trial_only=trial_only)
        if trial is None:
            return None
        try:
            return await self._call(trial)
        finally:
            self._shell.upstreams.give_back(trial.connected)

    async def aclose(self) -> None:
        """Ends the trials that run."""
        self._ending = True
        running = tuple(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _begin(self, target: Target, tenant: str, *, trial_only: bool = True) -> Trial | None:
        router = self._shell.router
        settings = router.configured.settings.failover
        limit = first_token_limit_seconds(
            router.targets.spec(target), router.targets.predicted_first_token_seconds(target), settings
        )
        # One token needs no time after the first; what stalls even so is seen before the lease lapses.
        ends_after = limit + settings.idle_timeout_seconds + settings.finish_grace_seconds
        permit = router.attempts.begin_probe(target, lease_seconds=ends_after, tenant=tenant, trial_only=trial_only)
        return None if permit is None else Trial(permit, self._shell.upstreams.take(), limit, ends_after)

    def _give_back(self, connected: Connected, _task: asyncio.Task[None]) -> None:
        self._shell.upstreams.give_back(connected)

    async def _probe(self, trial: Trial, tenant: str) -> None:
        running = await self._call(trial)
        target = trial.permit.spec.target
        if running.error is None and not self._ending and self._shell.router.configured.fleet.index(target) is not None:
            # Where one trial is not enough, the next need not wait for somebody to ask.
            self.start((target,), tenant)

    async def _call(self, trial: Trial) -> Running:
        router = self._shell.router
        settings = router.configured.settings.failover
        permit, now = trial.permit, self._shell.clock()
        ends_at = now + trial.ends_after_seconds
        limits = attempt_limits(
            permit.spec,
            CallTimes(started_at=now, ends_at=ends_at, stream_ends_at=ends_at),
            settings,
            now=now,
            answer_limit_seconds=trial.limit_seconds,
            others_remain=False,
        )
        sent = Sent(
            tokens=PROBE_TOKENS, text_bytes=None, tokens_per_byte=router.targets.tokens_per_byte(permit.spec.target)
        )
        async with Running(
            self._shell, permit, trial.connected, query=PROBE_QUERY, sent=sent, reason="probe"
        ) as running:
            attempt = running.begin(
                upstream_call(permit, PROBE_INPUT, PROBE_TOKENS), limits, settings, streaming=_streams(permit)
            )
            try:
                while await attempt.read() is not None:
                    pass
            except UpstreamError as error:
                # Some models refuse a limit of one token. It is our request that is wrong then; that anybody answers
                # is what the trial was to find out.
                if error.kind is not FailureKind.INVALID_REQUEST:
                    raise
        return running


def _streams(permit: Permit) -> bool:
    return Capability.STREAMING in permit.spec.capabilities
