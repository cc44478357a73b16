"""The vocabulary as types: what is asked, what may be chosen, what was decided and how it ended.

Everything here is a value: frozen, comparable, free of clocks and of protobuf. `api` translates to and from it,
`config` builds the settings from it, and every rule of the core is a function over it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

NANO_USD = 1_000_000_000
"""Nano-USD in one USD: money is an integer number of nano-USD inside, a double of USD on the wire."""

EMPTY_LABELS: Mapping[str, str] = MappingProxyType({})


class Strategy(StrEnum):
    """How the candidates are ranked."""

    PRIORITY = "PRIORITY"
    COST = "COST"
    LATENCY = "LATENCY"
    QUALITY = "QUALITY"
    AVAILABILITY = "AVAILABILITY"
    HYBRID = "HYBRID"
    ROUND_ROBIN = "ROUND_ROBIN"
    WEIGHTED = "WEIGHTED"
    ADAPTIVE = "ADAPTIVE"


class Priority(StrEnum):
    """How urgent a call is; sets the soft limit to the first token and who is shed first."""

    LOW = "LOW"
    NORMAL = "NORMAL"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"


class Complexity(StrEnum):
    """How hard a request is, given by the caller or inferred."""

    SIMPLE = "SIMPLE"
    MEDIUM = "MEDIUM"
    COMPLEX = "COMPLEX"


class Capability(StrEnum):
    """What a model can do; a request's needs are a hard filter."""

    VISION = "VISION"
    TOOLS = "TOOLS"
    PARALLEL_TOOLS = "PARALLEL_TOOLS"
    JSON_SCHEMA = "JSON_SCHEMA"
    STREAMING = "STREAMING"
    THINKING = "THINKING"
    MCP = "MCP"
    LONG_CONTEXT = "LONG_CONTEXT"
    CODE = "CODE"
    AUDIO = "AUDIO"
    DOCUMENTS = "DOCUMENTS"
    PROMPT_CACHING = "PROMPT_CACHING"


class ReasoningEffort(StrEnum):
    """How much a model should think before it answers."""

    NONE = "NONE"
    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"


class HealthState(StrEnum):
    """A target's health in one word, for people and for scoring; it never blocks by itself."""

    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    UNHEALTHY = "UNHEALTHY"
    OFFLINE = "OFFLINE"


class BreakerState(StrEnum):
    """Closed: used. Open: not used until its reopen time. Half-open: one leased probe at a time."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


class FailureKind(StrEnum):
    """The one kind each failed attempt is of; everything that follows from a failure follows from its kind."""

    RATE_LIMITED = "RATE_LIMITED"
    OVERLOADED = "OVERLOADED"
    QUOTA_EXHAUSTED = "QUOTA_EXHAUSTED"
    AUTHENTICATION = "AUTHENTICATION"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    INVALID_REQUEST = "INVALID_REQUEST"
    CONTEXT_LENGTH = "CONTEXT_LENGTH"
    CONTENT_FILTERED = "CONTENT_FILTERED"
    TIMEOUT = "TIMEOUT"
    STALLED = "STALLED"
    TRUNCATED = "TRUNCATED"
    CONNECTION = "CONNECTION"
    SERVER_ERROR = "SERVER_ERROR"
    PROTOCOL = "PROTOCOL"
    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"


HEALTH_FAILURES = frozenset(
    {
        FailureKind.OVERLOADED,
        FailureKind.SERVER_ERROR,
        FailureKind.TIMEOUT,
        FailureKind.STALLED,
        FailureKind.TRUNCATED,
        FailureKind.CONNECTION,
        FailureKind.PROTOCOL,
    }
)
"""The provider's fault: these count against a target's breaker and availability."""

CREDENTIAL_FAILURES = frozenset(
    {
        FailureKind.RATE_LIMITED,
        FailureKind.QUOTA_EXHAUSTED,
        FailureKind.AUTHENTICATION,
        FailureKind.PERMISSION_DENIED,
        FailureKind.MODEL_NOT_FOUND,
    }
)
"""The credential's state: these cool or take out a credential, and change no health."""

CALLER_FAILURES = frozenset(
    {
        FailureKind.INVALID_REQUEST,
        FailureKind.CONTEXT_LENGTH,
        FailureKind.CONTENT_FILTERED,
        FailureKind.CANCELLED,
    }
)
"""The caller's own: these change nothing."""

SILENCE_FAILURES = frozenset({FailureKind.TIMEOUT, FailureKind.STALLED})
"""A breaker opened by these is probed so that no user waits for the probe."""
SILENT_CONNECTION_SECONDS = 1.0
"""A failure to connect that took so long is silence too: nobody answered, and nobody refused."""


def is_silence(failure: FailureKind | None, seconds: float) -> bool:
    """Whether a failure that took so long means that the target did not answer at all, or stopped."""
    return failure in SILENCE_FAILURES or (failure is FailureKind.CONNECTION and seconds >= SILENT_CONNECTION_SECONDS)


class RejectionReason(StrEnum):
    """Why a target is not a candidate, in the order they are reported: permanent ones first, then those that pass."""

    EXCLUDED = "EXCLUDED"
    NOT_FORCED = "NOT_FORCED"
    TIER = "TIER"
    REGION = "REGION"
    CAPABILITY = "CAPABILITY"
    CONTEXT_WINDOW = "CONTEXT_WINDOW"
    QUALITY = "QUALITY"
    UNKNOWN_PRICE = "UNKNOWN_PRICE"
    COST_LIMIT = "COST_LIMIT"
    DEPRECATED = "DEPRECATED"
    NO_CREDENTIAL = "NO_CREDENTIAL"
    CREDENTIALS = "CREDENTIALS"
    DRAINED = "DRAINED"
    BREAKER_OPEN = "BREAKER_OPEN"
    COOLING_DOWN = "COOLING_DOWN"
    LATENCY_LIMIT = "LATENCY_LIMIT"
    AVAILABILITY = "AVAILABILITY"
    BUDGET = "BUDGET"
    SESSION_LIMIT = "SESSION_LIMIT"
    CONCURRENCY = "CONCURRENCY"
    RATE_LIMIT = "RATE_LIMIT"
    THROTTLED = "THROTTLED"
    DEADLINE = "DEADLINE"

    @property
    def permanent(self) -> bool:
        """Whether no waiting helps: one such reason makes the target "never" for this request."""
        return self in PERMANENT_REASONS


PERMANENT_REASONS = frozenset(list(RejectionReason)[: list(RejectionReason).index(RejectionReason.NO_CREDENTIAL) + 1])

REASON_ORDER: Mapping[RejectionReason, int] = MappingProxyType({reason: i for i, reason in enumerate(RejectionReason)})


class FinishReason(StrEnum):
    """Why a complete answer ended."""

    STOP = "STOP"
    LENGTH = "LENGTH"
    TOOL_CALLS = "TOOL_CALLS"
    CONTENT_FILTER = "CONTENT_FILTER"
    OTHER = "OTHER"


class UsageSource(StrEnum):
    """Whether token counts came from the provider or are our estimate."""

    REPORTED = "REPORTED"
    ESTIMATED = "ESTIMATED"


class DecisionDetail(StrEnum):
    """BASIC: the best five candidates, the rest counted. FULL: everything."""

    BASIC = "BASIC"
    FULL = "FULL"


class MidStreamPolicy(StrEnum):
    """What happens when a stream breaks after output began."""

    FAIL = "FAIL"
    RESTART = "RESTART"


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """One provider and one model, at one endpoint of the provider ("" where it has only one): what can be chosen."""

    provider: str
    model: str
    endpoint: str = ""

    def __str__(self) -> str:
        name = f"{self.provider}/{self.model}"
        return f"{name}@{self.endpoint}" if self.endpoint else name


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one attempt; None is unknown, never zero.

    `input_tokens` includes the cached and the cache-write ones, `cache_write_tokens` includes the one-hour ones,
    `output_tokens` includes the reasoning ones. `audio_input_tokens` are those of the input that are sound, cached or
    not; `cached_audio_input_tokens` are those of the cached ones. Some vendors charge sound otherwise than text.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_input_tokens: int | None = None
    cached_audio_input_tokens: int | None = None
    source: UsageSource = UsageSource.REPORTED


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitBucket:
    """One bucket of a provider's rate limit, as its headers state it; None is not stated.

    `reset_seconds` counts from the moment of reading.
    """

    limit: int | None = None
    remaining: int | None = None
    reset_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitReading:
    """What one response said about the rate limit of the credential and model that were used."""

    requests: RateLimitBucket | None = None
    tokens: RateLimitBucket | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Weights of HYBRID; not negative, scaled to their sum; None falls back to the policy's."""

    cost: float | None = None
    latency: float | None = None
    availability: float | None = None
    quality: float | None = None
    priority: float | None = None
    capability: float | None = None
    """Of the capabilities that a request would like; None in the policy too: as `preferences` says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestProfile:
    """What is known of a request before it is sent; None is unknown."""

    task: str = ""
    complexity: Complexity | None = None
    input_tokens: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[Capability] = frozenset()
    custom_capabilities: frozenset[str] = frozenset()
    preferred_capabilities: frozenset[str] = frozenset()
    """Of the operator's naming, which the model should have: they count for it, and nobody is rejected."""
    reasoning_effort: ReasoningEffort | None = None
    text_hint: str = field(default="", repr=False)
    input_bytes: int | None = None
    """Bytes of prompt text and tool definitions, from which tokens are estimated where no count is given."""
    extra_input_tokens: int = 0
    """Tokens of what is not text (images, audio, documents), already estimated."""
    url_capabilities: frozenset[Capability] = frozenset()
    """The media (VISION, AUDIO, DOCUMENTS) that the request holds by URL: only wires that take URLs will do."""
    forms: frozenset[str] = frozenset()
    """Forms and combinations of capabilities, as `forms` names them, that not every target with these has."""
    prefilled: bool = False
    """The conversation ends with a turn of the assistant, which the model is to go on from; not all of them do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingOptions:
    """What the caller asks of this one decision; limits given here are hard."""

    policy: str = ""
    strategy: Strategy | None = None
    weights: Weights | None = None
    priority: Priority = Priority.NORMAL
    max_cost_usd: float | None = None
    max_latency_seconds: float | None = None
    max_time_to_first_token_seconds: float | None = None
    min_availability: float | None = None
    min_quality: float | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    sticky_key: str = ""
    force_target: str = ""
    max_candidates: int | None = None
    allow_fallback: bool | None = None
    mid_stream: MidStreamPolicy | None = None
    hedge: bool | None = None
    detail: DecisionDetail = DecisionDetail.BASIC


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, for tables, limits and accounts."""

    tenant: str = ""
    user: str = ""
    tier: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY_LABELS)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteQuery:
    """One question to the core: everything about a request that a decision may depend on.

    `executing` is true when the sidecar makes the call itself (Execute): then a credential of ours is needed, and a
    target opened by silence is probed off the caller's path. `deadline_seconds` is what is left of the caller's
    time, None for no limit.
    """

    profile: RequestProfile = RequestProfile()
    options: RoutingOptions = RoutingOptions()
    caller: Caller = Caller()
    request_id: str = ""
    session_id: str = ""
    executing: bool = False
    deadline_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The lease of a half-open target's one trial; `expires_at` is monotonic seconds."""

    probe_id: str
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one attempt ended, from our own execution or from a caller's report. `failure` is None for success.

    `decision_id` and `attempt_id` make it count once. `credential` is a label, never a secret; `reported` says that it
    belongs to the caller's own keys. `before_first_byte` tells, for CANCELLED, that nothing had come back yet.
    `off_path` marks a trial of our own that no caller waited for. `possibly_billed`, `retry_reason` and `hedge` are as
    in `AttemptRecord`.
    """

    target: Target
    failure: FailureKind | None = None
    decision_id: str = ""
    attempt_id: str = ""
    probe_id: str = ""
    credential: str = ""
    reported: bool = False
    http_status: int | None = None
    latency_seconds: float | None = None
    time_to_first_token_seconds: float | None = None
    streamed: bool = False
    before_first_byte: bool = False
    off_path: bool = False
    usage: Usage | None = None
    cost_nano_usd: int | None = None
    possibly_billed: bool = True
    retry_reason: str = ""
    hedge: bool = False
    retry_after_seconds: float | None = None
    rate_limit: RateLimitReading | None = None
    estimated_input_tokens: int | None = None
    input_bytes: int | None = None
    task: str = ""
    caller: Caller = Caller()
    session_id: str = ""
    sticky_key: str = ""
    finished_at_wall: float | None = None
    detail: str = ""
    region: str = ""

    @property
    def ok(self) -> bool:
        """Whether the attempt brought a complete answer."""
        return self.failure is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """A caller's judgement of one attempt's answer: `quality` is 0 to 1, 1 best."""

    decision_id: str
    attempt_id: str
    quality: float
