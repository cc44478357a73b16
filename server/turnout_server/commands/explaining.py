"""What `turnout explain` prints of one decision: who asked, the candidates, the rejections, the attempts, the cost."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from turnout.answer import target_name
from turnout.v1 import admin_pb2, router_pb2
from turnout_server.commands.printing import columns, enum_word, seconds, tokens_text, usd

DRAWN_SHOWN = 10
"""Targets among whom chance decided that are named in a line."""


def explanation(record: admin_pb2.DecisionRecord) -> str:
    """Returns everything about a decision, as text of several lines."""
    blocks = (_asked(record), _candidates(record.decision), _rejections(record.decision), _attempts(record))
    return "\n\n".join("\n".join(block) for block in map(list, (*blocks, _end(record))) if block)


def _asked(record: admin_pb2.DecisionRecord) -> Iterator[str]:
    decision = record.decision
    made = decision.decided_at.ToDatetime()
    yield f"decision {decision.decision_id}, {made:%Y-%m-%d %H:%M:%S}.{made.microsecond // 1000:03d} UTC"
    yield decision.reason
    policy = f"{decision.policy} ({decision.policy_version})" if decision.policy_version else decision.policy
    caller = record.caller
    labels = ", ".join(f"{name}={value}" for name, value in sorted(caller.labels.items()))
    asked = (
        ("kind", enum_word(admin_pb2.DecisionKind, record.kind)),
        ("task", decision.task),
        ("complexity", enum_word(router_pb2.Complexity, decision.complexity)),
        ("tenant", caller.tenant),
        ("user", caller.user),
        ("tier", decision.tier),
        ("labels", labels),
        ("request", record.request_id),
        ("session", record.session_id),
        ("regions", ", ".join(decision.regions)),
    )
    yield "asked     " + "  ".join(f"{name} {value}" for name, value in asked if value)
    tokens_in = f"{decision.input_tokens}" if decision.HasField("input_tokens") else "unknown"
    tokens_out = f"{decision.expected_output_tokens}" if decision.HasField("expected_output_tokens") else "unknown"
    yield f"expected  input tokens {tokens_in}  output tokens {tokens_out}"
    ranked = f"strategy {enum_word(router_pb2.Strategy, decision.strategy)}  policy {policy}"
    weights = [(field.name, value) for field, value in decision.weights.ListFields() if value]
    if weights:
        ranked += "  weights " + " ".join(f"{name}={value:.2f}" for name, value in weights)
    yield f"ranked    {ranked}"
    if decision.policy_rule:
        yield f"policy    {decision.policy} was chosen by {decision.policy_rule}"
    chances = [candidate for candidate in decision.candidates if 0.0 < candidate.share < 1.0]
    if len(chances) > 1:
        drawn = ", ".join(f"{target_name(each.target)} {each.share:.0%}" for each in chances[:DRAWN_SHOWN])
        if len(chances) > DRAWN_SHOWN:
            # The table of candidates has the rest.
            drawn += f" and {len(chances) - DRAWN_SHOWN} more"
        yield f"chance    decided among {len(chances)}: {drawn}"
    elif decision.candidates:
        yield "chance    decided nothing"
    reusable = "reusable" if decision.reusable else "not reusable"
    yield f"plan      confidence {decision.confidence:.2f}  valid for {seconds(decision.valid_for)}  {reusable}"
    yield from _shadow(record.shadow)


def _shadow(beside: admin_pb2.ShadowDifference) -> Iterator[str]:
    """Yields what the policy's shadow would have chosen, nothing where it has none or was not asked."""
    name = beside.shadow_policy
    if not name:
        return
    chosen = target_name(beside.chosen) if beside.HasField("chosen") else "nobody"
    other = target_name(beside.shadow_chosen) if beside.HasField("shadow_chosen") else "nobody"
    if chosen == other:
        yield f"shadow    {name} would have chosen the same"
        return
    score = f" with score {beside.shadow_score:.3f}" if other != "nobody" else ""
    differences = []
    if beside.HasField("cost_difference_usd"):
        differences.append(f"cost {beside.cost_difference_usd:+.6f} USD")
    if beside.HasField("latency_difference_seconds"):
        differences.append(f"latency {beside.latency_difference_seconds:+.2f} s")
    expected = f", expected {', '.join(differences)}" if differences else ""
    yield f"shadow    {name} would have chosen {other}{score}{expected}"


def _candidates(decision: router_pb2.Decision) -> Iterator[str]:
    if not decision.candidates:
        return
    rows: list[tuple[str, ...]] = [
        ("#", "CANDIDATE", "SCORE", "SHARE", "LATENCY", "FIRST TOKEN", "COST", "HEALTH", "SAMPLES", "FACTORS", "NOTE")
    ]
    for place, candidate in enumerate(decision.candidates, 1):
        factors = " ".join(f"{name}={value:.2f}" for name, value in sorted(candidate.factors.items()))
        notes = [f"region {candidate.region}"] if candidate.region else []
        if candidate.reason:
            notes.append(candidate.reason)
        if candidate.HasField("probe"):
            notes.append(f"leased as probe {candidate.probe.probe_id}")
        if candidate.explored:
            notes.append("explored")
        rows.append(
            (
                str(place),
                target_name(candidate.target),
                f"{candidate.score:.3f}",
                f"{candidate.share:.0%}",
                seconds(candidate.expected_latency),
                seconds(candidate.expected_time_to_first_token),
                usd(candidate.expected_cost_usd) if candidate.HasField("expected_cost_usd") else "unknown",
                enum_word(router_pb2.HealthState, candidate.health),
                str(candidate.sample_count),
                factors,
                "; ".join(notes),
            )
        )
    yield from columns(rows)


def _rejections(decision: router_pb2.Decision) -> Iterator[str]:
    if not decision.rejections:
        return
    rows = [("REJECTED", "REASONS", "FREE IN", "DETAIL")]
    for rejection in decision.rejections:
        free_in = "-"
        if rejection.HasField("retry_at"):
            wait = (rejection.retry_at.ToNanoseconds() - decision.decided_at.ToNanoseconds()) / 1e9
            free_in = f"{max(0.0, wait):.1f} s"
        reasons = ", ".join(enum_word(router_pb2.RejectionReason, reason) for reason in rejection.reasons)
        rows.append((target_name(rejection.target), reasons, free_in, rejection.detail))
    yield from columns(rows)


def _attempts(record: admin_pb2.DecisionRecord) -> Iterator[str]:
    if not record.attempts:
        return
    judged = {feedback.attempt_id: feedback.quality for feedback in record.feedback}
    # Where a hedge lost, the attempt that it was made beside comes after it.
    executing = record.kind == admin_pb2.DECISION_KIND_EXECUTE
    rows: list[tuple[str, ...]] = [
        (
            *("#", "ATTEMPT", "RESULT", "HTTP", "KEY", "LATENCY", "FIRST TOKEN", "TOKENS", "COST", "BILLED", "JUDGED"),
            *("WHY", "DETAIL"),
        )
    ]
    for place, attempt in enumerate(record.attempts, 1):
        quality = judged.get(attempt.attempt_id)
        rows.append(
            (
                str(place),
                target_name(attempt.target)
                + (f" in {attempt.region}" if attempt.region else "")
                + (" (hedge)" if attempt.hedge else ""),
                "ok" if attempt.ok else enum_word(router_pb2.FailureKind, attempt.failure),
                str(attempt.http_status) if attempt.HasField("http_status") else "-",
                attempt.credential or "-",
                seconds(attempt.latency) if attempt.HasField("latency") else "-",
                seconds(attempt.time_to_first_token) if attempt.HasField("time_to_first_token") else "-",
                tokens_text(attempt.usage if attempt.HasField("usage") else None),
                usd(attempt.cost_usd) if attempt.HasField("cost_usd") else "unknown",
                "perhaps" if attempt.possibly_billed and not attempt.ok else "yes" if attempt.ok else "no",
                "-" if quality is None else f"{quality:.2f}",
                attempt.retry_reason or ("first" if place == 1 or executing else "-"),
                attempt.detail,
            )
        )
    yield from columns(rows)


def _end(record: admin_pb2.DecisionRecord) -> Iterator[str]:
    attempts = record.attempts
    word = enum_word(admin_pb2.DecisionResult, record.result)
    moved = sum(
        1
        for before, after in itertools.pairwise(attempt for attempt in attempts if not attempt.hedge)
        if not before.ok and target_name(before.target) != target_name(after.target)
    )
    if record.cached:
        yield f"result    {word}: the answer was kept, nothing was called and nothing is owed"
    elif not record.decision.candidates:
        yield f"result    {word}: no target could be used"
    elif not attempts:
        yield f"result    {word}: no attempt is known"
    else:
        hedged = ", hedged" if any(attempt.hedge for attempt in attempts) else ""
        yield f"result    {word} after {_count(len(attempts), 'attempt')}, {_count(moved, 'failover')}{hedged}"
        yield from _costs(record.decision, attempts)


def _costs(decision: router_pb2.Decision, attempts: Sequence[router_pb2.Attempt]) -> Iterator[str]:
    """Yields what the answer was expected to cost and what all attempts came to: failed ones may have cost too."""
    known = [attempt.cost_usd for attempt in attempts if attempt.HasField("cost_usd")]
    unknown = len(attempts) - len(known)
    actual = usd(sum(known)) if known else "unknown"
    if known and unknown:
        actual += f" and {_count(unknown, 'attempt')} of unknown cost"
    answered = next((attempt for attempt in attempts if attempt.ok), attempts[0])
    name = target_name(answered.target)
    expected = next((each for each in decision.candidates if target_name(each.target) == name), None)
    if expected is None or not expected.HasField("expected_cost_usd"):
        yield f"cost      expected unknown at {name}, actual {actual}"
        return
    line = f"cost      expected {usd(expected.expected_cost_usd)} at {name}, actual {actual}"
    if known and not unknown and expected.expected_cost_usd > 0:
        line += f" ({sum(known) / expected.expected_cost_usd - 1:+.0%})"
    yield line


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
