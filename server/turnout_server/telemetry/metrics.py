"""Metrics, thin: counts kept in plain dictionaries, gauges read from the router when somebody asks.

A counter here costs one dictionary entry, because a decision among hundreds of targets counts hundreds of rejections.
All writing and all reading happens on the one event loop, so that nothing needs a lock. What instruments there are says
`instruments`; `/metrics` and OTLP read the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from turnout_server.core.candidates import first_spec
from turnout_server.core.model import NANO_USD, UsageSource
from turnout_server.core.rejections import Rejections
from turnout_server.telemetry import instruments as known
from turnout_server.telemetry import scraped
from turnout_server.telemetry.genai import CHAT, provider_name
from turnout_server.telemetry.instruments import Profile
from turnout_server.telemetry.page import page, page_at_once
from turnout_server.telemetry.recording import MAX_LABEL_SETS, OTHER, Counts, Histogram, counter, gauge

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from turnout_server.core.budget_book import BudgetReport
    from turnout_server.core.call import AttemptRecord
    from turnout_server.core.decision import Decision
    from turnout_server.core.events import Event
    from turnout_server.core.hedging import HedgeResult
    from turnout_server.core.model import FailureKind, Target
    from turnout_server.core.shapes import FirstReasons
    from turnout_server.core.status import TargetGauges
    from turnout_server.execution.answer_cache import AnswerCache
    from turnout_server.execution.once import Once
    from turnout_server.telemetry.request_log import RequestLog
    from turnout_server.telemetry.scraped import FilesInUse

TAKEN, UNCHANGED, REFUSED = "taken", "unchanged", "refused"
"""What can come of a look at a changed configuration."""
SHARED_MAXIMUM = 64
"""Sets of rejections counted as one until somebody scrapes; beyond, they are taken apart at once."""


class Metrics:
    """Everything that is counted. Implements the router's instruments.

    `watch` gives it the router's gauges, which are read at scrape time. `profile` says how many series there are.
    """

    def __init__(self, profile: Profile = Profile.FULL) -> None:
        self._profile = profile
        self._decisions = Counts(known.DECISIONS, profile)
        self._rejections = Counts(known.REJECTIONS, profile)
        self._attempts = Counts(known.ATTEMPTS, profile)
        self._failovers = Counts(known.FAILOVERS, profile)
        self._hedges = Counts(known.HEDGES, profile)
        self._cost = Counts(known.COST, profile)
        self._unknown_price = Counts(known.PRICE_UNKNOWN, profile)
        self._outcomes = Counts(known.OUTCOMES, profile)
        self._events = Counts(known.EVENTS, profile)
        self._reloads = Counts(known.CONFIG_RELOADS, profile)
        self._duration = Histogram(known.OPERATION_DURATION, profile)
        self._first_chunk = Histogram(known.TIME_TO_FIRST_CHUNK, profile)
        self._tokens = Histogram(known.TOKEN_USAGE, profile)
        self._calls = Histogram(known.CALL_DURATION, profile)
        self._overhead = Histogram(known.OVERHEAD, profile)
        self._target_labels: dict[Target, tuple[str, str, str, str]] = {}
        self._config_taken_at = 0.0
        self._config_refused = False
        self._shared: dict[FirstReasons, int] = {}
        """How many decisions each set of rejections stands for that is shared by all decisions of one shape."""
        self._gauges: Callable[[], Sequence[TargetGauges]] | None = None
        self._shed: Callable[[], int] | None = None
        self._once: Once | None = None
        self._cache: AnswerCache | None = None
        self._request_log: Callable[[], RequestLog | None] = lambda: None
        self._keeping: Callable[[], tuple[float | None, int, int]] | None = None
        self._budgets: Callable[[], Sequence[BudgetReport]] | None = None
        self._retry_budget: Callable[[], float] | None = None
        self._refusals: Mapping[str, int] | None = None
        self._listener_files: FilesInUse | None = None
        self._dropped: dict[str, Callable[[], int]] = {}

    def watch(self, gauges: Callable[[], Sequence[TargetGauges]]) -> None:
        """Reads gauges of targets from here at each scrape; series of all other targets end."""
        self._gauges = gauges

    def watch_shed(self, read: Callable[[], int]) -> None:
        """Counts calls that were shed for overload from here."""
        self._shed = read

    def watch_answers(self, once: Once, cache: AnswerCache) -> None:
        """Reads from here at each scrape how many requests were answered by what was there already."""
        self._once, self._cache = once, cache

    def watch_request_log(self, read: Callable[[], RequestLog | None]) -> None:
        """Reads from here at each scrape how many lines were written and dropped; None: there is no log."""
        self._request_log = read

    def watch_keeping(self, read: Callable[[], tuple[float | None, int, int]]) -> None:
        """Reads from here at each scrape: age of the last snapshot in seconds, failures to write, journal's bytes."""
        self._keeping = read

    def watch_budgets(self, read: Callable[[], Sequence[BudgetReport]]) -> None:
        """Reads what remains of budgets from here at each scrape."""
        self._budgets = read

    def watch_retry_budget(self, read: Callable[[], float]) -> None:
        """Reads from here at each scrape how many retries may be made now."""
        self._retry_budget = read

    def watch_refusals(self, counts: Mapping[str, int]) -> None:
        """Reads from here at each scrape how many RPCs were refused for who asked, by reason."""
        self._refusals = counts

    def watch_listener_files(self, files: FilesInUse) -> None:
        """Reads from here at each scrape what became of changed certificates and tokens, and when one ends."""
        self._listener_files = files

    def watch_dropped(self, signal: str, read: Callable[[], int]) -> None:
        """Reads from here at each scrape how much of a signal ("traces", say) was given up so far."""
        self._dropped[signal] = read

    def decision(self, decision: Decision) -> None:
        """Counts a decision and its rejections."""
        chosen = first_spec(decision.candidates)
        self._decisions.add((decision.strategy.value, "" if chosen is None else chosen.name, decision.policy))
        rejections = decision.rejections
        if isinstance(rejections, Rejections) and rejections.shared is not None:
            shared = rejections.shared
            self._shared[shared] = self._shared.get(shared, 0) + 1
            if len(self._shared) > SHARED_MAXIMUM:
                self._count_shared()
            rest = rejections.by_target()
        else:
            rest = [(str(rejection.target), rejection.reasons[0]) for rejection in rejections]
        for target, reason in rest:
            self._rejections.add((target, reason.value))

    def attempt(self, record: AttemptRecord) -> None:
        """Counts an attempt that ended, made or reported: how, how long it took, its tokens, and what it cost."""
        failure = record.failure
        labels = self._target_labels.get(record.target) or self._labels_of(record.target)
        target = labels[3]
        self._attempts.add((target, "ok" if failure is None else failure.value))
        if record.cost_nano_usd is not None:
            self._cost.add((target,), record.cost_nano_usd)
        elif record.possibly_billed:
            self._unknown_price.add((target,))
        if record.latency_seconds is not None:
            error = "" if failure is None else failure.value.lower()
            self._duration.observe((*labels, error), record.latency_seconds)
        if record.streamed and record.time_to_first_token_seconds is not None:
            self._first_chunk.observe(labels, record.time_to_first_token_seconds)
        usage = record.usage
        if usage is not None and usage.source is UsageSource.REPORTED:
            # The conventions forbid to tell of tokens that are not known: an estimate is not.
            if usage.input_tokens is not None:
                self._tokens.observe((*labels, "input"), usage.input_tokens)
            if usage.output_tokens is not None:
                self._tokens.observe((*labels, "output"), usage.output_tokens)

    def failover(self, from_target: Target, to_target: Target, failure: FailureKind) -> None:
        """Counts a call that moved on after a failure."""
        self._failovers.add((str(from_target), str(to_target), failure.value))

    def hedge(self, target: Target, result: HedgeResult) -> None:
        """Counts what became of a hedge beside an attempt at a target that was late, or why there was none."""
        self._hedges.add((str(target), result.value))

    def outcome(self, result: str) -> None:
        """Counts a report by what became of it: accepted, duplicate, rejected or missing."""
        self._outcomes.add((result,))

    def event(self, event: Event) -> None:
        """Counts an event."""
        self._events.add((event.name.value,))

    def config_taken(self, now_wall: float) -> None:
        """Notes when the configuration in force was taken."""
        self._config_taken_at = now_wall

    def reload(self, result: str, now_wall: float) -> None:
        """Counts a look at the configuration: taken, unchanged or refused."""
        self._reloads.add((result,))
        self._config_refused = result == REFUSED
        if result == TAKEN:
            self._config_taken_at = now_wall

    def overhead(self, seconds: float) -> None:
        """Notes the time of one call that was not spent waiting for providers."""
        self._overhead.observe((), seconds)

    def call(self, method: str, status: str, seconds: float) -> None:
        """Notes an RPC that ended: "turnout.v1.RouterService/Route", "OK"."""
        self._calls.observe(("grpc", method, status), seconds)

    async def page(self, accept: str) -> tuple[bytes, str]:
        """Returns the text for a scrape and its content type, as the Accept header wants it, in pieces."""
        return await page(self.collect, accept)

    def render(self, accept: str) -> tuple[bytes, str]:
        """Returns the same at once, for whoever holds up nobody."""
        return page_at_once(self.collect, accept)

    def collect(self) -> Iterator[Metric]:
        """Yields everything; large families in parts, one after the other, between which others may have their turn."""
        self._count_shared()
        gauges = None if self._gauges is None else self._gauges()
        if gauges is not None:
            self._forget_others(gauges)
        for histogram in self._histograms():
            yield from histogram.families()
        for counts in self._counts():
            yield from counts.families(NANO_USD if counts is self._cost else 1.0)
        yield gauge(known.CONFIG_TAKEN, self._config_taken_at)
        yield gauge(known.CONFIG_REFUSED, float(self._config_refused))
        yield from self._watched()
        if gauges is not None:
            yield from scraped.targets(gauges, self._profile)

    def _watched(self) -> Iterator[Metric]:
        if self._shed is not None:
            yield counter(known.SHED, self._shed())
        if self._once is not None and self._cache is not None:
            yield from scraped.answers(self._once, self._cache)
        request_log = self._request_log()
        if request_log is not None:
            yield scraped.lines(request_log)
        if self._keeping is not None:
            yield from scraped.kept(*self._keeping())
        if self._budgets is not None:
            yield scraped.remaining(self._budgets())
        if self._retry_budget is not None:
            yield gauge(known.RETRY_BUDGET, self._retry_budget())
        if self._refusals:
            yield scraped.refused(self._refusals)
        if self._listener_files is not None:
            yield from scraped.listener(self._listener_files)
        if self._dropped:
            yield scraped.dropped(self._dropped)

    def _histograms(self) -> tuple[Histogram, ...]:
        return (self._duration, self._first_chunk, self._tokens, self._calls, self._overhead)

    def _counts(self) -> tuple[Counts, ...]:
        return (
            self._decisions,
            self._rejections,
            self._attempts,
            self._failovers,
            self._hedges,
            self._cost,
            self._unknown_price,
            self._outcomes,
            self._events,
            self._reloads,
        )

    def _forget_others(self, gauges: Sequence[TargetGauges]) -> None:
        """Ends the series of targets that are gone, also of those whose last calls ended after they had gone."""
        # No target, and those beyond the bound, are no targets that could go.
        present = {str(state.target) for state in gauges} | {"", OTHER}
        for each in (*self._histograms(), *self._counts()):
            each.forget(present)

    def _labels_of(self, target: Target) -> tuple[str, str, str, str]:
        if len(self._target_labels) >= MAX_LABEL_SETS:
            self._target_labels.clear()
        labels = (CHAT, provider_name(target.provider), target.model, str(target))
        self._target_labels[target] = labels
        return labels

    def _count_shared(self) -> None:
        for shared, decision_count in self._shared.items():
            for target, reason in shared.by_target:
                self._rejections.add((target, reason.value), decision_count)
        self._shared.clear()
