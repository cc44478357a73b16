"""Metrics, thin: counts kept in plain dictionaries, gauges read from the router when somebody asks.

A counter here costs one dictionary entry, because a decision among hundreds of targets counts hundreds of rejections.
All writing and all reading happens on the one event loop, so that nothing needs a lock. What instruments there are says
`instruments`; `/metrics` and OTLP read the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from turnout_server.core.candidates import first_spec
from turnout_server.core.model import NANO_USD, UsageSource
from turnout_server.core.rejections import Rejections
from turnout_server.telemetry.genai import CHAT, provider_name
from turnout_server.telemetry.metrics import instruments as known
from turnout_server.telemetry.metrics import scraped
from turnout_server.telemetry.metrics.instruments import Profile
from turnout_server.telemetry.metrics.page import page, page_at_once
from turnout_server.telemetry.metrics.recording import MAX_LABEL_SETS, Counts, Histogram, gauge
from turnout_server.telemetry.metrics.watched import Watched

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from turnout_server.core.call import AttemptRecord
    from turnout_server.core.comparison import Comparison
    from turnout_server.core.decision import Decision
    from turnout_server.core.events import Event
    from turnout_server.core.hedging import HedgeResult
    from turnout_server.core.model import FailureKind, Target
    from turnout_server.core.shapes import FirstReasons
    from turnout_server.core.status import TargetGauges

TAKEN, UNCHANGED, REFUSED = "taken", "unchanged", "refused"
"""What can come of a look at a changed configuration."""
SHARED_MAXIMUM = 64
"""Sets of rejections counted as one until somebody scrapes; beyond, the oldest is taken apart for each new one."""


class Metrics(Watched):
    """Everything that is counted, and what is read where it is kept. Implements the router's instruments.

    `watch` gives it the router's gauges, which are read at scrape time. `profile` says how many series there are.
    """

    def __init__(self, profile: Profile = Profile.FULL) -> None:
        super().__init__()
        self._profile = profile
        self._decisions = Counts(known.DECISIONS, profile)
        self._rejections = Counts(known.REJECTIONS, profile)
        self._attempts = Counts(known.ATTEMPTS, profile)
        self._failovers = Counts(known.FAILOVERS, profile)
        self._hedges = Counts(known.HEDGES, profile)
        self._shadows = Counts(known.SHADOW_DECISIONS, profile)
        self._cost = Counts(known.COST, profile)
        self._unknown_price = Counts(known.PRICE_UNKNOWN, profile)
        self._outcomes = Counts(known.OUTCOMES, profile)
        self._outcomes_apart = {
            "missing": Counts(known.OUTCOMES_MISSING, profile),
            "duplicate": Counts(known.OUTCOMES_DUPLICATE, profile),
        }
        self._events = Counts(known.EVENTS, profile)
        self._reloads = Counts(known.CONFIG_RELOADS, profile)
        self._duration = Histogram(known.OPERATION_DURATION, profile)
        self._first_chunk = Histogram(known.TIME_TO_FIRST_CHUNK, profile)
        self._tokens = Histogram(known.TOKEN_USAGE, profile)
        self._calls = Histogram(known.CALL_DURATION, profile)
        self._overhead = Histogram(known.OVERHEAD, profile)
        self._loop_delay = Histogram(known.LOOP_DELAY, profile)
        self._target_labels: dict[Target, tuple[str, str, str, str]] = {}
        self._version = ""
        self._started_at = 0.0
        self._config_taken_at = 0.0
        self._config_refused = False
        self._shared: dict[FirstReasons, int] = {}
        """How many decisions each set of rejections stands for that is shared by all decisions of one shape."""
        self._gauges: Callable[[], Iterable[TargetGauges]] | None = None

    def watch(self, gauges: Callable[[], Iterable[TargetGauges]]) -> None:
        """Reads gauges of targets from here at each scrape, some at a time; series of all other targets end."""
        self._gauges = gauges

    def decision(self, decision: Decision) -> None:
        """Counts a decision and its rejections."""
        chosen = first_spec(decision.candidates)
        self._decisions.add((decision.strategy.value, "" if chosen is None else chosen.name, decision.policy))
        rejections = decision.rejections
        if isinstance(rejections, Rejections) and rejections.shared is not None:
            shared = rejections.shared
            self._shared[shared] = self._shared.get(shared, 0) + 1
            if len(self._shared) > SHARED_MAXIMUM:
                self._count_oldest_shared()
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
        outcome = "ok" if failure is None else failure.value
        self._attempts.add((target, outcome))
        if record.cost_nano_usd is not None:
            self._cost.add((target, outcome), record.cost_nano_usd)
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

    def shadow(self, comparison: Comparison) -> None:
        """Counts what the shadow of a policy made of a decision."""
        agreed = "true" if comparison.agreed else "false"
        self._shadows.add((comparison.policy, comparison.shadow_policy, agreed))

    def outcome(self, result: str) -> None:
        """Counts a report by what became of it: accepted, duplicate, rejected or missing."""
        self._outcomes.add((result,))
        if (apart := self._outcomes_apart.get(result)) is not None:
            apart.add(())

    def event(self, event: Event) -> None:
        """Counts an event."""
        self._events.add((event.name.value,))

    def started(self, version: str, now_wall: float) -> None:
        """Notes which version of Turnout serves, and since when."""
        self._version, self._started_at = version, now_wall

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

    def loop_delay(self, seconds: float) -> None:
        """Notes how late something was begun that was due: so late is everything at that moment."""
        self._loop_delay.observe((), seconds)

    def call(self, method: str, status: str, seconds: float) -> None:
        """Notes an RPC that ended: "turnout.v1.RouterService/Route", "OK"."""
        self._calls.observe(("grpc", method, status), seconds)

    async def page(self, accept: str) -> tuple[bytes, str]:
        """Returns the text for a scrape and its content type, as the Accept header wants it, in pieces."""
        return await page(self.collect, accept)

    def render(self, accept: str) -> tuple[bytes, str]:
        """Returns the same at once, for whoever holds up nobody."""
        return page_at_once(self.collect, accept)

    def collect(self) -> Iterator[Metric | None]:
        """Yields everything, large families in parts, one after the other, and None where nothing is ready.

        Whenever something is yielded others may have their turn: each step takes a few milliseconds at most.
        """
        # As many as there are now: others come while these are looked at, and wait for the next time.
        for _ in range(len(self._shared)):
            if self._shared:
                self._count_oldest_shared()
                yield None
        gauges: list[TargetGauges] | None = None
        if self._gauges is not None:
            gauges = []
            yield from _read(self._gauges(), gauges)
        yield from self._forget_others(gauges)
        for histogram in self._histograms():
            yield from histogram.families()
        for counts in self._counts():
            yield from counts.families(NANO_USD if counts is self._cost else 1.0)
        yield gauge(known.CONFIG_TAKEN, self._config_taken_at)
        yield gauge(known.CONFIG_REFUSED, float(self._config_refused))
        if self._version:
            yield from scraped.running(self._version, self._policy_version(), self._started_at)
        yield from self.watched()
        if gauges is not None:
            yield from scraped.targets(gauges, self._profile)

    def _histograms(self) -> tuple[Histogram, ...]:
        return (self._duration, self._first_chunk, self._tokens, self._calls, self._overhead, self._loop_delay)

    def _counts(self) -> tuple[Counts, ...]:
        return (
            self._decisions,
            self._rejections,
            self._attempts,
            self._failovers,
            self._hedges,
            self._shadows,
            self._cost,
            self._unknown_price,
            self._outcomes,
            *self._outcomes_apart.values(),
            self._events,
            self._reloads,
        )

    def _forget_others(self, gauges: Iterable[TargetGauges] | None) -> Iterator[None]:
        present = self._present(gauges)
        for each in (*self._histograms(), *self._counts()):
            each.forget(present)
            if len(each.values) > scraped.PART_TARGETS:
                yield None

    def _present(self, gauges: Iterable[TargetGauges] | None) -> dict[str, Container[str]]:
        """Returns what there is, by label. Series of all else end, also those of calls that ended after it had gone."""
        present: dict[str, Container[str]] = {}
        if gauges is not None:
            targets = [state.target for state in gauges]
            names = {str(target) for target in targets}
            present |= {label: names for label in known.TARGET_LABELS}  # noqa: C420 - they all read the one set
            present[known.PROVIDER_LABEL] = {provider_name(target.provider) for target in targets}
        if self._policies is not None:
            present[known.POLICY_LABEL] = present[known.SHADOW_LABEL] = self._policies()
        return present

    def _labels_of(self, target: Target) -> tuple[str, str, str, str]:
        if len(self._target_labels) >= MAX_LABEL_SETS:
            self._target_labels.clear()
        labels = (CHAT, provider_name(target.provider), target.model, str(target))
        self._target_labels[target] = labels
        return labels

    def _count_oldest_shared(self) -> None:
        shared = next(iter(self._shared))
        decision_count = self._shared.pop(shared)
        for target, reason in shared.by_target:
            self._rejections.add((target, reason.value), decision_count)


def _read(source: Iterable[TargetGauges], into: list[TargetGauges]) -> Iterator[None]:
    """Reads a part of them at a time."""
    gauges = iter(source)
    while part := list(islice(gauges, scraped.PART_TARGETS)):
        into += part
        yield None
