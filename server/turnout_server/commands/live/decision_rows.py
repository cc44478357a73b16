"""Decisions as rows: what was chosen, why, and what was not, in the words of `turnout explain`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from turnout.answer import target_name
from turnout.v1 import admin_pb2
from turnout.v1 import router_pb2 as pb
from turnout_server.commands.live.figures import UNKNOWN, clock, one_line, share
from turnout_server.commands.live.seen import Seen
from turnout_server.commands.live.target_rows import Tone, passes
from turnout_server.commands.printing import enum_word

_REJECTED_SHOWN = 3
_TONES = {
    admin_pb2.DECISION_RESULT_OK: Tone.GOOD,
    admin_pb2.DECISION_RESULT_FAILED: Tone.BAD,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRow:
    """One decision. `chosen` is who answered, else who was tried last, else who ranked first."""

    decision_id: str
    time: str
    result: str
    tone: Tone
    chosen: str
    task: str
    why: str


def decision_rows(seen: Seen, *, pattern: str = "") -> list[DecisionRow]:
    """Returns the latest decisions, newest first, that a filter lets through by target or task."""
    rows = map(decision_row, seen.decisions)
    return [row for row in rows if passes(pattern, row.chosen, row.task)]


def decision_row(record: admin_pb2.DecisionRecord) -> DecisionRow:
    """Returns the row of one decision."""
    decision = record.decision
    return DecisionRow(
        decision_id=decision.decision_id,
        time=clock(decision.decided_at),
        result=_result(record),
        tone=_TONES.get(record.result, Tone.OFF),
        chosen=one_line(_chosen(record)),
        task=one_line(decision.task),
        why=one_line("; ".join(_why(record))),
    )


def _chosen(record: admin_pb2.DecisionRecord) -> str:
    for attempt in record.attempts:
        if attempt.ok:
            return target_name(attempt.target)
    if record.attempts:
        return target_name(record.attempts[-1].target)
    return target_name(record.decision.candidates[0].target) if record.decision.candidates else "nobody"


def _result(record: admin_pb2.DecisionRecord) -> str:
    """Returns how it ended; "unknown" is a call under way, or a plan that nobody has reported so far."""
    return "cached" if record.cached else enum_word(admin_pb2.DecisionResult, record.result).lower()


def _why(record: admin_pb2.DecisionRecord) -> Iterator[str]:
    """Yields what failed on the way, who ranked first, who was rejected, who ranked second: what surprises first."""
    decision, failed = record.decision, [attempt for attempt in record.attempts if not attempt.ok]
    if failed:
        yield "after " + ", ".join(
            f"{target_name(attempt.target)} {enum_word(pb.FailureKind, attempt.failure)}" for attempt in failed
        )
    ranked = list(decision.candidates)
    if ranked:
        # Whoever answered after a failure is not who ranked first.
        name = f" {target_name(ranked[0].target)}" if failed else ""
        # Near-equal ones are drawn: the first may have the lower score.
        chance = f" (chance {share(ranked[0].share)})" if 0.0 < ranked[0].share < 1.0 else ""
        yield f"{enum_word(pb.Strategy, decision.strategy)} {ranked[0].score:.2f}{name}{chance}"
    if decision.rejections:
        yield "not " + _rejected(decision)
    if not ranked:
        yield decision.reason
    if len(ranked) > 1:
        yield f"before {target_name(ranked[1].target)} {ranked[1].score:.2f}"


def _rejected(decision: pb.Decision) -> str:
    """Returns who was rejected and for what, those with the same first reason together.

    A provider stands for its targets where all of them were rejected for the same.
    """
    by_reason: dict[str, list[pb.Target]] = {}
    for rejection in decision.rejections:
        reason = enum_word(pb.RejectionReason, rejection.reasons[0]) if rejection.reasons else UNKNOWN
        by_reason.setdefault(reason, []).append(rejection.target)
    known = Counter(each.target.provider for each in decision.candidates)
    known.update(each.target.provider for each in decision.rejections)
    texts = []
    for reason, targets in by_reason.items():
        here = Counter(target.provider for target in targets)
        names = list(
            dict.fromkeys(
                target.provider if here[target.provider] == known[target.provider] else target_name(target)
                for target in targets
            )
        )
        more = f" and {len(names) - _REJECTED_SHOWN} more" if len(names) > _REJECTED_SHOWN else ""
        texts.append(f"{', '.join(names[:_REJECTED_SHOWN])}{more} {reason}")
    return ", ".join(texts)
