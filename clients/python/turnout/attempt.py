"""One call of the application's own to one target of a plan: measured, its failure classified, its end reported."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from google.protobuf.duration_pb2 import Duration

from turnout.answer import target_name
from turnout.failures import Failure, classify
from turnout.v1 import router_pb2 as pb

UNKNOWN = pb.FAILURE_KIND_UNKNOWN

STOPPING_KINDS = frozenset(
    {
        pb.FAILURE_KIND_INVALID_REQUEST,
        pb.FAILURE_KIND_CONTENT_FILTERED,
        pb.FAILURE_KIND_CANCELLED,
        UNKNOWN,
    }
)
"""Another target would not help (the request is the fault, or the caller stopped), or it cannot be told: an exception
that says nothing of a provider may be a mistake in the `with` block and must come out."""

MAX_DURATION_SECONDS = 86_400.0
"""The longest duration that a report may state."""

NANOS = 1_000_000_000

Report = Callable[[pb.Outcome], None]


class PlanAttempt:
    """One target to call, as a context manager that measures the call and reports its end.

    `outcome` is the report that will be sent; fields without a method here (cost, rate limit, credential label) may be
    set on it before the block ends.
    """

    def __init__(
        self,
        candidate: pb.Candidate,
        *,
        about: pb.Outcome,
        swallow: bool,
        restart: bool,
        report: Report,
        clock: Callable[[], float],
        wall: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self.candidate = candidate
        self.outcome = pb.Outcome(
            decision_id=about.decision_id,
            task=about.task,
            caller=about.caller if about.HasField("caller") else None,
            session_id=about.session_id,
            attempt_id=new_id(),
            target=candidate.target,
            probe_id=candidate.probe.probe_id,
        )
        self.succeeded = False
        self.error: Exception | None = None
        """The exception that ended the block where the next target may be tried, None for none."""
        self._swallow = swallow
        self._restart = restart
        self._report = report
        self._clock = clock
        self._wall = wall
        self._started_at: float | None = None
        self._failure: Failure | None = None

    @property
    def target(self) -> str:
        """The target as it is written: "provider/model" or "provider/model@endpoint"."""
        return target_name(self.candidate.target)

    @property
    def provider(self) -> str:
        """The provider's name."""
        return self.candidate.target.provider

    @property
    def model(self) -> str:
        """The model's name at the provider."""
        return self.candidate.target.model

    @property
    def base_url(self) -> str:
        """Where the provider is called, "" where the sidecar does not know."""
        return self.candidate.base_url

    @property
    def wire(self) -> str:
        """The provider's wire format, such as "openai" or "anthropic"."""
        return self.candidate.wire

    @property
    def attempt_id(self) -> str:
        """The id under which the outcome, and feedback later, is reported."""
        return self.outcome.attempt_id

    @property
    def timeout_seconds(self) -> float | None:
        """How long the sidecar would wait for this target, None where it does not say."""
        if not self.candidate.HasField("attempt_timeout"):
            return None
        timeout: float = self.candidate.attempt_timeout.ToNanoseconds() / 1e9
        return timeout

    def first_token(self) -> None:
        """Notes that the first token of a stream is there; later calls change nothing."""
        if self._started_at is None or self.outcome.streamed:
            return
        self.outcome.streamed = True
        self.outcome.time_to_first_token.CopyFrom(_duration(self._clock() - self._started_at))

    def usage(
        self,
        *,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cached_input_tokens: int | None = None,
        cache_write_tokens: int | None = None,
        reasoning_tokens: int | None = None,
    ) -> None:
        """Notes the tokens that the provider reported; None is unknown.

        Input includes the cached and the cache-write ones, output the reasoning ones: Anthropic's `input_tokens` leaves
        both out, add them.
        """
        self.outcome.usage.CopyFrom(
            pb.Usage(
                input_tokens=input_tokens,
                output_tokens=output_tokens,
                cached_input_tokens=cached_input_tokens,
                cache_write_tokens=cache_write_tokens,
                reasoning_tokens=reasoning_tokens,
                source=pb.USAGE_SOURCE_REPORTED,
            )
        )

    def failed(
        self,
        kind: pb.FailureKind.ValueType,
        *,
        http_status: int | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        """Notes a failure that no exception tells of, such as a stream that ended without its end; goes before one."""
        self._failure = Failure(kind=kind, http_status=http_status, retry_after_seconds=retry_after_seconds)

    def __enter__(self) -> Self:
        self._started_at = self._clock()
        seconds, nanos = divmod(int(self._wall() * NANOS), NANOS)
        start = self.outcome.start_time
        start.seconds, start.nanos = seconds, nanos
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        failure = self._failure
        if failure is None and error is not None:
            failure = self._in_mid_stream(classify(error, now_wall=self._wall()))
        started_at = self._clock() if self._started_at is None else self._started_at
        self.outcome.latency.CopyFrom(_duration(self._clock() - started_at))
        self.outcome.ok = failure is None
        if failure is not None:
            self.outcome.failure = failure.kind
            if failure.http_status is not None:
                self.outcome.http_status = failure.http_status
            if failure.retry_after_seconds is not None:
                self.outcome.retry_after.CopyFrom(_duration(failure.retry_after_seconds))
        self.succeeded = failure is None
        self._report(self.outcome)
        if error is None or not isinstance(error, Exception) or not self._swallow or not self.may_go_on(failure):
            return False
        self.error = error
        return True

    def told(self) -> Failure | None:
        """Returns the failure that was told with `failed`, None for none."""
        return self._failure

    def _in_mid_stream(self, failure: Failure) -> Failure:
        """Once tokens came, silence is a stall and a lost connection a cut answer."""
        if not self.outcome.streamed:
            return failure
        if failure.kind == pb.FAILURE_KIND_TIMEOUT and failure.http_status is None:
            return Failure(kind=pb.FAILURE_KIND_STALLED)
        if failure.kind == pb.FAILURE_KIND_CONNECTION:
            return Failure(kind=pb.FAILURE_KIND_TRUNCATED)
        return failure

    def may_go_on(self, failure: Failure | None) -> bool:
        """Tells whether another target may be tried after such a failure."""
        if failure is None:
            return False
        # An unknown kind with a status came from a provider, one without may be a mistake in the block.
        if failure.kind in STOPPING_KINDS and not (failure.kind == UNKNOWN and failure.http_status is not None):
            return False
        # What was handed on of a stream cannot be taken back, unless the caller asked for restarts.
        return self._restart or not self.outcome.streamed


def _duration(seconds: float) -> Duration:
    whole, nanos = divmod(int(min(max(0.0, seconds), MAX_DURATION_SECONDS) * NANOS), NANOS)
    return Duration(seconds=whole, nanos=nanos)
