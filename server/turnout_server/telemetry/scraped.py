"""What is not counted here but read where it is kept, when somebody asks: as families for the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from turnout_server.core.model import NANO_USD, BreakerState
from turnout_server.telemetry import instruments as known
from turnout_server.telemetry.instruments import Profile
from turnout_server.telemetry.recording import counter, gauge

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from turnout_server.core.budget_book import BudgetReport
    from turnout_server.core.status import TargetGauges
    from turnout_server.execution.answer_cache import AnswerCache
    from turnout_server.execution.once import Once
    from turnout_server.telemetry.request_log import RequestLog


class FilesInUse(Protocol):
    """The listener's certificate and tokens."""

    @property
    def expires_at(self) -> float | None:
        """When the certificate in use ends, seconds since the epoch; None without one."""
        ...

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Returns how often files changed, by what they hold and what became of it."""
        ...


def refused(counts: Mapping[str, int]) -> Metric:
    """RPCs refused for who asked."""
    family = counter(known.REFUSED)
    for reason, count in counts.items():
        family.add_metric((reason,), count)
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


def answers(once: Once, cache: AnswerCache) -> Iterator[Metric]:
    """How many requests were answered by what was there already."""
    yield counter(known.JOINED, once.joined_count)
    looks = counter(known.CACHE_REQUESTS)
    for result, counts in (("hit", cache.hit_counts), ("miss", cache.miss_counts)):
        for policy, count in counts.items():
            looks.add_metric((policy, result), count)
    yield looks
    sizes = gauge(known.ANSWERS_KEPT)
    sizes.add_metric(("cache",), cache.size_bytes)
    sizes.add_metric(("request_id",), once.size_bytes)
    yield sizes


def remaining(reports: Iterable[BudgetReport]) -> Metric:
    """Values of a scope are callers' words, and many: what is told of each budget is the one with the least left."""
    family = gauge(known.BUDGET_REMAINING)
    for report in reports:
        left = min((account.left for account in report.accounts), default=report.spec.own_limit_nano_usd)
        family.add_metric((report.spec.name,), left / NANO_USD)
    return family


def targets(gauges: Sequence[TargetGauges], profile: Profile) -> Iterable[Metric]:
    """State of every target; the small profile tells of a breaker only whether it is closed."""
    score, breaker, in_flight = gauge(known.TARGET_HEALTH), gauge(known.TARGET_BREAKER), gauge(known.IN_FLIGHT)
    throttle, limit = gauge(known.THROTTLE), gauge(known.CONCURRENCY_LIMIT)
    small = profile is Profile.SMALL
    states = (BreakerState.CLOSED,) if small else tuple(BreakerState)
    for state in gauges:
        name = str(state.target)
        score.add_metric((name,), state.score)
        in_flight.add_metric((name,), state.in_flight)
        for each in states:
            breaker.add_metric((name, each.value), float(each is state.breaker))
        if small:
            continue
        throttle.add_metric((name,), state.throttle)
        if state.concurrency_limit is not None:
            limit.add_metric((name,), state.concurrency_limit)
    return (score, breaker, in_flight) if small else (score, breaker, in_flight, throttle, limit)
