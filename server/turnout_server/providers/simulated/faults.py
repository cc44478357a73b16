"""What can be wrong with a simulated provider, as settings that can be changed while it runs."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Problem(StrEnum):
    """What a vendor may answer instead of a completion; each wire has its own status and body for it."""

    AUTHENTICATION = "authentication"
    PERMISSION = "permission"
    MODEL_NOT_FOUND = "model_not_found"
    INVALID_REQUEST = "invalid_request"
    CONTEXT_LENGTH = "context_length"
    CONTENT_FILTERED = "content_filtered"
    RATE_LIMITED = "rate_limited"
    QUOTA = "quota"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"


class FaultKind(StrEnum):
    """How a request goes wrong.

    error: an error status with the vendor's body. reset: the connection is reset before any header. silence: nothing
    is ever answered. silent_stream: headers, role and pings, never content. slow_first_token: `seconds` more before the
    first content. stall: silence after `after_pieces` pieces of content. cut: the connection breaks there. cut_clean:
    HTTP ends properly there, the answer does not. no_end: all content, neither finish reason nor end marker.
    no_end_marker: the finish reason, then the end of HTTP without the marker. linger: the finish reason, then an open
    connection without the marker. malformed: an event that is no JSON after `after_pieces` pieces. error_event: an
    error event there, inside the status 200.
    """

    ERROR = "error"
    RESET = "reset"
    SILENCE = "silence"
    SILENT_STREAM = "silent_stream"
    SLOW_FIRST_TOKEN = "slow_first_token"  # noqa: S105 - a model's token, not a secret
    STALL = "stall"
    CUT = "cut"
    CUT_CLEAN = "cut_clean"
    NO_END = "no_end"
    NO_END_MARKER = "no_end_marker"
    LINGER = "linger"
    MALFORMED = "malformed"
    ERROR_EVENT = "error_event"


class Fault(BaseModel):
    """One way to go wrong, and how often.

    `share` is the chance, 0 to 1, that a request meets it. `count` ends it after so many requests. `models` limits it
    to these. `status` (with the body that fits it) or `problem` says which error; without either it is an overload.
    `seconds` is how long silence, a stall or lingering lasts (None: until the client goes), or how much later the first
    token comes (None: 5). `retry_after_seconds` is sent with errors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FaultKind = FaultKind.ERROR
    share: float = Field(default=1.0, ge=0.0, le=1.0)
    count: int | None = Field(default=None, ge=1)
    models: tuple[str, ...] = ()
    problem: Problem | None = None
    status: int | None = Field(default=None, ge=400, le=599)
    retry_after_seconds: float | None = Field(default=None, ge=0.0)
    after_pieces: int = Field(default=2, ge=0)
    seconds: float | None = Field(default=None, ge=0.0)

    def answers(self) -> Problem:
        """Returns the problem that an error of this fault stands for."""
        if self.problem is not None:
            return self.problem
        return _PROBLEM_BY_STATUS.get(self.status or 503, Problem.SERVER_ERROR)


_PROBLEM_BY_STATUS = {
    400: Problem.INVALID_REQUEST,
    401: Problem.AUTHENTICATION,
    402: Problem.QUOTA,
    403: Problem.PERMISSION,
    404: Problem.MODEL_NOT_FOUND,
    429: Problem.RATE_LIMITED,
    503: Problem.OVERLOADED,
    529: Problem.OVERLOADED,
}


class Refusal(Exception):  # noqa: N818 - it is the vendor's answer, not a fault of ours
    """A request is answered with an error, as the vendor words it. `status` overrides the vendor's usual one."""

    def __init__(
        self,
        problem: Problem,
        message: str = "",
        *,
        status: int | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message or problem.value)
        self.problem = problem
        self.message = message
        self.status = status
        self.retry_after_seconds = retry_after_seconds
