"""What is not counted here but read where it is kept, when somebody asks: as families for the registry."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from turnout_server.core.model import NANO_USD, BreakerState
from turnout_server.telemetry.metrics import instruments as known
from turnout_server.telemetry.metrics.instruments import Instrument, Profile
from turnout_server.telemetry.metrics.process_use import cpu_seconds, resident_bytes
from turnout_server.telemetry.metrics.recording import counter, gauge

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from turnout_server.core.budget_book import BudgetReport
    from turnout_server.core.status import TargetGauges
    from turnout_server.execution.answer_cache import AnswerCache
    from turnout_server.execution.once import Once
    from turnout_server.telemetry.logs.request_log import RequestLog


PART_TARGETS = 100
"""Targets that are read in one go: some tenths of a millisecond."""


class FilesInUse(Protocol):
    """The listener's certificate and tokens."""

    @property
    def expires_at(self) -> float | None:
        """When the certificate in use ends, seconds since the epoch; None without one."""
        ...

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Returns how often files changed, by what they hold and what became of it."""
        ...


def shed(counts: Mapping[str, int]) -> Metric:
    """RPCs refused for overload, by the bound that they met."""
    family = counter(known.SHED)
    for bound, count in counts.items():
        family.add_metric((bound,), count)
    return family


def refused(counts: Mapping[str, int]) -> Metric:
    """RPCs refused for who asked."""
    family = counter(known.REFUSED)
    for reason, count in counts.items():
        family.add_metric((reason,), count)
    return family


def shadows_shed(counts: Mapping[tuple[str, str], int]) -> Metric:
    """Decisions that shadows were not asked about, by policy and shadow."""
    family = counter(known.SHADOW_SHED)
    for labels, count in counts.items():
        family.add_metric(labels, count)
    return family


def checks(counts: Mapping[tuple[str, str], int]) -> Metric:
    """Active checks, by what was checked and what came of it."""
    family = counter(known.CHECKS)
    for labels, count in counts.items():
        family.add_metric(labels, count)
    return family


def listener(files: FilesInUse) -> Iterator[Metric]:
    """What became of changed certificates and tokens, and when the certificate ends."""
    changes = counter(known.LISTENER_RELOADS)
    for labels, count in files.counts().items():
        changes.add_metric(labels, count)
    yield changes
    if files.expires_at is not None:
        yield gauge(known.CERTIFICATE_EXPIRY, files.expires_at)


def lines(log: RequestLog) -> Metric:
    """Lines of the request log, by what became of them."""
    family = counter(known.REQUEST_LOG_LINES)
    family.add_metric(("written",), log.written_count)
    family.add_metric(("dropped",), log.dropped_count)
    return family


def dropped(sources: Mapping[str, Callable[[], int]]) -> Metric:
    """Telemetry that was given up, by signal."""
    family = counter(known.TELEMETRY_DROPPED)
    for signal, read in sources.items():
        family.add_metric((signal,), read())
    return family


def kept(age_seconds: float | None, failure_count: int, journal_bytes: int) -> Iterator[Metric]:
    """How keeping state on disk goes; no age without a snapshot."""
    if age_seconds is not None:
        yield gauge(known.SNAPSHOT_AGE, age_seconds)
    yield counter(known.SNAPSHOT_FAILURES, failure_count)
    yield gauge(known.JOURNAL, journal_bytes)


def answers(once: Once, cache: AnswerCache, policies: Container[str] | None) -> Iterator[Metric]:
    """How many requests were answered by what was there already; of policies that there are, where that is known."""
    yield counter(known.JOINED, once.joined_count)
    looks = counter(known.CACHE_REQUESTS)
    for result, counts in (("hit", cache.hit_counts), ("miss", cache.miss_counts)):
        for policy, count in counts.items():
            if policies is None or policy in policies:
                looks.add_metric((policy, result), count)
    yield looks
    sizes = gauge(known.ANSWERS_KEPT)
    sizes.add_metric(("cache",), cache.size_bytes)
    sizes.add_metric(("request_id",), once.size_bytes)
    yield sizes


def budgets(reports: Iterable[BudgetReport]) -> Iterator[Metric]:
    """Values of a scope are callers' words, and many: what is told of each budget is the one with the least left."""
    remaining, limit = gauge(known.BUDGET_REMAINING), gauge(known.BUDGET_LIMIT)
    for report in reports:
        spec = report.spec
        left = min((account.left for account in report.accounts), default=spec.own_limit_nano_usd)
        remaining.add_metric((spec.name,), left / NANO_USD)
        limit.add_metric((spec.name,), spec.own_limit_nano_usd / NANO_USD)
    yield remaining
    yield limit


def running(version: str, policy_version: str, started_at_wall: float) -> Iterator[Metric]:
    """What runs here: the version of Turnout and of its routing, since when, and what the process takes."""
    build, config = gauge(known.BUILD_INFO), gauge(known.CONFIG_INFO)
    build.add_metric((version,), 1.0)
    config.add_metric((policy_version,), 1.0)
    yield build
    yield config
    yield gauge(known.START, started_at_wall)
    memory = resident_bytes()
    if memory is not None:
        yield gauge(known.MEMORY, memory)
    yield counter(known.CPU, cpu_seconds())


def targets(gauges: Sequence[TargetGauges], profile: Profile) -> Iterator[Metric]:
    """State of every target, a part of them at a time; the small profile tells of a breaker only if it is closed."""
    small = profile is Profile.SMALL
    states = (BreakerState.CLOSED,) if small else tuple(BreakerState)
    yield from _of_targets(gauges, known.TARGET_HEALTH, lambda state: state.score)
    for part in _parts(gauges):
        breaker = gauge(known.TARGET_BREAKER)
        for state in part:
            for each in states:
                breaker.add_metric((str(state.target), each.value), float(each is state.breaker))
        yield breaker
    yield from _of_targets(gauges, known.IN_FLIGHT, lambda state: state.in_flight)
    if not small:
        yield from _of_targets(gauges, known.THROTTLE, lambda state: state.throttle)
        # Of those that have one.
        yield from _of_targets(gauges, known.CONCURRENCY_LIMIT, lambda state: state.concurrency_limit)


def _of_targets(
    gauges: Sequence[TargetGauges], instrument: Instrument, read: Callable[[TargetGauges], float | None]
) -> Iterator[Metric]:
    for part in _parts(gauges):
        family = gauge(instrument)
        for state in part:
            value = read(state)
            if value is not None:
                family.add_metric((str(state.target),), value)
        yield family


def _parts(gauges: Sequence[TargetGauges]) -> Iterator[Sequence[TargetGauges]]:
    for begin in range(0, max(1, len(gauges)), PART_TARGETS):
        yield gauges[begin : begin + PART_TARGETS]
