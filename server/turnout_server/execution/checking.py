"""Makes active checks: in turn, beside all calls, of endpoints in question; and of whatever somebody asks for.

One endpoint is checked by one check at a time: whoever asks for what is being checked gets the answer to that, whoever
asks for something else of the same endpoint waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from turnout_server.core.checks import Means
from turnout_server.core.model import FailureKind, Target
from turnout_server.ports import UpstreamError
from turnout_server.use_cases.checks import CheckReport

if TYPE_CHECKING:
    from turnout_server.core.checks import Name, Question
    from turnout_server.core.fleet import TargetSpec
    from turnout_server.execution.probing import Probing
    from turnout_server.execution.running import Running, Shell

LOOK_EVERY_SECONDS = 1.0
"""How often it is looked whose turn has come: finer than any interval, so that sidecars stay apart."""
LIST_SECONDS = 10.0
AT_ONCE = 4
"""Checks in turn that run at once: a sidecar with hundreds of endpoints on a network that is down has other work."""


@runtime_checkable
class AsksForModels(Protocol):
    """An upstream that can be asked for its models."""

    async def ask_for_models(self, spec: TargetSpec, credential: str) -> None:
        """Asks a target's endpoint for its models, with one of its keys by label. Raises UpstreamError."""
        ...


class Checking:
    """`watch` makes the checks whose turn it is, `check` one that somebody asks for."""

    def __init__(self, shell: Shell, probing: Probing) -> None:
        self._shell = shell
        self._checks = shell.router.checks
        self._probing = probing
        self._room = asyncio.Semaphore(AT_ONCE)
        self._running: dict[Target, asyncio.Task[CheckReport]] = {}
        self._latest: dict[Name, asyncio.Task[CheckReport]] = {}

    async def watch(self) -> None:
        """Looks again and again whose turn has come; ended by being cancelled, with the checks that run."""
        try:
            while True:
                await asyncio.sleep(LOOK_EVERY_SECONDS)
                for question in self._checks.due():
                    self._take_turn(question)
        finally:
            await self.aclose()

    async def check(self, target: Target, *, timeout_seconds: float, by: str) -> CheckReport:
        """Makes a check now, or joins the one that runs; the target is known. One without a model is an endpoint.

        A target is called for one token, as far as its breakers let one through; an endpoint is asked for its models.
        After `timeout_seconds` it is not waited for any more, and goes on.
        """
        running = self._running.get(target) or self._begin(target, lambda: self._made(target, by))
        await asyncio.wait((running,), timeout=timeout_seconds)
        means = Means.CALL if target.model else Means.LIST
        if not running.done():
            detail = f"no answer within {timeout_seconds:g} s; the check goes on, and what it finds is told as an event"
            return CheckReport(
                target=target, means=means, failure=FailureKind.TIMEOUT, seconds=timeout_seconds, detail=detail
            )
        if running.cancelled():
            return CheckReport(target=target, means=means, detail="not made: the sidecar stops")
        return running.result()

    async def aclose(self) -> None:
        """Ends the checks that run."""
        running = tuple(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _take_turn(self, question: Question) -> None:
        if (question.provider, question.endpoint) in self._latest:
            # It is being checked, or was not answered since its last turn.
            return
        target = self._shell.router.configured.fleet.specs[question.place].target
        if question.means is Means.LIST:
            target = Target(question.provider, "", question.endpoint)
        self._begin(target, lambda: self._made_in_turn(target))

    def _begin(self, target: Target, make: Callable[[], Coroutine[Any, Any, CheckReport]]) -> asyncio.Task[CheckReport]:
        name = (target.provider, target.endpoint)
        task = asyncio.create_task(self._after(self._latest.get(name), make), name=f"check of {target}")
        self._running[target] = self._latest[name] = task

        def forget(_: object) -> None:
            del self._running[target]
            if self._latest.get(name) is task:
                del self._latest[name]

        task.add_done_callback(forget)
        return task

    async def _after(
        self, before: asyncio.Task[CheckReport] | None, make: Callable[[], Coroutine[Any, Any, CheckReport]]
    ) -> CheckReport:
        if before is not None:
            await asyncio.wait((before,))
        return await make()

    async def _made_in_turn(self, target: Target) -> CheckReport:
        async with self._room:
            return await self._made(target, "")

    async def _made(self, target: Target, by: str) -> CheckReport:
        report = await (self._called(target, asked_for=bool(by)) if target.model else self._listed(target))
        if by or report.seconds is not None or report.unpaid:
            # In turn, what could not be asked for want of a key or a lease is simply not asked.
            self._checks.ended(report, by=by)
        return report

    async def _listed(self, endpoint: Target) -> CheckReport:
        found = self._to_ask(endpoint)
        if isinstance(found, str):
            return CheckReport(target=endpoint, means=Means.LIST, detail=f"not made: {found}")
        spec, credential = found
        connected = self._shell.upstreams.take()
        began_at = self._shell.clock()
        failure, detail = None, "it answers when asked for its models"
        try:
            upstream: object = connected.by_provider.get(endpoint.provider)
            if not isinstance(upstream, AsksForModels):
                return CheckReport(target=endpoint, means=Means.LIST, detail="not made: it cannot be asked for models")
            async with asyncio.timeout(LIST_SECONDS):
                await upstream.ask_for_models(spec, credential)
        except TimeoutError:
            failure, detail = FailureKind.TIMEOUT, f"no answer within {LIST_SECONDS:g} s"
        except UpstreamError as error:
            failure, detail = error.kind, error.detail
        finally:
            self._shell.upstreams.give_back(connected)
        seconds = self._shell.clock() - began_at
        return CheckReport(
            target=endpoint, means=Means.LIST, failure=failure, seconds=seconds, cost_nano_usd=0, detail=detail
        )

    def _to_ask(self, endpoint: Target) -> tuple[TargetSpec, str] | str:
        """Returns by whose address and key an endpoint is asked; in words, why it cannot be."""
        name = (endpoint.provider, endpoint.endpoint)
        specs = [
            spec
            for spec in self._shell.router.configured.fleet.specs
            if (spec.target.provider, spec.target.endpoint) == name
        ]
        for spec in specs:
            credential = self._checks.key_for(spec)
            if credential is not None:
                return spec, credential
        if not specs:
            return "it was removed"
        return "no credential can be used now: none is configured, or all are out or pause"

    async def _called(self, target: Target, *, asked_for: bool) -> CheckReport:
        """Calls a target once; a half-open one until it closes, as far as the allowance goes."""
        router = self._shell.router
        report: CheckReport | None = None
        while report is None or report.ok:
            index = router.configured.fleet.index(target)
            if index is None:
                return report or _not_made(target, "it was removed")
            spec = router.configured.fleet.specs[index]
            taken = self._checks.pay(spec, asked_for=asked_for)
            if taken is None:
                why = "its price is not known" if spec.price is None else "checks.max_usd_per_day is spent"
                return report or replace(_not_made(target, why), unpaid=True)
            running = await self._probing.once(target, trial_only=report is not None or not asked_for)
            if running is None:
                self._checks.paid(taken, 0)
                return report or _not_made(target, self._checks.held_back(target))
            cost = _cost_nano_usd(running)
            self._checks.paid(taken, cost)
            report = _report(target, running, cost, report)
        return report


def _cost_nano_usd(running: Running) -> int | None:
    record = running.record
    if record is None:
        return None
    return record.cost_nano_usd if record.possibly_billed or record.cost_nano_usd is not None else 0


def _report(target: Target, running: Running, cost: int | None, before: CheckReport | None) -> CheckReport:
    """Returns what came of a call, and of those before it in the same check."""
    error, record = running.error, running.record
    if before is not None:
        cost = None if cost is None or before.cost_nano_usd is None else cost + before.cost_nano_usd
    return CheckReport(
        target=target,
        means=Means.CALL,
        failure=None if error is None else error.kind,
        seconds=0.0 if record is None or record.latency_seconds is None else record.latency_seconds,
        cost_nano_usd=cost,
        detail="it answers a call of one token" if error is None else error.detail,
    )


def _not_made(target: Target, why: str) -> CheckReport:
    return CheckReport(target=target, means=Means.CALL, detail=f"not made: {why}")
