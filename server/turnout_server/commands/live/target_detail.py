"""Everything that is known of one target, as lines."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from turnout.answer import target_name
from turnout.v1 import router_pb2 as pb
from turnout_server.commands.live.decision_rows import decision_row
from turnout_server.commands.live.event_rows import event_rows
from turnout_server.commands.live.figures import (
    UNKNOWN,
    count,
    lasting,
    money,
    one_line,
    seconds_of,
    share,
    took,
    until,
    whole,
)
from turnout_server.commands.live.seen import Seen
from turnout_server.commands.live.target_rows import breaker_text, with_endpoints
from turnout_server.commands.printing import enum_word

_LABEL = 12
_LATEST = 5


def target_detail(seen: Seen, name: str) -> list[str]:
    """Returns the lines about a target by its name in one line; one that says so where there is none any more."""
    for provider in seen.status.providers:
        for target, endpoint in with_endpoints(provider):
            if one_line(target_name(target.target)) == name:
                return [*_lines(seen, target, endpoint), "", *_latest(seen, target_name(target.target))]
    return [f"{one_line(name)} is not there any more: the configuration has changed"]


def _lines(seen: Seen, target: pb.TargetState, endpoint: pb.EndpointState) -> Iterator[str]:
    now = seen.now
    marks = list(_marks(target))
    if marks:
        yield _line("now", ", ".join(marks))
    yield _line("health", f"{enum_word(pb.HealthState, target.health).lower()}, score {target.score:.0f} of 100")
    in_a_row = f", {target.consecutive_failures} failures in a row" if target.consecutive_failures else ""
    yield _line("breaker", breaker_text(target, endpoint, now) + in_a_row)
    pause = target if target.HasField("cool_down_until") else endpoint
    if pause.HasField("cool_down_until"):
        yield _line("cooling", f"for {until(pause.cool_down_until, now)}")
    limit = f" of {target.concurrency_limit}" if target.HasField("concurrency_limit") else ""
    headroom = f", {share(target.headroom)} left of the rate limit" if target.HasField("headroom") else ""
    yield _line("in flight", f"{target.in_flight}{limit}{headroom}")
    yield _line("calls", _calls(seen, target))
    if target.error_rates:
        kinds = sorted(target.error_rates.items(), key=lambda kind: -kind[1])
        yield _line("failures", ", ".join(f"{kind} {share(rate)}" for kind, rate in kinds))
    yield _line("available", f"{target.availability:.1%}")
    yield _line("latency", _latency(target.latency if target.HasField("latency") else None))
    first = target.time_to_first_token if target.HasField("time_to_first_token") else None
    yield _line("first token", _latency(first))
    predicted = f"{took(seconds_of(target.predicted_latency))} for 1000 tokens in and 250 out"
    yield _line("predicted", f"{predicted}, from {whole(target.sample_count)} answers")
    if seen.trends.get(target_name(target.target)):
        points = seen.trends[target_name(target.target)].points
        yield _line("by minute", " ".join(took(point.value if point.HasField("value") else None) for point in points))
    speed = ""
    if target.HasField("output_tokens_per_second"):
        speed = f", {count(target.output_tokens_per_second)} a second while it answers"
    yield _line("tokens", f"{whole(target.input_tokens)} in, {whole(target.output_tokens)} out{speed}")
    each = f", {money(target.cost_per_request_usd)} a call" if target.HasField("cost_per_request_usd") else ""
    yield _line("cost", f"{money(target.cost_usd)}{each}")
    yield _line(
        "last",
        f"call {_ago(target, 'last_request_time', now)}, success {_ago(target, 'last_success_time', now)}, "
        f"check {_ago(target, 'last_check_time', now)}",
    )
    for key in endpoint.credentials:
        yield _line("key", _key(key, now))
    if endpoint.unreachable:
        yield _line("unreachable", one_line(endpoint.unreachable))


def _marks(target: pb.TargetState) -> Iterator[str]:
    if target.drained:
        yield "drained"
    if target.suspect:
        yield "suspect"
    if target.throttle:
        yield f"throttled {target.throttle:.0%}"
    if target.HasField("drift"):
        measures = ", ".join(map(one_line, target.drifting_measures))
        yield f"drifting: worse than usual in {measures}, score in decisions x {target.drift:.2f}"


def _calls(seen: Seen, target: pb.TargetState) -> str:
    succeeded = f", {share(target.success_rate)} ok" if target.HasField("success_rate") else ""
    return f"{target.request_count} in the last {lasting(seen.window_seconds)}{succeeded}"


def _latency(summary: pb.LatencySummary | None) -> str:
    if summary is None:
        return "no answers in this time"
    figures = (("p50", summary.p50), ("p95", summary.p95), ("p99", summary.p99), ("max", summary.max))
    return ", ".join(f"{name} {took(seconds_of(value))}" for name, value in figures)


def _ago(target: pb.TargetState, field: str, now: datetime) -> str:
    if not target.HasField(field):  # type: ignore[arg-type] # one of the three that are given above
        return "never"
    instant: Timestamp = getattr(target, field)
    return f"{lasting((now - instant.ToDatetime(now.tzinfo)).total_seconds())} ago"


def _key(key: pb.CredentialState, now: datetime) -> str:
    label = (one_line(key.label) or "(no key)") + (" (a caller's)" if key.reported else "")
    models = f", not for {', '.join(map(one_line, key.models))}" if key.models and key.usable else ""
    if key.usable:
        return f"{label} works{models}"
    free = f", tried again in {until(key.retry_at, now)}" if key.HasField("retry_at") else ""
    return f"{label} is out: {enum_word(pb.FailureKind, key.failure) or UNKNOWN}{free}"


def _latest(seen: Seen, name: str) -> Iterator[str]:
    """Yields the latest decisions that named it, with what became of it there, and the latest events of it."""
    named = [record for record in seen.decisions if any(name == each for each in _names(record.decision))]
    if named:
        yield "latest decisions with it"
    for record in named[:_LATEST]:
        made = decision_row(record)
        yield f"  {made.time} {made.result:5} {_part(record.decision, name)}; {made.chosen}: {made.why}"
    events = [row for row in event_rows(seen) if row.where == one_line(name)]
    if events:
        yield "latest events of it"
    for row in events[:_LATEST]:
        yield f"  {row.time} {row.name}  {row.facts}"


def _names(decision: pb.Decision) -> Iterator[str]:
    yield from (target_name(each.target) for each in decision.candidates)
    yield from (target_name(each.target) for each in decision.rejections)


def _part(decision: pb.Decision, name: str) -> str:
    """Returns which part it had: its place and score among the candidates, or why it was rejected."""
    for place, candidate in enumerate(decision.candidates, 1):
        if target_name(candidate.target) == name:
            return f"ranked {place} of {len(decision.candidates)} with {candidate.score:.2f}"
    for rejection in decision.rejections:
        if target_name(rejection.target) == name:
            reasons = ", ".join(enum_word(pb.RejectionReason, reason) for reason in rejection.reasons)
            return f"rejected: {reasons}" + (f" ({one_line(rejection.detail)})" if rejection.detail else "")
    return UNKNOWN


def _line(label: str, text: str) -> str:
    return f"{label:<{_LABEL}}{text}"
