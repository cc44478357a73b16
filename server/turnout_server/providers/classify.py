"""Decides of which kind a provider's failure is: by its code or type, else by its message, else by its status.

The tables are the decision; the code only looks things up. Where a provider gives nothing but words, the words
stand here with the provider they come from; what holds for one vendor alone is in `vendor_failures` and comes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from turnout_server.core.model import FailureKind
from turnout_server.providers.vendor_failures import BY_VENDOR, NO_RULES, MessageRule, message_rule

BY_CODE: Mapping[str, FailureKind] = MappingProxyType(
    {
        # money: waiting a second does not help
        "insufficient_quota": FailureKind.QUOTA_EXHAUSTED,  # OpenAI, 429
        "credit_balance_exhausted": FailureKind.QUOTA_EXHAUSTED,  # OpenAI, 429
        "billing_hard_limit_reached": FailureKind.QUOTA_EXHAUSTED,  # OpenAI
        "billing_not_active": FailureKind.QUOTA_EXHAUSTED,  # OpenAI
        "billing_error": FailureKind.QUOTA_EXHAUSTED,  # Anthropic, 402
        "enforced_spend_limit_reached": FailureKind.QUOTA_EXHAUSTED,  # Anthropic, 429
        "exceeded_current_quota_error": FailureKind.QUOTA_EXHAUSTED,  # Kimi, 429
        # no room
        "server_is_overloaded": FailureKind.OVERLOADED,  # OpenAI, 503
        "slow_down": FailureKind.OVERLOADED,  # OpenAI, 429
        "overloaded_error": FailureKind.OVERLOADED,  # Anthropic, 529 or inside a 200
        "engine_overloaded_error": FailureKind.OVERLOADED,  # Kimi, 429
        "capacity_exceeded": FailureKind.OVERLOADED,  # Groq, 498
        "service_unavailable_error": FailureKind.OVERLOADED,  # OpenAI, 503
        # too long
        "context_length_exceeded": FailureKind.CONTEXT_LENGTH,  # OpenAI, Groq, 400
        "request_too_large": FailureKind.CONTEXT_LENGTH,  # Anthropic, 413
        # refused content
        "content_filter": FailureKind.CONTENT_FILTERED,  # Azure OpenAI, 400
        "content_policy_violation": FailureKind.CONTENT_FILTERED,  # OpenAI, 400
        "responsibleaipolicyviolation": FailureKind.CONTENT_FILTERED,  # Azure OpenAI, innererror
        # who asks
        "invalid_api_key": FailureKind.AUTHENTICATION,  # OpenAI, 401
        "authentication_error": FailureKind.AUTHENTICATION,  # Anthropic, 401
        "invalid_authentication_error": FailureKind.AUTHENTICATION,  # Kimi, 401
        "permission_error": FailureKind.PERMISSION_DENIED,  # Anthropic, 403
        "unsupported_country_region_territory": FailureKind.PERMISSION_DENIED,  # OpenAI, 403
        # which model
        "model_not_found": FailureKind.MODEL_NOT_FOUND,  # OpenAI, 404
        "not_found_error": FailureKind.MODEL_NOT_FOUND,  # Anthropic, 404
        # too often
        "rate_limit_exceeded": FailureKind.RATE_LIMITED,  # OpenAI, Groq, 429
        "rate_limit_error": FailureKind.RATE_LIMITED,  # Anthropic, 429
        "rate_limit_reached_error": FailureKind.RATE_LIMITED,  # Kimi, 429
    }
)
"""By `error.code`, `error.type` and what stands beside them, in lower case."""

GENERAL_CODES: Mapping[str, FailureKind] = MappingProxyType(
    {
        "server_error": FailureKind.SERVER_ERROR,  # OpenAI
        "internal_server_error": FailureKind.SERVER_ERROR,  # Groq, 500 and 503
        "api_error": FailureKind.SERVER_ERROR,  # Anthropic, 500 or inside a 200; MiniMax, whatever it is
        "timeout_error": FailureKind.SERVER_ERROR,  # Anthropic, 504
    }
)
"""Codes that say little: words and the statuses of overload go before them."""


BY_MESSAGE: tuple[MessageRule, ...] = (
    message_rule(
        r"prompt is too long|input length and .max_tokens. exceed context limit",
        {400, 413},
        FailureKind.CONTEXT_LENGTH,
        "prompt is too long: 210001 tokens > 200000 maximum",  # Anthropic
    ),
    message_rule(
        r"maximum context length|context window|exceeded model token limit|maximum prompt length|input_too_large",
        {400, 413, 422},
        FailureKind.CONTEXT_LENGTH,
        "This model's maximum context length is 8192 tokens",  # OpenAI-compatible servers, Mistral, Kimi, xAI
    ),
    message_rule(
        r"credit balance is too low|available credits|spending limit|spend limit|insufficient balance",
        {400, 403, 429},
        FailureKind.QUOTA_EXHAUSTED,
        "Your credit balance is too low to access the Anthropic API.",  # Anthropic 400, xAI 429, Kimi 403
    ),
    message_rule(
        r"incorrect api key|invalid api key|api key not valid",
        {400, 401, 403},
        FailureKind.AUTHENTICATION,
        "Incorrect API key provided",  # xAI answers 400
    ),
    message_rule(
        r"content management policy|content filtering policy|safety system|usage policies",
        {400, 403},
        FailureKind.CONTENT_FILTERED,
        "Output blocked by content filtering policy",  # Anthropic 400, Azure OpenAI 400
    ),
    message_rule(
        r"model\b.{0,80}(?:does not exist|not found|not supported|is not available)|is not a valid model",
        {400, 404},
        FailureKind.MODEL_NOT_FOUND,
        "The model `gpt-9` does not exist or you do not have access to it.",  # OpenAI-compatible servers
    ),
    message_rule(
        r"high traffic|experiencing high demand|overloaded|maximum pending requests",
        {429, 500, 503},
        FailureKind.OVERLOADED,
        "We're experiencing high traffic right now",  # Cerebras 429, Azure OpenAI 429
    ),
)

BY_STATUS: Mapping[int, FailureKind] = MappingProxyType(
    {
        400: FailureKind.INVALID_REQUEST,
        401: FailureKind.AUTHENTICATION,
        402: FailureKind.QUOTA_EXHAUSTED,
        403: FailureKind.PERMISSION_DENIED,
        404: FailureKind.MODEL_NOT_FOUND,
        407: FailureKind.CONNECTION,  # the operator's proxy refuses
        408: FailureKind.TIMEOUT,
        410: FailureKind.MODEL_NOT_FOUND,
        411: FailureKind.INVALID_REQUEST,
        413: FailureKind.CONTEXT_LENGTH,
        414: FailureKind.INVALID_REQUEST,
        415: FailureKind.INVALID_REQUEST,
        422: FailureKind.INVALID_REQUEST,
        429: FailureKind.RATE_LIMITED,
        431: FailureKind.INVALID_REQUEST,
        498: FailureKind.OVERLOADED,
        503: FailureKind.OVERLOADED,
        529: FailureKind.OVERLOADED,
    }
)
"""What a status says by itself. The rest: 5xx SERVER_ERROR, other 4xx UNKNOWN, anything else PROTOCOL."""

UNBILLED_STATUSES = frozenset({503, 529})
"""5xx before any output that no vendor charges for; a 4xx is never charged, but for 408."""

_CLIENT_ERRORS = range(400, 500)
_SERVER_ERRORS = range(500, 600)


def classify(
    status: int | None,
    codes: tuple[str, ...],
    message: str,
    *,
    vendor: str = "",
    should_retry: bool = False,
) -> FailureKind:
    """Returns the kind of a failed answer.

    `status` is None where none was stated, as in most error events inside a stream. `codes` are the error's code, type
    and the like, most telling first. `should_retry` is the vendor's own hint (`x-should-retry: true`): it turns a 4xx
    that nothing else explains into a passing fault.
    """
    own = BY_VENDOR.get(vendor, NO_RULES)
    return (
        _by_words(own.messages, status, message)
        or _by_code(own.codes, codes)
        or _by_code(BY_CODE, codes)
        or _by_words(BY_MESSAGE, status, message)
        or (None if BY_STATUS.get(status or 0) is FailureKind.OVERLOADED else _by_code(GENERAL_CODES, codes))
        or _by_status(status, should_retry=should_retry)
    )


def knows(code: str, vendor: str) -> bool:
    """Whether the tables hold that code."""
    return any(code.lower() in table for table in (BY_VENDOR.get(vendor, NO_RULES).codes, BY_CODE, GENERAL_CODES))


def _by_words(rules: tuple[MessageRule, ...], status: int | None, message: str) -> FailureKind | None:
    return next((rule.kind for rule in rules if rule.decides(status, message)), None)


def _by_code(table: Mapping[str, FailureKind], codes: tuple[str, ...]) -> FailureKind | None:
    return next((table[code.lower()] for code in codes if code.lower() in table), None)


def _by_status(status: int | None, *, should_retry: bool) -> FailureKind:
    known = FailureKind.SERVER_ERROR if status is None else BY_STATUS.get(status)
    if known is not None:
        return known
    if status in _SERVER_ERRORS:
        return FailureKind.SERVER_ERROR
    if status in _CLIENT_ERRORS:
        return FailureKind.SERVER_ERROR if should_retry else FailureKind.UNKNOWN
    return FailureKind.PROTOCOL


def can_be_billed(status: int, kind: FailureKind) -> bool:
    """Whether a provider may charge for an answer of this status that failed before any output."""
    if kind is FailureKind.TIMEOUT:
        return True
    return not (status in _CLIENT_ERRORS or status in UNBILLED_STATUSES)
