"""One executed call from its decision to its one end: a complete answer, or an error that says what was tried."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from turnout_server.core.call import (
    AttemptDeltas,
    AttemptRecord,
    AttemptStarted,
    CallEvent,
    CallReport,
    Completed,
    Restarted,
)
from turnout_server.core.chat import Delta
from turnout_server.core.deadlines import attempt_limits
from turnout_server.core.model import FailureKind, MidStreamPolicy, Target
from turnout_server.execution.accounting import delta_bytes
from turnout_server.execution.attempt import Attempt
from turnout_server.execution.ends import CallEnd, error_of, report_of
from turnout_server.execution.facts import CallFacts, Chosen
from turnout_server.execution.hedging import Pair
from turnout_server.execution.hops import Hops
from turnout_server.execution.running import Running, Shell
from turnout_server.execution.sending import upstream_call
from turnout_server.execution.settling import Sent
from turnout_server.execution.shortening import with_trimming
from turnout_server.ports import UpstreamError


class Call:
    """Runs one call. `events` may be iterated once; closing it closes whatever provider's connection is open."""

    def __init__(self, shell: Shell, facts: CallFacts, hops: Hops) -> None:
        self._shell = shell
        self._facts = facts
        self._hops = hops
        self._records: list[AttemptRecord] = []
        self._present: list[Running] = []
        """The attempts under way, which are not among the records yet."""
        self._asked: dict[Target, float] = {}
        """For how long targets asked not to be asked again, in seconds."""
        self._delivered = False
        """The caller holds content of the present attempt."""
        self._delivered_bytes = 0
        self._outside_seconds = 0.0
        mid_stream = facts.query.options.mid_stream or facts.policy.mid_stream
        self._restarts = mid_stream is MidStreamPolicy.RESTART

    @property
    def outside_seconds(self) -> float:
        """Time of the call that was spent waiting: for providers, and in pauses."""
        return self._outside_seconds + self._hops.paused_seconds

    def report(self) -> CallReport:
        """Returns what was tried, delivered and spent, of a call that was cancelled too."""
        present = (running.record for running in self._present)
        attempts = (*self._records, *(record for record in present if record is not None))
        return report_of(attempts, delivered_bytes=self._delivered_bytes, rejections=self._hops.rejections)

    async def events(self) -> AsyncGenerator[CallEvent]:
        """Yields what happens after the decision, Completed last. Raises a TurnoutError when the call fails."""
        chosen = self._hops.first()
        restarted: Restarted | None = None
        while True:
            # Whoever has a permit settles it, so nothing may come between the two: the caller could go away there.
            running = self._running(chosen)
            pair = self._pair(chosen, running, restarted)
            lane = pair or running
            async with lane:
                if restarted is not None:
                    yield restarted
                yield AttemptStarted(attempt_id=running.attempt_id, target=chosen.permit.spec.target)
                # Only now: the caller may have been slow to take the event, and that is not the target's time.
                attempt = self._begin(running, chosen)
                read = attempt.read
                if pair is not None:
                    pair.start(attempt)
                    read = pair.read
                    second = await pair.second(self._running)
                    if second is not None:
                        yield AttemptStarted(
                            attempt_id=second.permit.attempt_id, target=second.permit.spec.target, hedge=True
                        )
                        pair.start_second(self._begin)
                while (deltas := await read()) is not None:
                    self._deliver(deltas)
                    self._check_size(lane.attempt)
                    yield AttemptDeltas(attempt_id=lane.attempt_id, deltas=deltas)
            self._outside_seconds += lane.closing_seconds
            if pair is not None:
                chosen, running = self._settled(pair)
            self._note(running)
            self._present.clear()
            if running.error is None:
                yield self._completed(running)
                return
            following = await self._following(chosen, running)
            if following is None:
                raise error_of(self._end(running))
            restarted = None
            if self._delivered:
                self._delivered = False
                self._delivered_bytes = 0
                restarted = Restarted(discarded_attempt_id=running.attempt_id, failure=running.error.kind)
            chosen = following

    def _running(self, chosen: Chosen) -> Running:
        facts = self._facts
        profile = facts.query.profile
        sent = Sent(
            tokens=facts.decision.input_tokens,
            # Tokens of media would spoil what is learned of text.
            text_bytes=None if profile.extra_input_tokens else profile.input_bytes,
            tokens_per_byte=self._shell.router.targets.tokens_per_byte(chosen.permit.spec.target),
        )
        running = Running(
            self._shell,
            chosen.permit,
            facts.connected,
            query=facts.query,
            sent=sent,
            reason=chosen.reason,
            cap=facts.cap,
            hedge=chosen.hedge,
        )
        self._present.append(running)
        return running

    def _pair(self, chosen: Chosen, running: Running, restarted: Restarted | None) -> Pair | None:
        """Returns what may begin a second attempt beside this one, None where none is to be."""
        waits = self._hops.patience(chosen) if self._facts.hedging and restarted is None else None
        return None if waits is None else Pair(self._shell, self._hops, chosen, running, waits)

    def _settled(self, pair: Pair) -> tuple[Chosen, Running]:
        """Notes those of a pair that do not count any more, and returns the one that does."""
        for other in pair.others:
            assert other.record is not None
            self._records.append(other.record)
            self._note_asked(other)
        lead = pair.lead
        if lead.chosen.hedge:
            # While both were waited for, it was for the second as well.
            self._outside_seconds += pair.alone_seconds
        return lead.chosen, lead.running

    def _begin(self, running: Running, chosen: Chosen) -> Attempt:
        facts = self._facts
        limits = attempt_limits(
            chosen.permit.spec,
            facts.times,
            facts.settings,
            now=self._shell.clock(),
            answer_limit_seconds=chosen.answer_limit_seconds,
            others_remain=chosen.others_remain,
            effort=facts.query.profile.reasoning_effort,
            streaming=facts.streaming,
        )
        trace = self._shell.trace_attempt()
        headers = self._shell.trace_headers() if trace is None else trace.headers()
        call = upstream_call(chosen.permit, facts.chat, facts.decision.input_tokens, headers)
        if trace is not None:
            trace.asked(call, streaming=chosen.streaming)
            running.trace = trace
        attempt = running.begin(call, limits, facts.settings, streaming=chosen.streaming)
        if trace is not None:
            attempt.listener = trace.listener()
        return attempt

    def _deliver(self, deltas: tuple[Delta, ...]) -> None:
        if self._facts.streaming:
            self._delivered = True
            self._delivered_bytes += sum(map(delta_bytes, deltas))

    def _check_size(self, attempt: Attempt | None) -> None:
        """Ends an answer that no single message can hold. Nobody else's would be shorter, so nobody else is asked."""
        most = self._shell.max_answer_bytes
        if not self._facts.streaming and attempt is not None and attempt.received_bytes > most:
            raise UpstreamError(
                FailureKind.INVALID_REQUEST,
                f"the answer is larger than {most} bytes, the most that one message holds; ask for fewer tokens, or "
                "use ExecuteStream",
                http_status=attempt.http_status,
            )

    def _note(self, running: Running) -> None:
        assert running.record is not None
        self._records.append(running.record)
        self._note_asked(running)
        if running.attempt is not None:
            self._outside_seconds += running.attempt.waited_seconds

    def _note_asked(self, running: Running) -> None:
        if running.error is not None and running.error.retry_after_seconds is not None and running.record is not None:
            self._asked[running.record.target] = running.error.retry_after_seconds

    async def _following(self, failed: Chosen, running: Running) -> Chosen | None:
        assert running.error is not None
        if self._delivered and not self._restarts:
            return None
        return await self._hops.next(failed, running.error.kind, delivered=self._delivered)

    def _completed(self, running: Running) -> Completed:
        attempt, record, router = running.attempt, self._records[-1], self._shell.router
        # Nothing follows: what it holds beyond what it cost is free before its caller is told what remains.
        router.attempts.end_call(self._facts.call_id)
        assert attempt is not None
        assert attempt.finish_reason is not None
        return Completed(
            target=record.target,
            finish_reason=attempt.finish_reason,
            attempts=tuple(self._records),
            usage=record.usage,
            cost_nano_usd=record.cost_nano_usd,
            model=attempt.model,
            response_id=attempt.response_id,
            notices=with_trimming(
                router.budgets.notices(self._facts.decision, self._facts.query, record.target), self._facts.trimming
            ),
        )

    def _end(self, running: Running) -> CallEnd:
        assert running.error is not None
        return CallEnd(
            decision_id=self._facts.decision.decision_id,
            error=running.error,
            attempts=tuple(self._records),
            rejections=self._hops.rejections,
            delivered_bytes=self._delivered_bytes,
            delivered=self._delivered,
            out_of_time=running.out_of_time,
            free_in_seconds=self._hops.free_in_seconds(self._asked),
        )
