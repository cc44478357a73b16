"""Metrics for Prometheus, thin: counts kept in plain dictionaries, gauges read from the router when somebody asks.

A counter here costs one dictionary entry, because a decision among hundreds of targets counts hundreds of rejections.
All writing and all scraping happens on the one event loop, so that nothing needs a lock.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from turnout_server.core.candidates import first_spec
from turnout_server.core.model import NANO_USD, BreakerState
from turnout_server.core.rejections import Rejections

if TYPE_CHECKING:
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

MAX_LABEL_SETS = 4096
OTHER = "_OTHER"
HEDGE_LABELS = ("target", "result")
TAKEN, UNCHANGED, REFUSED = "taken", "unchanged", "refused"
"""What can come of a look at a changed configuration."""
SHARED_MAXIMUM = 64
"""Sets of rejections counted as one until somebody scrapes; beyond, they are taken apart at once."""

OVERHEAD_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
"""Upper bounds in seconds: overhead is tenths of a millisecond, and worth a look from 10 ms on."""


class _Counts:
    """One counter by label values, bounded: what is new beyond the bound is counted as `_OTHER`."""

    __slots__ = ("_names", "help", "name", "values")

    def __init__(self, name: str, help_text: str, names: tuple[str, ...]) -> None:
        self.name = name
        self.help = help_text
        self._names = names
        self.values: Counter[tuple[str, ...]] = Counter()

    def add(self, labels: tuple[str, ...], amount: int = 1) -> None:
        values = self.values
        if labels not in values and len(values) >= MAX_LABEL_SETS:
            labels = (OTHER,) * len(self._names)
        values[labels] += amount

    def family(self, scale: float = 1.0) -> CounterMetricFamily:
        family = CounterMetricFamily(self.name, self.help, labels=self._names)
        for labels, value in self.values.items():
            family.add_metric(labels, value / scale if scale != 1.0 else value)
        return family


class Metrics(Collector):
    """Everything that is counted. Implements the router's instruments.

    `watch` gives it the router's gauges, which are read at scrape time.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._decisions = _Counts("turnout_decisions", "Decisions made.", ("strategy", "chosen", "policy"))
        self._rejections = _Counts("turnout_rejections", "Targets rejected, by first reason.", ("target", "reason"))
        self._attempts = _Counts("turnout_attempts", "Attempts that ended.", ("target", "outcome"))
        self._failovers = _Counts("turnout_failovers", "Calls moved to another target.", ("from", "to", "failure"))
        self._hedges = _Counts("turnout_hedges", "Hedges by the slow target and what became of them.", HEDGE_LABELS)
        self._cost = _Counts("turnout_cost_usd", "What attempts cost, as far as known.", ("target",))
        self._unknown_price = _Counts("turnout_price_unknown", "Attempts whose cost is not known.", ("target",))
        self._outcomes = _Counts("turnout_outcomes", "Reports of outcomes, by what became of them.", ("result",))
        self._events = _Counts("turnout_events", "Events.", ("name",))
        self._reloads = _Counts(
            "turnout_config_reloads", "Looks at a changed configuration, by what came of them.", ("result",)
        )
        self._config_taken_at = 0.0
        self._config_refused = False
        self._shared: dict[FirstReasons, int] = {}
        """How many decisions each set of rejections stands for that is shared by all decisions of one shape."""
        self._overhead = [0] * (len(OVERHEAD_BUCKETS) + 1)
        self._overhead_sum = 0.0
        self._gauges: Callable[[], Sequence[TargetGauges]] | None = None
        self._shed: Callable[[], int] | None = None
        self._once: Once | None = None
        self._cache: AnswerCache | None = None
        self._request_log: Callable[[], RequestLog | None] = lambda: None
        self._keeping: Callable[[], tuple[float | None, int, int]] | None = None
        self._budgets: Callable[[], Sequence[BudgetReport]] | None = None
        self._refusals: Mapping[str, int] | None = None
        self._listener_files: FilesInUse | None = None
        self.registry.register(self)

    def watch(self, gauges: Callable[[], Sequence[TargetGauges]]) -> None:
        """Reads gauges of targets from here at each scrape."""
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

    def watch_refusals(self, counts: Mapping[str, int]) -> None:
        """Reads from here at each scrape how many RPCs were refused for who asked, by reason."""
        self._refusals = counts

    def watch_listener_files(self, files: FilesInUse) -> None:
        """Reads from here at each scrape what became of changed certificates and tokens, and when one ends."""
        self._listener_files = files

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
        """Counts an attempt that ended, made or reported, and what it cost."""
        target = str(record.target)
        self._attempts.add((target, record.failure.value if record.failure is not None else "ok"))
        if record.cost_nano_usd is not None:
            self._cost.add((target,), record.cost_nano_usd)
        elif record.possibly_billed:
            self._unknown_price.add((target,))

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
        self._overhead[bisect_left(OVERHEAD_BUCKETS, seconds)] += 1
        self._overhead_sum += seconds

    def render(self, accept: str) -> tuple[bytes, str]:
        """Returns the text for a scrape and its content type, as the Accept header wants it."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def collect(self) -> Iterator[Metric]:
        """Yields everything, for the registry."""
        self._count_shared()
        for counts in (
            self._decisions,
            self._rejections,
            self._attempts,
            self._failovers,
            self._hedges,
            self._unknown_price,
        ):
            yield counts.family()
        yield self._cost.family(scale=NANO_USD)
        yield self._outcomes.family()
        yield self._events.family()
        yield self._reloads.family()
        yield GaugeMetricFamily(
            "turnout_config_taken_timestamp_seconds",
            "When the configuration in force was taken, Unix time.",
            value=self._config_taken_at,
        )
        yield GaugeMetricFamily(
            "turnout_config_refused",
            "1 while the configuration in force is not the one of the file, which has faults.",
            value=float(self._config_refused),
        )
        yield self._overhead_family()
        if self._shed is not None:
            yield CounterMetricFamily("turnout_overload_shed", "Calls shed for overload.", value=self._shed())
        if self._once is not None and self._cache is not None:
            yield from _answers(self._once, self._cache)
        request_log = self._request_log()
        if request_log is not None:
            yield _lines(request_log)
        if self._keeping is not None:
            yield from _kept(*self._keeping())
        if self._budgets is not None:
            yield _remaining(self._budgets())
        if self._refusals:
            yield _refused(self._refusals)
        if self._listener_files is not None:
            yield from _listener(self._listener_files)
        if self._gauges is not None:
            yield from _target_gauges(self._gauges())

    def _count_shared(self) -> None:
        for shared, decision_count in self._shared.items():
            for target, reason in shared.by_target:
                self._rejections.add((target, reason.value), decision_count)
        self._shared.clear()

    def _overhead_family(self) -> HistogramMetricFamily:
        bounds = [*(f"{bound:g}" for bound in OVERHEAD_BUCKETS), "+Inf"]
        return HistogramMetricFamily(
            "turnout_overhead_duration_seconds",
            "Time of a call not spent waiting for providers.",
            buckets=list(zip(bounds, accumulate(self._overhead), strict=True)),
            sum_value=self._overhead_sum,
        )


class FilesInUse(Protocol):
    """The listener's certificate and tokens."""

    @property
    def expires_at(self) -> float | None:
        """When the certificate in use ends, seconds since the epoch; None without one."""
        ...

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Returns how often files changed, by what they hold and what became of it."""
        ...


def _refused(counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(
        "turnout_listener_refused", "RPCs refused for who asked, by reason.", labels=("reason",)
    )
    for reason, count in counts.items():
        family.add_metric((reason,), count)
    return family


def _listener(files: FilesInUse) -> Iterator[Metric]:
    changes = CounterMetricFamily(
        "turnout_listener_reloads", "Changed files of the listener, by what became of them.", labels=("what", "result")
    )
    for labels, count in files.counts().items():
        changes.add_metric(labels, count)
    yield changes
    if files.expires_at is not None:
        yield GaugeMetricFamily(
            "turnout_listener_certificate_expiry_timestamp_seconds",
            "When the listener's certificate ends, seconds since the epoch.",
            value=files.expires_at,
        )


def _lines(log: RequestLog) -> Metric:
    family = CounterMetricFamily(
        "turnout_request_log_lines", "Lines of the request log, by what became of them.", labels=("result",)
    )
    family.add_metric(("written",), log.written_count)
    family.add_metric(("dropped",), log.dropped_count)
    return family


def _kept(age_seconds: float | None, failure_count: int, journal_bytes: int) -> Iterator[Metric]:
    if age_seconds is not None:
        yield GaugeMetricFamily("turnout_snapshot_age_seconds", "Time since the last snapshot.", value=age_seconds)
    yield CounterMetricFamily(
        "turnout_snapshot_failures", "Times that state could not be written to disk.", value=failure_count
    )
    yield GaugeMetricFamily("turnout_journal_bytes", "Size of the journal since the snapshot.", value=journal_bytes)


def _answers(once: Once, cache: AnswerCache) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "turnout_requests_joined",
        "Requests that got the answer of an earlier one of their id.",
        value=once.joined_count,
    )
    looks = CounterMetricFamily(
        "turnout_cache_requests", "Requests that an answer might be kept for.", labels=("policy", "result")
    )
    for result, counts in (("hit", cache.hit_counts), ("miss", cache.miss_counts)):
        for policy, count in counts.items():
            looks.add_metric((policy, result), count)
    yield looks
    kept = GaugeMetricFamily("turnout_answers_kept_bytes", "What answers that are kept take.", labels=("what",))
    kept.add_metric(("cache",), cache.size_bytes)
    kept.add_metric(("request_id",), once.size_bytes)
    yield kept


def _remaining(reports: Iterable[BudgetReport]) -> Metric:
    """Values of a scope are callers' words, and many: what is told of each budget is the one with the least left."""
    help_text = "What remains of a budget, of the value of its scope that has used the most."
    family = GaugeMetricFamily("turnout_budget_remaining_usd", help_text, labels=("budget",))
    for report in reports:
        left = min((account.left for account in report.accounts), default=report.spec.own_limit_nano_usd)
        family.add_metric((report.spec.name,), left / NANO_USD)
    return family


def _target_gauges(gauges: Sequence[TargetGauges]) -> Iterable[Metric]:
    score = GaugeMetricFamily("turnout_target_health", "Health score, 0 to 100.", labels=("target",))
    breaker = GaugeMetricFamily(
        "turnout_target_breaker", "1 for the state the breaker is in.", labels=("target", "state")
    )
    in_flight = GaugeMetricFamily("turnout_target_in_flight", "Calls under way.", labels=("target",))
    throttle = GaugeMetricFamily(
        "turnout_target_throttle_ratio",
        "Share of its calls that go elsewhere since it refuses many.",
        labels=("target",),
    )
    limit = GaugeMetricFamily(
        "turnout_target_concurrency_limit", "Calls that may be under way; absent without a limit.", labels=("target",)
    )
    for state in gauges:
        name = str(state.target)
        score.add_metric((name,), state.score)
        in_flight.add_metric((name,), state.in_flight)
        throttle.add_metric((name,), state.throttle)
        if state.concurrency_limit is not None:
            limit.add_metric((name,), state.concurrency_limit)
        for known in BreakerState:
            breaker.add_metric((name, known.value), float(known is state.breaker))
    return (score, breaker, in_flight, throttle, limit)
