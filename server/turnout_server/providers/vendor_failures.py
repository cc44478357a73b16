"""What the codes and words of single vendors mean, where they mean something else than elsewhere, or nothing at all.

Each row is a fact about one vendor, from its documentation or from answers that users published; the fixtures under
`tests/wire/fixtures` show them and say what they rest on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from turnout_server.core.model import FailureKind

ANY_STATUS = frozenset(range(200, 600))


class MessageRule(NamedTuple):
    """Words that decide where the code does not; only within these statuses."""

    pattern: re.Pattern[str]
    statuses: frozenset[int]
    kind: FailureKind
    example: str

    def decides(self, status: int | None, message: str) -> bool:
        """Whether the rule holds; without a status, as inside a stream, the words alone decide."""
        return (status is None or status in self.statuses) and self.pattern.search(message) is not None


def message_rule(pattern: str, statuses: set[int] | frozenset[int], kind: FailureKind, example: str) -> MessageRule:
    """Makes a rule of a pattern in which case does not count."""
    return MessageRule(re.compile(pattern, re.IGNORECASE), frozenset(statuses), kind, example)


class VendorRules(NamedTuple):
    """One vendor's own rules: words first, then codes in lower case; what they leave open the common tables decide."""

    messages: tuple[MessageRule, ...] = ()
    codes: Mapping[str, FailureKind] = MappingProxyType({})


_TOO_LARGE_AT_ONCE = message_rule(
    r"^request too large for ",
    {413, 429},
    FailureKind.CONTEXT_LENGTH,
    # More tokens than a whole minute allows: no waiting helps.
    "Request too large for model llama-3.1-8b-instant on tokens per minute (TPM): Limit 6000, Requested 12328",
)

_OPENAI = VendorRules(
    messages=(_TOO_LARGE_AT_ONCE,),
    codes=MappingProxyType(
        {
            "account_deactivated": FailureKind.AUTHENTICATION,
            "mismatched_organization": FailureKind.AUTHENTICATION,
            "invalid_prompt": FailureKind.CONTENT_FILTERED,
        }
    ),
)

_ANTHROPIC = VendorRules(
    messages=(
        message_rule(
            r"reached your (?:specified )?(?:workspace )?api usage limits",
            {400, 403, 429},
            FailureKind.QUOTA_EXHAUSTED,
            "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.",
        ),
        message_rule(
            r"organization has been disabled",
            {400, 403},
            FailureKind.AUTHENTICATION,
            "This organization has been disabled.",
        ),
    ),
)

_GOOGLE = VendorRules(
    messages=(
        message_rule(
            r"input token count.{0,80}exceeds",
            {400},
            FailureKind.CONTEXT_LENGTH,
            "The input token count (3475108) exceeds the maximum number of tokens allowed (1048576).",
        ),
        message_rule(
            r"\blimit: 0\b|credits are depleted|spending cap",
            {403, 429},
            FailureKind.QUOTA_EXHAUSTED,
            "Quota exceeded for metric: generate_content_free_tier_requests, limit: 0, model: gemini-2.5-pro",
        ),
        message_rule(
            r"user location is not supported",
            {400, 403},
            FailureKind.PERMISSION_DENIED,
            "User location is not supported for the API use.",
        ),
        message_rule(
            r"api key (?:expired|was reported as leaked)",
            {400, 403},
            FailureKind.AUTHENTICATION,
            "API key expired. Please renew the API key.",
        ),
    ),
    codes=MappingProxyType(
        {
            "quota_per_day": FailureKind.QUOTA_EXHAUSTED,
            "billing_disabled": FailureKind.QUOTA_EXHAUSTED,
            "api_key_invalid": FailureKind.AUTHENTICATION,
            "access_token_expired": FailureKind.AUTHENTICATION,
            "credentials_missing": FailureKind.AUTHENTICATION,
            "unauthenticated": FailureKind.AUTHENTICATION,
            "service_disabled": FailureKind.PERMISSION_DENIED,
            "consumer_suspended": FailureKind.PERMISSION_DENIED,
            "api_key_service_blocked": FailureKind.PERMISSION_DENIED,
            "permission_denied": FailureKind.PERMISSION_DENIED,
            "resource_exhausted": FailureKind.RATE_LIMITED,
            "not_found": FailureKind.MODEL_NOT_FOUND,
            "unavailable": FailureKind.OVERLOADED,
            "deadline_exceeded": FailureKind.OVERLOADED,
            "internal": FailureKind.SERVER_ERROR,
        }
    ),
)

_MISTRAL = VendorRules(
    messages=(
        message_rule(
            r"service tier capacity exceeded",
            {400, 429, 503},
            FailureKind.OVERLOADED,
            # Mistral's own room, not the caller's limit, although it comes as a 429.
            "Service tier capacity exceeded for this model.",
        ),
        message_rule(
            r"too large for model with \d+ maximum context length",
            {400, 422},
            FailureKind.CONTEXT_LENGTH,
            "Prompt contains 300000 tokens, too large for model with 131072 maximum context length",
        ),
    ),
    codes=MappingProxyType(
        {
            "3505": FailureKind.OVERLOADED,
            "service_tier_capacity_exceeded": FailureKind.OVERLOADED,
            "1300": FailureKind.RATE_LIMITED,
            "rate_limited": FailureKind.RATE_LIMITED,
            "1500": FailureKind.MODEL_NOT_FOUND,
            "invalid_model": FailureKind.MODEL_NOT_FOUND,
        }
    ),
)

_GROQ = VendorRules(
    messages=(
        _TOO_LARGE_AT_ONCE,
        message_rule(
            r"over capacity", {429, 498, 500, 503}, FailureKind.OVERLOADED, "llama-3.3-70b is currently over capacity."
        ),
    ),
    codes=MappingProxyType(
        {
            "blocked_api_access": FailureKind.QUOTA_EXHAUSTED,
            "spend_limit_reached": FailureKind.QUOTA_EXHAUSTED,
            "model_decommissioned": FailureKind.MODEL_NOT_FOUND,
            "model_terms_required": FailureKind.PERMISSION_DENIED,
            "organization_restricted": FailureKind.PERMISSION_DENIED,
            # The model wrote what Groq could not parse: another may do better, and neither caller nor Groq is at fault.
            "tool_use_failed": FailureKind.UNKNOWN,
            "json_validate_failed": FailureKind.UNKNOWN,
        }
    ),
)

_CEREBRAS = VendorRules(
    codes=MappingProxyType(
        {
            "queue_exceeded": FailureKind.OVERLOADED,
            "request_quota_exceeded": FailureKind.RATE_LIMITED,
            "token_quota_exceeded": FailureKind.RATE_LIMITED,
            "wrong_api_key": FailureKind.AUTHENTICATION,
        }
    ),
    messages=(
        message_rule(r"high traffic", {429, 503}, FailureKind.OVERLOADED, "We're experiencing high traffic right now!"),
    ),
)

_XAI = VendorRules(
    messages=(
        message_rule(
            r"incorrect api key|api key is (?:currently )?(?:blocked|disabled)",
            {400, 401, 403},
            FailureKind.AUTHENTICATION,
            "Incorrect API key provided: sk***gA. You can obtain an API key from https://console.x.ai.",
        ),
        message_rule(
            r"used all available credits|spending limit|(?:any|no) credits or licenses",
            {400, 402, 403, 429},
            FailureKind.QUOTA_EXHAUSTED,
            "Your newly created team doesn't have any credits or licenses yet.",
        ),
        message_rule(
            r"violates usage guidelines|safety_check_type",
            {400, 403},
            FailureKind.CONTENT_FILTERED,
            "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_DATA_LEAKAGE",
        ),
        message_rule(
            r"maximum prompt length is \d+",
            {400, 413},
            FailureKind.CONTEXT_LENGTH,
            "This model's maximum prompt length is 131072 but the request contains 136973 tokens.",
        ),
        message_rule(
            r"model .{1,80} does not exist",
            {400, 403, 404},
            FailureKind.MODEL_NOT_FOUND,
            "The model grok-beta does not exist or your team 0 does not have access to it.",
        ),
    ),
)

_KIMI = VendorRules(
    messages=(
        message_rule(
            r"input token length too long|exceeded model token limit",
            {400, 413},
            FailureKind.CONTEXT_LENGTH,
            "Input token length too long",
        ),
        message_rule(
            r"considered high risk",
            {400, 403},
            FailureKind.CONTENT_FILTERED,
            "The request was rejected because it was considered high risk",
        ),
    ),
    codes=MappingProxyType(
        {
            "incorrect_api_key_error": FailureKind.AUTHENTICATION,
            "permission_denied_error": FailureKind.PERMISSION_DENIED,
            "resource_not_found_error": FailureKind.MODEL_NOT_FOUND,
            "unexpected_output": FailureKind.SERVER_ERROR,
        }
    ),
)

_MINIMAX_NUMBERS: Mapping[str, FailureKind] = MappingProxyType(
    {
        "1000": FailureKind.SERVER_ERROR,
        "1001": FailureKind.SERVER_ERROR,
        "1002": FailureKind.RATE_LIMITED,
        "1004": FailureKind.AUTHENTICATION,
        "1008": FailureKind.QUOTA_EXHAUSTED,
        "1013": FailureKind.SERVER_ERROR,
        "1024": FailureKind.SERVER_ERROR,
        "1026": FailureKind.CONTENT_FILTERED,
        "1027": FailureKind.CONTENT_FILTERED,
        "1028": FailureKind.QUOTA_EXHAUSTED,
        "1030": FailureKind.QUOTA_EXHAUSTED,
        "1033": FailureKind.SERVER_ERROR,
        # MiniMax's documentation and its own client contradict each other here, so words decide first.
        "1039": FailureKind.CONTENT_FILTERED,
        "1041": FailureKind.RATE_LIMITED,
        "2013": FailureKind.INVALID_REQUEST,
        "2045": FailureKind.RATE_LIMITED,
        "2049": FailureKind.AUTHENTICATION,
        "2056": FailureKind.QUOTA_EXHAUSTED,
        "2061": FailureKind.QUOTA_EXHAUSTED,
    }
)

_MINIMAX = VendorRules(
    messages=(
        message_rule(
            r"context window exceeds limit|context length exceed",
            ANY_STATUS,
            FailureKind.CONTEXT_LENGTH,
            "invalid params, context window exceeds limit (2013)",
        ),
        message_rule(r"sensitive", ANY_STATUS, FailureKind.CONTENT_FILTERED, "input new_sensitive (1026)"),
        message_rule(
            r"insufficient.{0,10}balance|usage limit exceeded|token plan",
            ANY_STATUS,
            FailureKind.QUOTA_EXHAUSTED,
            # Also sent as HTTP 500 of the type api_error.
            "insufficient balance (1008)",
        ),
        message_rule(
            r"invalid api key|not authorized|login fail",
            ANY_STATUS,
            FailureKind.AUTHENTICATION,
            "login fail: Please carry the API secret key in the 'Authorization' field",
        ),
        message_rule(
            r"rate limit|\brpm\b|\btpm\b|token limit|conn limit|rate growth",
            ANY_STATUS,
            FailureKind.RATE_LIMITED,
            "rate limit exceeded(RPM)",
        ),
    ),
    codes=MappingProxyType({**_MINIMAX_NUMBERS, "insufficient_balance_error": FailureKind.QUOTA_EXHAUSTED}),
)

_OLLAMA = VendorRules(
    messages=(
        message_rule(
            r"(?:hourly|session|daily|weekly|monthly) usage limit",
            {402, 403, 429},
            FailureKind.QUOTA_EXHAUSTED,
            "you've reached your hourly usage limit, please wait or upgrade to continue",
        ),
        message_rule(
            r"maximum pending requests|server overloaded",
            {429, 500, 503},
            FailureKind.OVERLOADED,
            "server busy, please try again.  maximum pending requests exceeded",
        ),
        message_rule(
            r"exceeded (?:max )?context length|exceeds the (?:available )?context (?:length|size)",
            {400, 413, 500},
            FailureKind.CONTEXT_LENGTH,
            "prompt too long; exceeded max context length by 4096 tokens",
        ),
    ),
)

_OPENROUTER = VendorRules(
    messages=(
        message_rule(
            r"requires more credits|insufficient credits|prompt tokens limit exceeded|key limit exceeded",
            {402, 403},
            FailureKind.QUOTA_EXHAUSTED,
            "This request requires more credits, or fewer max_tokens.",
        ),
        message_rule(
            r"temporarily rate-limited upstream",
            {429, 503},
            FailureKind.RATE_LIMITED,
            "x is temporarily rate-limited upstream.",
        ),
    ),
    codes=MappingProxyType(
        {
            "flagged_input": FailureKind.CONTENT_FILTERED,
            # A 402 that passes: what runs at this moment may use up the credit.
            "openrouter_in_flight_budget": FailureKind.RATE_LIMITED,
            "provider_unavailable": FailureKind.SERVER_ERROR,
            "provider_overloaded": FailureKind.OVERLOADED,
            "payment_required": FailureKind.QUOTA_EXHAUSTED,
            "token_limit_exceeded": FailureKind.QUOTA_EXHAUSTED,
        }
    ),
)

BY_VENDOR: Mapping[str, VendorRules] = MappingProxyType(
    {
        "openai": _OPENAI,
        "anthropic": _ANTHROPIC,
        "google": _GOOGLE,
        "mistral": _MISTRAL,
        "groq": _GROQ,
        "cerebras": _CEREBRAS,
        "xai": _XAI,
        "kimi": _KIMI,
        "minimax": _MINIMAX,
        "ollama": _OLLAMA,
        "openrouter": _OPENROUTER,
    }
)
"""By `Dialect.vendor`."""

NO_RULES = VendorRules()
