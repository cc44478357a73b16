"""What was decided lately and what came of it: bounded in bytes, newest first, each decision with its attempts.

Nothing of a request's content is kept: the decision, who asked, and how the attempts ended.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from turnout_server.core.candidates import Candidates
from turnout_server.core.comparison import SHADOW_BYTES
from turnout_server.core.errors import FieldViolation, InvalidRequestError
from turnout_server.core.once import SeenKeys
from turnout_server.core.rejections import Rejections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnout_server.core.decision import Candidate, Decision, Rejection
    from turnout_server.core.model import Caller, Feedback, Outcome, RouteQuery, Target

ATTEMPTS_MAXIMUM = 64
"""Attempts kept of one decision: a plan that is used again and again would otherwise grow without end."""
JUDGEMENTS_MAXIMUM = 16
"""Judgements kept of one decision that came before the attempt they are about."""

RECORD_BYTES = 1400
CANDIDATE_BYTES = 800
REJECTION_BYTES = 250
ATTEMPT_BYTES = 900
"""What each takes in CPython 3.11 beside its texts, rounded up; a bound needs no more than that."""


class DecisionResult(StrEnum):
    """What came of a decision."""

    OK = "OK"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptHistory:
    """One attempt, as made or as reported; `quality` is the caller's judgement, 0 to 1, None for none."""

    outcome: Outcome
    quality: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    """One decision with what is known of it. `executing` tells a call of ours from a plan."""

    decision: Decision
    executing: bool
    caller: Caller
    request_id: str
    session_id: str
    sticky_key: str = ""
    attempts: tuple[AttemptHistory, ...] = ()
    cached: bool = False
    """Whether the answer was one that had been kept: then nothing was called."""

    @property
    def result(self) -> DecisionResult:
        """OK once there is a complete answer; FAILED where all attempts failed, or none could be made."""
        if self.cached or any(attempt.outcome.ok for attempt in self.attempts):
            return DecisionResult.OK
        if self.attempts or not self.decision.candidates:
            return DecisionResult.FAILED
        return DecisionResult.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionFilter:
    """Which decisions are wanted; "" and None let everything pass. Times are seconds since the epoch.

    `target` fits decisions with an attempt at it, or without attempts where it was the first candidate.
    """

    target: Target | None = None
    task: str = ""
    tenant: str = ""
    result: DecisionResult | None = None
    from_wall: float | None = None
    until_wall: float | None = None

    def fits(self, record: DecisionRecord) -> bool:
        """Tells whether the decision is one of those wanted."""
        decision = record.decision
        if self.target is not None and self.target not in _targets(record):
            return False
        if self.task and decision.task != self.task:
            return False
        if self.tenant and record.caller.tenant != self.tenant:
            return False
        if self.from_wall is not None and decision.decided_at_wall < self.from_wall:
            return False
        if self.until_wall is not None and decision.decided_at_wall >= self.until_wall:
            return False
        return self.result is None or record.result is self.result


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionPage:
    """Records, newest first; `next_page_token` is "" on the last page."""

    records: tuple[DecisionRecord, ...]
    next_page_token: str = ""


class _Entry:
    __slots__ = ("judgements", "number", "record", "size")

    def __init__(self, record: DecisionRecord, number: int, size: int) -> None:
        self.record = record
        self.number = number
        self.size = size
        self.judgements: dict[str, float] = {}


class History:
    """The latest decisions, as many as fit into `max_bytes` by estimate; the oldest is dropped first.

    Their ids are remembered for longer, since outcomes of long answers come long after.
    """

    __slots__ = ("_entries", "_made", "_max_bytes", "_number", "size_bytes")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._made = SeenKeys()
        self._number = 0
        self.size_bytes = 0
        """Estimate of what it holds."""

    def __len__(self) -> int:
        return len(self._entries)

    def bound(self, max_bytes: int) -> None:
        """Takes another bound; the oldest decisions beyond it are dropped now."""
        self._max_bytes = max_bytes
        self._grow(0)

    def add(self, decision: Decision, query: RouteQuery, *, cached: bool = False) -> None:
        """Keeps a decision; a second one of the same id takes the first one's place."""
        self._drop(self._entries.pop(decision.decision_id, None))
        self._made.add(decision.decision_id, now=decision.decided_at)
        record = DecisionRecord(
            decision=decision,
            executing=query.executing,
            caller=query.caller,
            request_id=query.request_id,
            session_id=query.session_id,
            sticky_key=query.options.sticky_key,
            cached=cached,
        )
        self._number += 1
        entry = _Entry(record, self._number, _record_bytes(record))
        self._entries[decision.decision_id] = entry
        self._grow(entry.size)

    def made(self, decision_id: str, now: float) -> bool:
        """Tells whether the decision is one of ours: of the last 50,000 within the last hour."""
        return bool(decision_id) and self._made.has(decision_id, now=now)

    def attempt(self, outcome: Outcome) -> float | None:
        """Joins an attempt's end to its decision, where that is still known.

        Returns a judgement of it that came before, None for none.
        """
        entry = self._entries.get(outcome.decision_id)
        if entry is None or len(entry.record.attempts) >= ATTEMPTS_MAXIMUM:
            return None
        quality = entry.judgements.pop(outcome.attempt_id, None)
        attempt = AttemptHistory(outcome=outcome, quality=quality)
        entry.record = replace(entry.record, attempts=(*entry.record.attempts, attempt))
        size = ATTEMPT_BYTES + len(outcome.detail) + len(outcome.attempt_id)
        entry.size += size
        self._grow(size)
        return quality

    def judged(self, feedback: Feedback) -> bool | None:
        """Joins a judgement to its attempt, one that is not reported yet included.

        Tells whether it is the first of that attempt; None where the decision is not known.
        """
        entry = self._entries.get(feedback.decision_id)
        if entry is None:
            return None
        attempts = list(entry.record.attempts)
        for place, attempt in enumerate(attempts):
            if attempt.outcome.attempt_id == feedback.attempt_id:
                if attempt.quality is not None:
                    return False
                attempts[place] = replace(attempt, quality=feedback.quality)
                entry.record = replace(entry.record, attempts=tuple(attempts))
                return True
        if feedback.attempt_id in entry.judgements:
            return False
        if len(entry.judgements) < JUDGEMENTS_MAXIMUM:
            entry.judgements[feedback.attempt_id] = feedback.quality
        return True

    def clear(self, before_wall: float | None = None) -> int:
        """Forgets the decisions made before a moment, all without one; returns how many. Their ids stay known."""
        old = [
            decision_id
            for decision_id, entry in self._entries.items()
            if before_wall is None or entry.record.decision.decided_at_wall < before_wall
        ]
        for decision_id in old:
            self._drop(self._entries.pop(decision_id))
        return len(old)

    def get(self, decision_id: str) -> DecisionRecord | None:
        """Returns one decision, None where it is not known any more."""
        entry = self._entries.get(decision_id)
        return None if entry is None else entry.record

    def page(self, wanted: DecisionFilter, *, page_size: int = 50, page_token: str = "") -> DecisionPage:
        """Returns the newest decisions that fit, or those after a page; a decision made meanwhile is on no later page.

        Raises InvalidRequestError for a page token that is not one of ours.
        """
        before = _number_of(page_token) if page_token else None
        records: list[DecisionRecord] = []
        last = 0
        for entry in self._newest_first():
            if (before is not None and entry.number >= before) or not wanted.fits(entry.record):
                continue
            if len(records) >= page_size:
                return DecisionPage(records=tuple(records), next_page_token=_token_of(last))
            records.append(entry.record)
            last = entry.number
        return DecisionPage(records=tuple(records))

    def _newest_first(self) -> Iterator[_Entry]:
        return reversed(self._entries.values())

    def _grow(self, size: int) -> None:
        self.size_bytes += size
        while self.size_bytes > self._max_bytes and self._entries:
            self._drop(self._entries.popitem(last=False)[1])

    def _drop(self, entry: _Entry | None) -> None:
        if entry is not None:
            self.size_bytes -= entry.size


def _targets(record: DecisionRecord) -> list[Target]:
    if record.attempts:
        return [attempt.outcome.target for attempt in record.attempts]
    return [candidate.target for candidate in record.decision.candidates[:1]]


def _record_bytes(record: DecisionRecord) -> int:
    caller = record.caller
    texts = len(record.request_id) + len(record.session_id) + len(record.sticky_key) + len(caller.tenant)
    texts += len(caller.user) + sum(120 + len(name) + len(value) for name, value in caller.labels.items())
    return RECORD_BYTES + texts + decision_bytes(record.decision)


def decision_bytes(decision: Decision) -> int:
    """Returns an estimate of what the parts of a decision take that grow with what was asked and of whom."""
    texts = len(decision.reason) + len(decision.task) + len(decision.tier)
    if decision.shadow is not None:
        texts += SHADOW_BYTES
    return texts + _candidate_bytes(decision.candidates) + _rejection_bytes(decision.rejections)


def _candidate_bytes(candidates: Sequence[Candidate]) -> int:
    if isinstance(candidates, Candidates):
        return candidates.kept_bytes
    return sum(CANDIDATE_BYTES + len(candidate.reason) for candidate in candidates)


def _rejection_bytes(rejections: Sequence[Rejection]) -> int:
    if isinstance(rejections, Rejections):
        rejections = rejections.written
    return sum(REJECTION_BYTES + len(rejection.detail) for rejection in rejections)


def _token_of(number: int) -> str:
    return urlsafe_b64encode(f"before {number}".encode()).decode()


def _number_of(token: str) -> int:
    try:
        word, _, number = urlsafe_b64decode(token.encode()).decode().partition(" ")
        if word == "before" and number.isascii() and number.isdecimal():
            return int(number)
    except ValueError:
        pass
    raise InvalidRequestError(
        [FieldViolation(field="page_token", description="is not one that came with a page; begin without one")]
    )
