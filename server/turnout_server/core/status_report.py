"""Makes the status of providers out of their state: reads everything, changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from typing import TypeVar

from turnout_server.core.accuracy import Accuracies
from turnout_server.core.credentials import Credentials
from turnout_server.core.faults import EndpointGroup
from turnout_server.core.gate import Gate
from turnout_server.core.model import CALLER_FAILURES, CREDENTIAL_FAILURES, HealthState, RejectionReason
from turnout_server.core.statistics import MINUTE_SECONDS, Counts, first_minute
from turnout_server.core.status import (
    AggregateStatus,
    EndpointStatus,
    ProviderStatus,
    StatusReport,
    TargetStatus,
)
from turnout_server.core.target_state import TargetState

T = TypeVar("T")

Steps = Generator[None, None, T]
"""Work done piece by piece: whoever runs it may do something else after each piece."""

TARGETS_AT_ONCE = 8
"""Read without a pause: about 1 ms where all of them are in use. Hundreds at once would let every call wait."""

EXAMPLE_INPUT_TOKENS = 1000
EXAMPLE_OUTPUT_TOKENS = 250
BEST_FIRST = tuple(HealthState)
UNCOUNTED_FAILURES = CALLER_FAILURES | CREDENTIAL_FAILURES
"""Outcomes that say nothing of how a provider is doing."""


class StatusReader:
    """Reads the state of a fleet at one moment, for one window."""

    def __init__(
        self,
        targets: Sequence[TargetState],
        groups: Sequence[EndpointGroup],
        credentials: Credentials,
        accuracies: Accuracies,
        *,
        started_at: float,
        window_seconds: float,
        now: float,
    ) -> None:
        self._targets = targets
        self._groups = groups
        self._credentials = credentials
        self._accuracies = accuracies
        self._started_at = started_at
        self._window_seconds = window_seconds
        self._now = now
        self._read_count = 0

    def steps(self, providers: Sequence[str], now_wall: float) -> Steps[StatusReport]:
        """Makes the status of these providers, in this order, and their sum.

        All of it is told as of the moment that it began; what happens meanwhile to targets not read yet is in it.
        """
        states: list[ProviderStatus] = []
        total = Counts()
        for provider in providers:
            state, counts = yield from self._provider(provider)
            states.append(state)
            total.merge(counts)
        begins_at = first_minute(self._window_seconds, self._now) * MINUTE_SECONDS
        return StatusReport(
            providers=tuple(states),
            aggregate=_aggregate(states, total),
            as_of=self._now,
            as_of_wall=now_wall,
            window_seconds=max(0.0, self._now - max(begins_at, self._started_at)),
        )

    def _provider(self, provider: str) -> Steps[tuple[ProviderStatus, Counts]]:
        groups = [group for group in self._groups if group.provider == provider]
        indexes = sorted(index for group in groups for index in group.indexes)
        total = Counts()
        targets: dict[int, TargetStatus] = {}
        for index in indexes:
            counts = self._targets[index].statistics.window(self._window_seconds, self._now)
            total.merge(counts)
            targets[index] = self._target(self._targets[index], counts)
            self._read_count += 1
            if self._read_count % TARGETS_AT_ONCE == 0:
                yield
        states = tuple(targets.values())
        counted = total.total - sum(total.failures[kind] for kind in UNCOUNTED_FAILURES)
        return (
            ProviderStatus(
                provider=provider,
                health=_best(states),
                score=sum(state.score for state in states) / len(states) if states else None,
                availability=total.succeeded / counted if counted else None,
                in_flight=sum(state.in_flight for state in states),
                request_count=total.total,
                cost_nano_usd=total.cost_nano_usd,
                target_count=len(states),
                available_target_count=sum(state.available for state in states),
                drained=bool(states) and all(state.drained for state in states),
                endpoints=tuple(self._endpoint(group, targets) for group in groups),
                targets=states,
            ),
            total,
        )

    def _endpoint(self, group: EndpointGroup, targets: Mapping[int, TargetStatus]) -> EndpointStatus:
        members = [self._targets[index].spec for index in group.indexes]
        cool_downs = [targets[index].cool_down_until for index in group.indexes]
        known = [until for until in cool_downs if until is not None]
        return EndpointStatus(
            endpoint=group.endpoint,
            breaker=group.breaker.state(self._now),
            reopen_at=_reopen_at(group.breaker),
            cool_down_until=min(known) if known and len(known) == len(cool_downs) else None,
            credentials=tuple(self._credentials.statuses(members, self._now)),
            region=members[0].region,
            unreachable=group.breaker.unreachable,
        )

    def _target(self, target: TargetState, counts: Counts) -> TargetStatus:
        now = self._now
        room = self._credentials.headroom(target.spec)
        verdict = self._credentials.verdict_for_anybody(target.spec, now)
        cools = verdict.reason is RejectionReason.COOLING_DOWN
        admitted = target.breaker.admits(now) and target.endpoint.admits(now)
        statistics = target.statistics
        return TargetStatus(
            target=target.spec.target,
            health=target.health(now),
            score=target.score(now),
            breaker=target.breaker.state(now),
            reopen_at=_reopen_at(target.breaker),
            cool_down_until=verdict.retry_at if cools else None,
            availability=target.availability.value(now),
            success_rate=counts.succeeded / counts.total if counts.total else None,
            error_rates={kind: count / counts.total for kind, count in counts.failures.items()},
            consecutive_failures=target.breaker.consecutive_failures,
            latency=counts.latency.summary(statistics.average_latency.value),
            time_to_first_token=counts.first_token.summary(statistics.average_first_token.value),
            output_tokens_per_second=counts.timed_tokens / counts.output_seconds if counts.output_seconds else None,
            predicted_latency_seconds=target.latency.predict(EXAMPLE_INPUT_TOKENS, EXAMPLE_OUTPUT_TOKENS, now),
            input_tokens=counts.input_tokens,
            output_tokens=counts.output_tokens,
            cost_nano_usd=counts.cost_nano_usd,
            cost_per_request_nano_usd=round(counts.cost_nano_usd / counts.priced) if counts.priced else None,
            in_flight=target.in_flight,
            utilisation=target.utilisation,
            rate_limit=None if room is None else room.reading(now),
            headroom=None if room is None else room.share(now),
            last_request_at=statistics.last_request_at,
            last_success_at=statistics.last_success_at,
            last_check_at=statistics.last_check_at,
            drained=target.drained,
            suspect=target.suspect(now),
            sample_count=target.latency.sample_count,
            request_count=counts.total,
            available=admitted and not target.drained and target.has_room() and verdict.reason is None,
            estimates=self._accuracies.of(target.spec.target.provider, target.spec.target.model),
            throttle=target.throttle.pressure(now),
            concurrency_limit=target.concurrency_limit(now),
            drift=target.drift(now),
            worse_in=target.baseline.worse(now),
        )


def finished(steps: Steps[T]) -> T:
    """Does all of the work at once and returns what it comes to."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def _aggregate(states: Sequence[ProviderStatus], total: Counts) -> AggregateStatus:
    targets = [target for state in states for target in state.targets]
    return AggregateStatus(
        health=_best(targets),
        target_count=len(targets),
        available_target_count=sum(state.available_target_count for state in states),
        targets_by_health=dict(Counter(target.health for target in targets)),
        request_count=total.total,
        success_rate=total.succeeded / total.total if total.total else None,
        in_flight=sum(state.in_flight for state in states),
        input_tokens=total.input_tokens,
        output_tokens=total.output_tokens,
        cost_nano_usd=total.cost_nano_usd,
    )


def _best(targets: Sequence[TargetStatus]) -> HealthState:
    return min((target.health for target in targets), key=BEST_FIRST.index, default=HealthState.OFFLINE)


def _reopen_at(gate: Gate) -> float | None:
    return None if gate.closed else gate.reopen_at
