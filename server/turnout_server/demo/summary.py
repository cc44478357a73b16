"""What the demonstration came to: figures from records and states, and whether everything happened that must."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from turnout_server.demo.record import Act, Ledger, RequestRecord
from turnout_server.demo.scene import Scene
from turnout_server.demo.watch import StatusWatch

RETURNED_COUNT = 3
"""So many answers of the recovered provider, after its breaker closed, make its traffic count as back."""
_SHOWN_FAILURES = 3
NO_EVENTS: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The failure that was staged: who, when (seconds from the first request), and what was cut by it."""

    provider: str
    at_seconds: float
    healed_at_seconds: float
    cut_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The figures. `problems` is empty when everything that must happen happened; rates and shares are 0 to 1.

    `spend_usd` is of the answered requests whose cost is known, `dearest_usd` what the same tokens cost at the dearest
    target. `opened` names the breakers of the failed provider that opened, its endpoint's by the provider's name alone;
    `opened_after_seconds` and `closed_after_seconds` count from the failure and from the healing. `events` counts the
    sidecar's events by name.
    """

    seconds: float
    requests: int
    answered: int
    success_rate: float
    by_mode: Mapping[str, int]
    failovers: int
    restarts: int
    attempts: int
    failed_attempts: Mapping[str, int]
    latency_p50_seconds: float
    latency_p95_seconds: float
    spend_usd: float
    dearest_usd: float
    failed_provider: str
    cut_streams: int
    opened: Sequence[str]
    opened_after_seconds: float | None
    closed_after_seconds: float | None
    events: Mapping[str, int]
    by_target: Mapping[str, Mapping[str, int]]
    problems: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """Returns the figures as plain values."""
        return asdict(self)


def summarise(
    ledger: Ledger,
    watch: StatusWatch,
    scene: Scene,
    failure: Failure | None,
    *,
    seconds: float,
    events: Mapping[str, int] = NO_EVENTS,
    other_problems: Sequence[str] = (),
) -> Summary:
    """Returns the summary of a run; `other_problems` come first among its problems."""
    records = ledger.records
    answered = [record for record in records if record.ok]
    priced = [record for record in answered if record.cost_usd is not None]
    latencies = sorted(record.latency_seconds for record in answered)
    attempts = [attempt for record in records for attempt in record.attempts]
    victim = failure.provider if failure else ""
    opened = sorted(watch.opened(victim)) if failure else []
    first_open = min((change.at_seconds for change in watch.changes if change.breaker in opened), default=None)
    return Summary(
        seconds=seconds,
        requests=len(records),
        answered=len(answered),
        success_rate=len(answered) / len(records) if records else 0.0,
        by_mode=dict(Counter(record.mode.value for record in records)),
        failovers=sum(record.failed_over and record.ok for record in records),
        restarts=sum(record.restart_count for record in records),
        attempts=len(attempts),
        failed_attempts=dict(Counter(attempt.failure for attempt in attempts if attempt.failure)),
        latency_p50_seconds=_quantile(latencies, 0.5),
        latency_p95_seconds=_quantile(latencies, 0.95),
        spend_usd=sum(record.cost_usd or 0.0 for record in priced),
        dearest_usd=sum(scene.dearest_cost_usd(record.input_tokens, record.output_tokens) for record in priced),
        failed_provider=victim,
        cut_streams=failure.cut_count if failure else 0,
        opened=opened,
        opened_after_seconds=None if failure is None or first_open is None else first_open - failure.at_seconds,
        closed_after_seconds=_closed_after(watch, opened, failure),
        events=dict(events),
        by_target=_by_target(answered, scene),
        problems=[*other_problems, *_problems(ledger, watch, failure)],
    )


def returned(ledger: Ledger, watch: StatusWatch, provider: str) -> bool:
    """Whether a breaker of the provider that was open is closed again and its traffic is back."""
    closed = [watch.closed_again_at(breaker) for breaker in watch.opened(provider)]
    since = min((at for at in closed if at is not None), default=None)
    return since is not None and ledger.answered_by(provider, since_seconds=since) >= RETURNED_COUNT


def _problems(ledger: Ledger, watch: StatusWatch, failure: Failure | None) -> list[str]:
    found = []
    if not ledger.records:
        found.append("no request was made")
    failed = [record for record in ledger.records if not record.ok]
    if failed:
        told = "; ".join(
            f"#{record.number} ({record.mode.value}): {record.error}" for record in failed[:_SHOWN_FAILURES]
        )
        found.append(f"{len(failed)} of {len(ledger.records)} requests failed that should not have: {told}")
    if failure is None:
        found.append("no failure was staged")
        return found
    if not watch.opened(failure.provider):
        found.append(f"no breaker of {failure.provider} ever opened")
    elif not returned(ledger, watch, failure.provider):
        found.append(f"traffic never returned to {failure.provider} after it had recovered")
    return found


def _by_target(answered: Sequence[RequestRecord], scene: Scene) -> dict[str, dict[str, int]]:
    names = [f"{provider.name}/{model.name}" for provider in scene.cast for model in provider.models]
    counts = Counter((record.target, record.act) for record in answered)
    return {name: {act.value: counts[name, act] for act in Act} for name in names}


def _closed_after(watch: StatusWatch, opened: Sequence[str], failure: Failure | None) -> float | None:
    closed = [at for breaker in opened if (at := watch.closed_again_at(breaker)) is not None]
    return None if failure is None or not closed else min(closed) - failure.healed_at_seconds


def _quantile(values: Sequence[float], share: float) -> float:
    """Returns the nearest-rank quantile of sorted values, 0 for none."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0
