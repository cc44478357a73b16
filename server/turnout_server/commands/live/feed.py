"""Reads a sidecar again and again for the live view: what is cheap each time, what costs it more less often.

Measured with 40 targets: the state of all takes a sidecar 2.4 ms, a decision 0.6 ms, sums by target 0.9 ms, a trend 0.4
ms, budgets 0.5 ms. Events are not asked for: they come.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from types import MappingProxyType

from turnout.answer import target_name
from turnout.errors import DrainingError, NotFoundError, ResumeTooOldError, TransportError, TurnoutError
from turnout.v1 import admin_pb2, router_pb2
from turnout_server.commands.live.decision_window import ask_since, joined
from turnout_server.commands.live.link import Link
from turnout_server.commands.live.seen import WINDOWS_MINUTES, Part, Seen
from turnout_server.commands.sidecar import what_failed

DECISION_COUNT = 10
EVENT_COUNT = 100
"""As many events are kept; the sidecar has the last thousand."""
TREND_MINUTES = 15
_WHOLE_SECONDS = 30.0
"""So often all decisions on the screen are read anew: somebody may have had some forgotten."""
_BUDGET_COUNT = 1000
_EVENTS_AGAIN_SECONDS = 1.0
_USUAL_TARGETS = 100
"""With more than these everything is read less often, in proportion, since it costs the sidecar more."""
_REFUSED_SECONDS = 60.0
"""A part that is not allowed, or that this sidecar has not, is asked for no more often."""

PERIODS_SECONDS = MappingProxyType(
    {Part.DECISIONS: 2.0, Part.BUDGETS: 5.0, Part.STATISTICS: 10.0, Part.TRENDS: 20.0, Part.EVENTS: 2.0}
)


class Feed:
    """What is known of one sidecar, kept up to date by `run`.

    `window_minutes` is one of WINDOWS_MINUTES. `trends_of` are the targets whose trend is wanted, as many as are on the
    screen. `decision_count` is how many decisions are.
    """

    def __init__(self, link: Link, *, window_minutes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.window_minutes = window_minutes
        self.trends_of: Sequence[str] = ()
        self.decision_count = DECISION_COUNT
        self._link = link
        self._clock = clock
        self._status = router_pb2.ProviderStatusResponse()
        self._status_at = clock()
        self._lost = ""
        self._trends: dict[str, admin_pb2.GetTrendResponse] = {}
        self._statistics: admin_pb2.GetStatisticsResponse | None = None
        self._decisions: tuple[admin_pb2.DecisionRecord, ...] = ()
        self._whole_at = 0.0
        self._budgets: tuple[admin_pb2.Budget, ...] = ()
        self._events: tuple[admin_pb2.Event, ...] = ()
        self._after = 0
        self._refused: dict[Part, str] = {}
        self._due: dict[Part, float] = {}
        self._wake = asyncio.Event()
        self._readers: dict[Part, Callable[[], Awaitable[None]]] = {
            Part.DECISIONS: self._read_decisions,
            Part.BUDGETS: self._read_budgets,
            Part.STATISTICS: self._read_statistics,
            Part.TRENDS: self._read_trends,
        }

    @property
    def seen(self) -> Seen:
        """Everything that is known now."""
        return Seen(
            address=self._link.address,
            status=self._status,
            trends=MappingProxyType(self._trends),
            statistics=self._statistics,
            decisions=self._decisions,
            events=self._events,
            budgets=self._budgets,
            refused=MappingProxyType(dict(self._refused)),
            lost=self._lost,
            age_seconds=self._clock() - self._status_at,
        )

    @property
    def _slower(self) -> float:
        return max(1.0, self._status.aggregate.target_count / _USUAL_TARGETS)

    async def read_status(self) -> None:
        """Reads the state of all targets. Raises TurnoutError."""
        request = router_pb2.ProviderStatusRequest()
        request.window.FromSeconds(self.window_minutes * 60)
        self._status = await self._link.call(self._link.router.ProviderStatus, request)
        self._status_at = self._clock()
        self._lost = ""

    async def read_all(self) -> None:
        """Reads everything once, trends of all targets. Raises TurnoutError where there is no answer at all."""
        await self.read_status()
        self.trends_of = [target_name(each.target) for one in self._status.providers for each in one.targets]
        for part in self._readers:
            await self._read(part)
        try:
            await self._list_events()
        except TurnoutError as error:
            self._note(Part.EVENTS, error)

    async def run(self, interval_seconds: float, changed: Callable[[], None]) -> None:
        """Keeps everything up to date until it is cancelled; `changed` is called after each change."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._poll(interval_seconds, changed), name="poll")
            tasks.create_task(self._follow(changed), name="events")

    def read_soon(self) -> None:
        """Has the next round begin at once, and read everything: somebody has changed something."""
        self._due.clear()
        self._wake.set()

    def next_window(self) -> None:
        """Looks back over the next longer time, after the longest over the shortest."""
        place = WINDOWS_MINUTES.index(self.window_minutes)
        self.window_minutes = WINDOWS_MINUTES[(place + 1) % len(WINDOWS_MINUTES)]
        self._wake.set()

    async def _poll(self, interval_seconds: float, changed: Callable[[], None]) -> None:
        while True:
            self._wake.clear()
            try:
                was_lost = self._lost
                await self.read_status()
            except TurnoutError as error:
                self._lost = what_failed(error, self._link.address)
            else:
                if was_lost:
                    self._due.clear()
                    self._whole_at = 0.0
                for part in self._readers:
                    if self._clock() >= self._due.get(part, 0.0):
                        await self._read(part)
            changed()
            try:
                await asyncio.wait_for(self._wake.wait(), interval_seconds * self._slower)
            except TimeoutError:
                continue

    async def _read(self, part: Part) -> None:
        try:
            await self._readers[part]()
        except TurnoutError as error:
            self._note(part, error)
        else:
            self._refused.pop(part, None)
            self._due[part] = self._clock() + PERIODS_SECONDS[part] * self._slower

    def _note(self, part: Part, error: TurnoutError) -> None:
        """Remembers why a part cannot be read; that nobody answers at all is told by the state of the targets."""
        if isinstance(error, TransportError | DrainingError):
            return
        self._refused[part] = what_failed(error, self._link.address)
        self._due[part] = self._clock() + _REFUSED_SECONDS

    async def _read_decisions(self) -> None:
        request = admin_pb2.ListDecisionsRequest(page_size=self.decision_count)
        whole = self._clock() >= self._whole_at
        since = None if whole else ask_since(self._decisions, self.seen.now)
        if since is not None:
            request.start_time.CopyFrom(since)
        read = (await self._link.call(self._link.admin.ListDecisions, request)).decisions
        self._decisions = joined(() if whole else self._decisions, read, self.decision_count)
        if whole:
            self._whole_at = self._clock() + _WHOLE_SECONDS

    async def _read_budgets(self) -> None:
        request = admin_pb2.ListBudgetsRequest(page_size=_BUDGET_COUNT)
        self._budgets = tuple((await self._link.call(self._link.admin.ListBudgets, request)).budgets)

    async def _read_statistics(self) -> None:
        request = admin_pb2.GetStatisticsRequest(group_by=admin_pb2.DIMENSION_TARGET)
        self._statistics = await self._link.call(self._link.admin.GetStatistics, request)

    async def _read_trends(self) -> None:
        """Reads the trends that are wanted, of targets that were called within their time."""
        called = {
            target_name(target.target)
            for provider in self._status.providers
            for target in provider.targets
            if target.HasField("last_request_time")
            and self._status.as_of.seconds - target.last_request_time.seconds <= TREND_MINUTES * 60
        }
        wanted = called.intersection(self.trends_of)
        self._trends = {name: trend for name, trend in self._trends.items() if name in wanted}
        for name in wanted:
            request = admin_pb2.GetTrendRequest(target=name, measure=admin_pb2.TREND_MEASURE_LATENCY_P50)
            request.window.FromSeconds(TREND_MINUTES * 60)
            # A target that a reload has just taken away has none.
            with contextlib.suppress(NotFoundError):
                self._trends[name] = await self._link.call(self._link.admin.GetTrend, request)

    async def _follow(self, changed: Callable[[], None]) -> None:
        """Follows the events for ever; what happened while nobody watched comes first when it watches again."""
        listed = False
        while True:
            wait_seconds = _EVENTS_AGAIN_SECONDS
            try:
                if not listed:
                    await self._list_events()
                    listed = True
                    changed()
                async with aclosing(self._link.events(self._after)) as events:
                    async for event in events:
                        self._after = event.sequence
                        self._keep([event])
                        changed()
            except ResumeTooOldError:
                # Another run, or too much has happened: what is held begins anew.
                listed = False
            except TurnoutError as error:
                self._note(Part.EVENTS, error)
                if Part.EVENTS in self._refused:
                    listed, wait_seconds = False, _REFUSED_SECONDS
            await asyncio.sleep(wait_seconds)

    async def _list_events(self) -> None:
        request = admin_pb2.ListEventsRequest(page_size=EVENT_COUNT)
        page = await self._link.call(self._link.admin.ListEvents, request)
        self._refused.pop(Part.EVENTS, None)
        # Those that are known already may be of another run, after which nothing of this one can be asked for.
        self._after = page.events[0].sequence if page.events else 0
        self._keep(list(reversed(page.events)))

    def _keep(self, events: Sequence[admin_pb2.Event]) -> None:
        """Puts events, oldest first, before those that are there; each only once."""
        newest = self._events[0].sequence if self._events else 0
        new = [event for event in events if event.sequence > newest]
        self._events = (*reversed(new), *self._events)[:EVENT_COUNT]
