"""What happened at a target lately, minute by minute for an hour, for those who watch; no decision depends on it.

Latencies go into logarithmic buckets, so that any window's percentiles come from adding up a few small tables.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from math import ceil, exp, exp2, isfinite, log
from typing import TYPE_CHECKING

from turnout_server.core.model import FailureKind
from turnout_server.core.status import LatencySummary

if TYPE_CHECKING:
    from turnout_server.core.kept import CountsRow, HistogramRow, KeptAverage, KeptName, Since, StatisticsLine
    from turnout_server.core.model import Outcome

MINUTE_SECONDS = 60.0
MINUTES_KEPT = 62
"""An hour, the minute that runs, and the one that the hour's beginning cuts."""
BUCKET_GROWTH = log(1.08)
"""Neighbouring buckets differ by 8 %, so a percentile is off by at most 4 %."""
SHORTEST_SECONDS = 0.001
LONGEST_SECONDS = 86_400.0
BUCKETS_MAXIMUM = ceil(log(LONGEST_SECONDS / SHORTEST_SECONDS) / BUCKET_GROWTH)
"""The last of them."""
HALF_LIFE_SECONDS = 60.0
KINDS = frozenset(kind.value for kind in FailureKind)


class Histogram:
    """Durations in seconds, in buckets of equal ratio; at most some 240 of them."""

    __slots__ = ("_buckets", "count", "highest", "lowest", "total")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.lowest = LONGEST_SECONDS
        self.highest = 0.0

    def add(self, seconds: float) -> None:
        """Takes one duration; what makes no sense is ignored."""
        if not isfinite(seconds) or not 0.0 <= seconds <= LONGEST_SECONDS:
            return
        bucket = ceil(log(max(seconds, SHORTEST_SECONDS) / SHORTEST_SECONDS) / BUCKET_GROWTH)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1
        self.total += seconds
        self.lowest = min(self.lowest, seconds)
        self.highest = max(self.highest, seconds)

    def merge(self, other: Histogram) -> None:
        """Adds another one's durations."""
        buckets = self._buckets
        for bucket, count in other._buckets.items():
            buckets[bucket] = buckets.get(bucket, 0) + count
        self.count += other.count
        self.total += other.total
        self.lowest = min(self.lowest, other.lowest)
        self.highest = max(self.highest, other.highest)

    def keep(self) -> HistogramRow:
        """Returns it as it is kept."""
        flat = tuple(number for item in self._buckets.items() for number in item)
        return flat, self.total, self.lowest, self.highest

    @classmethod
    def kept(cls, row: HistogramRow) -> Histogram:
        """Returns it as it was."""
        flat, total, lowest, highest = row
        self = cls()
        self._buckets = {bucket: count for bucket, count in zip(flat[::2], flat[1::2], strict=False) if count > 0}
        self.count = sum(self._buckets.values())
        self.total, self.lowest, self.highest = total, lowest, highest
        return self

    @property
    def mean(self) -> float | None:
        """The exact mean in seconds, None without durations."""
        # Rounding can carry a mean of equal numbers past them.
        return min(self.highest, max(self.lowest, self.total / self.count)) if self.count else None

    def quantile(self, share: float) -> float | None:
        """Returns what a share of the durations, above 0 to 1, stayed within (nearest rank, within 4 %)."""
        return self._quantile(sorted(self._buckets.items()), share) if self.count else None

    @property
    def bucket_count(self) -> int:
        """How many buckets hold something: what its size depends on."""
        return len(self._buckets)

    def summary(self, moving_average: float | None) -> LatencySummary | None:
        """Returns percentiles (nearest rank, within 4 %) and exact extremes and mean; None without durations."""
        mean = self.mean
        if mean is None:
            return None
        ordered = sorted(self._buckets.items())
        return LatencySummary(
            p50=self._quantile(ordered, 0.50),
            p95=self._quantile(ordered, 0.95),
            p99=self._quantile(ordered, 0.99),
            minimum=self.lowest,
            maximum=self.highest,
            mean=mean,
            moving_average=mean if moving_average is None else moving_average,
        )

    def _quantile(self, ordered: Iterable[tuple[int, int]], share: float) -> float:
        rank = ceil(share * self.count)
        seen = 0
        for bucket, count in ordered:
            seen += count
            if seen >= rank:
                middle = SHORTEST_SECONDS * exp((bucket - 0.5) * BUCKET_GROWTH)
                return min(self.highest, max(self.lowest, middle))
        return self.highest


class MovingAverage:
    """A time-decayed mean of durations, with a half-life of 60 s."""

    __slots__ = ("_at", "_mean", "_weight")

    def __init__(self) -> None:
        self._mean = 0.0
        self._weight = 0.0
        self._at = 0.0

    def add(self, seconds: float, now: float) -> None:
        """Takes one duration; what makes no sense is ignored."""
        if not isfinite(seconds) or not 0.0 <= seconds <= LONGEST_SECONDS:
            return
        self._weight = self._weight * exp2(-max(0.0, now - self._at) / HALF_LIFE_SECONDS) + 1.0
        self._mean += (seconds - self._mean) / self._weight
        self._at = max(self._at, now)

    def keep(self, now: float) -> KeptAverage | None:
        """Returns what is kept of it; None before there is anything."""
        from turnout_server.core.kept import KeptAverage  # noqa: PLC0415 - needed only where state outlives the process

        return KeptAverage(self._mean, self._weight, now - self._at) if self._weight else None

    def resume(self, kept: KeptAverage, since: Since) -> None:
        """Takes what was kept."""
        self._mean, self._weight, self._at = max(0.0, kept.value), max(0.0, kept.weight), since.past(kept.age)

    @property
    def value(self) -> float | None:
        """The mean in seconds, None before there is one."""
        return self._mean if self._weight else None


class Counts:
    """What ended within a stretch of time. Sums hold what is known; `priced` counts the attempts whose cost is."""

    __slots__ = (
        "cost_nano_usd",
        "failed_cost_nano_usd",
        "failures",
        "feedback_count",
        "feedback_sum",
        "first_token",
        "input_tokens",
        "latency",
        "output_seconds",
        "output_tokens",
        "priced",
        "succeeded",
        "timed_tokens",
        "total",
    )

    def __init__(self) -> None:
        self.total = 0
        self.succeeded = 0
        self.failures: Counter[FailureKind] = Counter()
        self.latency = Histogram()
        self.first_token = Histogram()
        self.input_tokens = 0
        self.output_tokens = 0
        self.timed_tokens = 0
        self.output_seconds = 0.0
        self.cost_nano_usd = 0
        self.failed_cost_nano_usd = 0
        """What of it attempts cost that failed."""
        self.priced = 0
        self.feedback_count = 0
        self.feedback_sum = 0.0

    def add(self, outcome: Outcome) -> None:
        """Takes one outcome."""
        self.total += 1
        if outcome.failure is None:
            self.succeeded += 1
            self._time(outcome)
        else:
            self.failures[outcome.failure] += 1
        usage = outcome.usage
        if usage is not None:
            self.input_tokens += max(0, usage.input_tokens or 0)
            self.output_tokens += max(0, usage.output_tokens or 0)
        if outcome.cost_nano_usd is not None:
            self.cost_nano_usd += outcome.cost_nano_usd
            self.priced += 1
            if outcome.failure is not None:
                self.failed_cost_nano_usd += outcome.cost_nano_usd

    def merge(self, other: Counts) -> None:
        """Adds another stretch of time."""
        self.total += other.total
        self.succeeded += other.succeeded
        self.failures.update(other.failures)
        self.latency.merge(other.latency)
        self.first_token.merge(other.first_token)
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.timed_tokens += other.timed_tokens
        self.output_seconds += other.output_seconds
        self.cost_nano_usd += other.cost_nano_usd
        self.failed_cost_nano_usd += other.failed_cost_nano_usd
        self.priced += other.priced
        self.feedback_count += other.feedback_count
        self.feedback_sum += other.feedback_sum

    def keep(self) -> CountsRow:
        """Returns them as they are kept."""
        return (
            self.total,
            self.succeeded,
            {kind.value: count for kind, count in self.failures.items()},
            self.latency.keep(),
            self.first_token.keep(),
            self.input_tokens,
            self.output_tokens,
            self.timed_tokens,
            self.output_seconds,
            self.cost_nano_usd,
            self.priced,
            self.feedback_count,
            self.feedback_sum,
        )

    @classmethod
    def kept(cls, row: CountsRow) -> Counts:
        """Returns them as they were; kinds of failure that are not known here are left out."""
        self = cls()
        self.total, self.succeeded = row[:2]
        self.failures = Counter({FailureKind(kind): count for kind, count in row[2].items() if kind in KINDS})
        self.latency, self.first_token = Histogram.kept(row[3]), Histogram.kept(row[4])
        self.input_tokens, self.output_tokens, self.timed_tokens, self.output_seconds = row[5:9]
        self.cost_nano_usd, self.priced, self.feedback_count, self.feedback_sum = row[9:]
        return self

    def _time(self, outcome: Outcome) -> None:
        """Only complete answers have a latency that means anything."""
        latency, first_token = outcome.latency_seconds, outcome.time_to_first_token_seconds
        if latency is None:
            return
        self.latency.add(latency)
        if first_token is not None:
            self.first_token.add(first_token)
        tokens = outcome.usage.output_tokens if outcome.usage is not None else None
        seconds = latency - (first_token or 0.0)
        if tokens is not None and tokens > 0 and isfinite(seconds) and seconds > 0.0:
            self.timed_tokens += tokens
            self.output_seconds += seconds


class TargetStatistics:
    """One target's last hour, and when it was last used. Times are monotonic seconds, None for never."""

    __slots__ = (
        "_minutes",
        "average_first_token",
        "average_latency",
        "last_check_at",
        "last_request_at",
        "last_success_at",
    )

    def __init__(self) -> None:
        self._minutes: deque[tuple[int, Counts]] = deque()
        self.average_latency = MovingAverage()
        self.average_first_token = MovingAverage()
        self.last_request_at: float | None = None
        self.last_success_at: float | None = None
        self.last_check_at: float | None = None

    def record(self, outcome: Outcome, now: float) -> None:
        """Takes one outcome, whether or not it counts for health."""
        self._minute(now).add(outcome)
        self.last_request_at = now
        if outcome.failure is None:
            self.last_success_at = now
            if outcome.latency_seconds is not None:
                self.average_latency.add(outcome.latency_seconds, now)
            if outcome.time_to_first_token_seconds is not None:
                self.average_first_token.add(outcome.time_to_first_token_seconds, now)

    def feedback(self, quality: float, now: float) -> None:
        """Takes a judgement of one answer, 0 to 1."""
        minute = self._minute(now)
        minute.feedback_count += 1
        minute.feedback_sum += quality

    def window(self, window_seconds: float, now: float) -> Counts:
        """Returns what ended in the last `window_seconds`, in whole minutes: up to one more at its beginning."""
        oldest = first_minute(window_seconds, now)
        result = Counts()
        for number, counts in self._minutes:
            if number >= oldest:
                result.merge(counts)
        return result

    def keep(self, name: KeptName, now: float) -> StatisticsLine:
        """Returns what is kept of them."""
        from turnout_server.core.kept import StatisticsLine  # noqa: PLC0415 - needed only where state outlives the process

        current = int(now // MINUTE_SECONDS)
        return StatisticsLine(
            name=name,
            minutes=tuple((current - number, counts.keep()) for number, counts in self._minutes),
            average_latency=self.average_latency.keep(now),
            average_first_token=self.average_first_token.keep(now),
            request_age=None if self.last_request_at is None else now - self.last_request_at,
            success_age=None if self.last_success_at is None else now - self.last_success_at,
        )

    def resume(self, kept: StatisticsLine, since: Since) -> None:
        """Takes what was kept, as far as it is of the last hour."""
        oldest = int(since.now // MINUTE_SECONDS) - MINUTES_KEPT
        rows = sorted((since.number(ago, MINUTE_SECONDS), counts) for ago, counts in dict(kept.minutes).items())
        self._minutes = deque((number, Counts.kept(counts)) for number, counts in rows if number > oldest)
        if kept.average_latency is not None:
            self.average_latency.resume(kept.average_latency, since)
        if kept.average_first_token is not None:
            self.average_first_token.resume(kept.average_first_token, since)
        self.last_request_at = None if kept.request_age is None else since.past(kept.request_age)
        self.last_success_at = None if kept.success_age is None else since.past(kept.success_age)

    def take(self, other: TargetStatistics) -> None:
        """Takes what another one has in the place of its own; the last check stays."""
        self._minutes = other._minutes
        self.average_latency, self.average_first_token = other.average_latency, other.average_first_token
        self.last_request_at, self.last_success_at = other.last_request_at, other.last_success_at

    def minutes(self) -> Iterable[tuple[int, Counts]]:
        """Returns each minute in which something ended, by its number since the clock's beginning."""
        return self._minutes

    def _minute(self, now: float) -> Counts:
        number = int(now // MINUTE_SECONDS)
        if not self._minutes or self._minutes[-1][0] < number:
            self._minutes.append((number, Counts()))
            while self._minutes[0][0] <= number - MINUTES_KEPT:
                self._minutes.popleft()
        return self._minutes[-1][1]


def first_minute(window_seconds: float, now: float) -> int:
    """Returns the number of the minute that a window ending now begins in."""
    return int((now - window_seconds) // MINUTE_SECONDS)
