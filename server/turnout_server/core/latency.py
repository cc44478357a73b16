"""How long a target will take for this request: a prior from the catalog, corrected by what was measured.

What is learned is a ratio to the prior, so that long and short requests teach the same estimate. Each ratio is a
time-decayed mean with a peak on top: a slow answer shows at once, and fades when nothing confirms it. So does a slow
mean, later: nobody asks a slow target, and it would never be known that it has become quick again.
"""

from __future__ import annotations

from collections import deque
from math import ceil, exp2, isfinite
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turnout_server.core.kept import KeptLatency, KeptPeak, Since

PREFILL_SHARE_PER_TOKEN = 3e-5
"""Prior: each uncached input token adds this share of the base time to the first token (100,000 tokens: three times
the base on top). Hosted models prefill some 20,000 to 50,000 tokens a second; measurements correct the whole."""
HALF_LIFE_SECONDS = 60.0
HALF_LIFE_SAMPLES = 10
PRIOR_SAMPLES = 2.0
"""The prior weighs as much as this many measurements."""
RISE = 0.5
"""How far one sample above the estimate pulls it up at once: one slow answer counts half, two in a row 75 %."""
TRUSTED_MAXIMUM_SECONDS = 300.0
"""An estimate above the prior is trusted for one half-life without a measurement, for five minutes at most; after that
its distance to the prior halves whenever as much time has passed again. The trade between slow calls made to find out
and time until a target is used again was simulated: docs/decisions/0016."""
RATIO_MINIMUM, RATIO_MAXIMUM = 0.01, 100.0
TOKENS_MINIMUM = 8
"""Below this many output tokens the time per token is noise, and is not learned."""
RECENT_COUNT = 100
PRIOR_SECONDS_MINIMUM = 1e-6
QUANTILE = 0.95
TELLING_COUNT = 20
"""Of fewer values the 95th percentile is merely the highest."""


class PeakRatio:
    """A time-decayed mean of ratios, with a peak above it that halves in every half-life.

    It starts at 1, and comes back to it from above when nothing is measured for long.
    """

    __slots__ = ("_excess", "_half_life", "_last_at", "_mean", "_weight")

    def __init__(self) -> None:
        self._mean = 1.0
        self._weight = PRIOR_SAMPLES
        self._excess = 0.0
        self._half_life = HALF_LIFE_SECONDS
        self._last_at: float | None = None

    def value(self, now: float) -> float:
        """Returns the estimate, between the lowest and the highest ratio seen (1, the prior, included)."""
        last_at = self._last_at
        if last_at is None:
            return self._mean
        known = self._mean
        if self._excess != 0.0:
            known += self._excess * exp2(-max(0.0, now - last_at) / self._half_life)
        return self._faded(known, now - last_at)

    def observe(self, ratio: float, half_life_seconds: float, now: float) -> None:
        """Takes one measurement; `half_life_seconds` holds until the next."""
        ratio = min(RATIO_MAXIMUM, max(RATIO_MINIMUM, ratio))
        self._half_life = half_life_seconds
        before, mean = self.value(now), self._mean
        if self._last_at is not None:
            mean = self._faded(mean, now - self._last_at)
            self._weight *= exp2(-max(0.0, now - self._last_at) / half_life_seconds)
        self._weight += 1.0
        self._mean = mean + (ratio - mean) / self._weight
        if ratio > before:
            self._excess = max(0.0, before + RISE * (ratio - before) - self._mean)
        else:
            # Fast answers lower the mean at once, the peak above it only with time; together they never raise it.
            self._excess = min(before - mean, max(0.0, before - self._mean))
        self._last_at = now

    def keep(self, now: float) -> KeptPeak:
        """Returns what is kept of it."""
        from turnout_server.core.kept import KeptPeak  # noqa: PLC0415 - needed only where state outlives the process

        age = None if self._last_at is None else now - self._last_at
        return KeptPeak(self._mean, self._weight, self._excess, self._half_life, age)

    def resume(self, kept: KeptPeak, since: Since) -> None:
        """Takes what was kept."""
        self._mean = min(RATIO_MAXIMUM, max(RATIO_MINIMUM, kept.mean))
        self._weight = max(0.0, kept.weight)
        self._excess = min(RATIO_MAXIMUM - self._mean, max(0.0, kept.excess))
        self._half_life = max(HALF_LIFE_SECONDS, kept.half_life)
        self._last_at = None if kept.age is None else since.past(kept.age)

    def _faded(self, ratio: float, idle_seconds: float) -> float:
        """Returns what a ratio that nothing has confirmed for so long still says: one above 1 comes back towards 1."""
        if ratio <= 1.0:
            return ratio
        trusted_seconds = min(self._half_life, TRUSTED_MAXIMUM_SECONDS)
        if idle_seconds <= trusted_seconds:
            return ratio
        return 1.0 + (ratio - 1.0) * exp2(1.0 - idle_seconds / trusted_seconds)


class RecentQuantile:
    """The 95th percentile of the last hundred values; sorted only when asked for after a change."""

    __slots__ = ("_known", "_values")

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=RECENT_COUNT)
        self._known: float | None = None

    def add(self, value: float) -> None:
        """Takes one value; beyond a hundred the oldest is forgotten."""
        self._values.append(value)
        self._known = None

    def keep(self) -> tuple[float, ...]:
        """Returns its values, the oldest first."""
        return tuple(self._values)

    def resume(self, values: tuple[float, ...]) -> None:
        """Takes what was kept."""
        self._values = deque((value for value in values if value >= 0.0), maxlen=RECENT_COUNT)
        self._known = None

    @property
    def count(self) -> int:
        """How many values it is of, at most a hundred."""
        return len(self._values)

    @property
    def p95(self) -> float | None:
        """The nearest-rank 95th percentile, None without values."""
        if self._known is None and self._values:
            ordered = sorted(self._values)
            self._known = ordered[ceil(QUANTILE * len(ordered)) - 1]
        return self._known


class LatencyEstimate:
    """Predicts one target's latency in seconds, never from zero: `observe` corrects the catalog's prior.

    Predicted = time to first token (base + seconds per uncached input token) + seconds per output token x output.
    """

    __slots__ = (
        "_first",
        "_first_prior",
        "_first_recent",
        "_recent",
        "_times",
        "_token",
        "_token_prior",
        "sample_count",
    )

    def __init__(self, prior_time_to_first_token_seconds: float, prior_seconds_per_output_token: float) -> None:
        self._first_prior = max(PRIOR_SECONDS_MINIMUM, prior_time_to_first_token_seconds)
        self._token_prior = max(PRIOR_SECONDS_MINIMUM, prior_seconds_per_output_token)
        self._first = PeakRatio()
        self._token = PeakRatio()
        self._first_recent = RecentQuantile()
        self._recent = RecentQuantile()
        self._times: deque[float] = deque(maxlen=HALF_LIFE_SAMPLES)
        self.sample_count = 0

    def time_to_first_token(self, uncached_input_tokens: float, now: float) -> float:
        """Returns the predicted seconds to the first token."""
        return self._prior_first(uncached_input_tokens) * self._first.value(now)

    def seconds_per_output_token(self, now: float) -> float:
        """Returns the predicted seconds for each token of output."""
        return self._token_prior * self._token.value(now)

    def predict(self, uncached_input_tokens: float, output_tokens: float, now: float) -> float:
        """Returns the predicted seconds to the end of the answer."""
        return self.both(max(0.0, uncached_input_tokens), max(0.0, output_tokens), now)[1]

    def both(self, uncached_input_tokens: float, output_tokens: float, now: float) -> tuple[float, float]:
        """Returns the predicted seconds to the first token and to the end, of token counts that are not negative."""
        first_seconds, token_seconds = self.rates(now)
        first = first_seconds * (1.0 + PREFILL_SHARE_PER_TOKEN * uncached_input_tokens)
        return first, first + token_seconds * output_tokens

    def rates(self, now: float) -> tuple[float, float]:
        """Returns the predicted seconds to the first token of an empty prompt, and those for each token of output.

        Each input token adds `PREFILL_SHARE_PER_TOKEN` of the first.
        """
        return self._first_prior * self._first.value(now), self._token_prior * self._token.value(now)

    @property
    def p95_time_to_first_token(self) -> float:
        """The 95th percentile of the last hundred times to first token, in seconds; the prior before there is one."""
        measured = self._first_recent.p95
        return self._first_prior if measured is None else measured

    def late_first_token(self, uncached_input_tokens: float) -> float | None:
        """Returns the seconds after which a first token is later than 95 of 100; None with fewer than 20 measured.

        The measured ones are of prompts as they came; what so many tokens add by the prior is added, so that a long
        prompt is not late for being long.
        """
        measured = self._first_recent.p95 if self._first_recent.count >= TELLING_COUNT else None
        if measured is None:
            return None
        return measured + self._first_prior * PREFILL_SHARE_PER_TOKEN * max(0.0, uncached_input_tokens)

    @property
    def p95_latency(self) -> float:
        """The 95th percentile of the last hundred latencies; before there is one, the prior for 250 output tokens."""
        measured = self._recent.p95
        return self._first_prior + 250 * self._token_prior if measured is None else measured

    def observe(
        self,
        *,
        time_to_first_token_seconds: float | None,
        latency_seconds: float,
        uncached_input_tokens: float,
        output_tokens: float | None,
        streamed: bool,
        now: float,
    ) -> None:
        """Learns from one complete answer.

        Only a stream tells the two parts apart. Of another answer the whole is compared with the whole prior, and
        corrects both parts alike. Values that are negative or not finite teach nothing.
        """
        first = time_to_first_token_seconds if streamed else None
        if not (isfinite(latency_seconds) and latency_seconds >= 0.0):
            return
        if first is not None and not (isfinite(first) and 0.0 <= first <= latency_seconds):
            first = None
        self.sample_count += 1
        self._times.append(now)
        self._recent.add(latency_seconds)
        half_life = max(HALF_LIFE_SECONDS, self._times[-1] - self._times[0])
        prior_first = self._prior_first(uncached_input_tokens)
        if first is not None:
            self._first_recent.add(first)
            self._first.observe(first / prior_first, half_life, now)
            if output_tokens is not None and output_tokens >= TOKENS_MINIMUM:
                self._token.observe((latency_seconds - first) / output_tokens / self._token_prior, half_life, now)
        elif output_tokens is not None:
            ratio = latency_seconds / (prior_first + self._token_prior * max(0.0, output_tokens))
            self._first.observe(ratio, half_life, now)
            self._token.observe(ratio, half_life, now)

    def keep(self, now: float) -> KeptLatency | None:
        """Returns what is kept of it; None before the first answer."""
        from turnout_server.core.kept import KeptLatency  # noqa: PLC0415 - needed only where state outlives the process

        if not self.sample_count:
            return None
        return KeptLatency(
            self._first.keep(now),
            self._token.keep(now),
            self._first_recent.keep(),
            self._recent.keep(),
            tuple(now - at for at in self._times),
            self.sample_count,
        )

    def resume(self, kept: KeptLatency, since: Since) -> None:
        """Takes what was kept. Ratios are to the prior, which may be another one by now."""
        self._first.resume(kept.first, since)
        self._token.resume(kept.token, since)
        self._first_recent.resume(kept.first_recent)
        self._recent.resume(kept.recent)
        self._times = deque((since.past(age) for age in kept.ages), maxlen=HALF_LIFE_SAMPLES)
        self.sample_count = max(1, kept.sample_count)

    def _prior_first(self, uncached_input_tokens: float) -> float:
        return self._first_prior * (1.0 + PREFILL_SHARE_PER_TOKEN * max(0.0, uncached_input_tokens))
