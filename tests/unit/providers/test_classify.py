from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.core.chat import ChatInput, Message, Part, Role, Text
from turnout_server.core.model import FailureKind, RateLimitBucket, RateLimitReading
from turnout_server.providers.classify import BY_CODE, BY_MESSAGE, classify
from turnout_server.providers.failures import failure, hidden_error, parse_error, read_error
from turnout_server.providers.vendor_failures import BY_VENDOR, MessageRule


@pytest.mark.parametrize("rule", BY_MESSAGE, ids=lambda rule: rule.example[:30])
def test_every_message_rule_decides_its_own_example(rule: MessageRule) -> None:
    assert all(rule.kind is classify(status, (), rule.example) for status in rule.statuses)


@pytest.mark.parametrize("code", BY_CODE)
def test_codes_are_known_in_lower_case(code: str) -> None:
    assert code == code.lower()


def test_message_rules_hold_for_their_statuses_only() -> None:
    assert FailureKind.SERVER_ERROR is classify(500, (), "maximum context length")


@pytest.mark.parametrize(
    ("body", "codes", "message"),
    [
        (b'{"error":{"message":"m","type":"t","code":"c"}}', ("c", "t"), "m"),
        (b'{"error":{"message":"m","type":"t","code":null}}', ("t",), "m"),
        (b'{"type":"error","error":{"type":"t","message":"m"}}', ("t",), "m"),
        (b'{"object":"error","message":"m","type":"t","code":"3051"}', ("3051", "t"), "m"),
        (b'{"code":"c","error":"m"}', ("c",), "m"),
        (b'{"detail":"m"}', (), "m"),
        (b'{"error":"m"}', (), "m"),
        (b'[{"error":{"message":"m","code":429}}]', (), "m"),
        (b"<html>", (), ""),
        (b"", (), ""),
        (b'{"error":{"message":["x"],"code":"a b"}}', (), ""),
    ],
)
def test_error_bodies_of_every_shape_are_read(body: bytes, codes: tuple[str, ...], message: str) -> None:
    error = parse_error(body)

    assert (codes, message) == (error.codes, error.message)


def test_status_inside_an_error_event_counts() -> None:
    error = failure(200, read_error({"error": {"code": 429, "message": "x"}}), chat=None, in_stream=True)

    assert FailureKind.RATE_LIMITED is error.kind


def test_detail_says_status_code_field_and_words() -> None:
    body = parse_error(b'{"error":{"message":"must be positive","code":"invalid_value","param":"max_tokens"}}')

    assert "HTTP 400 (invalid_value) at max_tokens: must be positive" == failure(400, body, chat=None).detail


def test_message_about_a_key_is_not_shown() -> None:
    body = parse_error(b'{"error":{"message":"Incorrect API key provided: abcdef","code":"invalid_api_key"}}')

    assert "HTTP 401 (invalid_api_key)" == failure(401, body, chat=None).detail


VENDOR_RULES = [(vendor, rule) for vendor, rules in BY_VENDOR.items() for rule in rules.messages]


@pytest.mark.parametrize(("vendor", "rule"), VENDOR_RULES, ids=[f"{v}-{r.example[:30]}" for v, r in VENDOR_RULES])
def test_every_rule_of_a_vendor_decides_its_own_example(vendor: str, rule: MessageRule) -> None:
    assert all(rule.kind is classify(status, (), rule.example, vendor=vendor) for status in rule.statuses)
    assert rule.kind is classify(None, (), rule.example, vendor=vendor)


@pytest.mark.parametrize("vendor", BY_VENDOR)
def test_codes_of_vendors_are_known_in_lower_case(vendor: str) -> None:
    assert all(code == code.lower() for code in BY_VENDOR[vendor].codes)


def test_rules_of_one_vendor_do_not_hold_for_another() -> None:
    assert FailureKind.OVERLOADED is classify(429, ("3505",), "", vendor="mistral")
    assert FailureKind.RATE_LIMITED is classify(429, ("3505",), "", vendor="openai")


def test_general_code_yields_to_words_and_to_a_status_of_overload() -> None:
    assert FailureKind.OVERLOADED is classify(503, ("server_error",), "")
    assert FailureKind.CONTEXT_LENGTH is classify(400, ("api_error",), "maximum context length is 8")
    assert FailureKind.SERVER_ERROR is classify(400, ("api_error",), "unexpected server status: 1")


@pytest.mark.parametrize(
    ("value", "codes", "message"),
    [
        ({"error": {"message": "m", "code": "c"}}, ("c",), "m"),
        ({"error": "m", "code": "c"}, ("c",), "m"),
        ({"choices": [{"delta": {"content": "x"}}], "error": {"message": "m"}}, (), "m"),
        ({"choices": [], "x_groq": {"error": "m"}}, (), "m"),
        ({"choices": [{"error": {"message": "m"}}]}, (), "m"),
        ({"object": "error", "message": "m", "type": "t"}, ("t",), "m"),
        ({"type": "error", "message": "m"}, (), "m"),
        ({"detail": "m"}, (), "m"),
        ({"base_resp": {"status_code": 1002, "status_msg": "m"}}, ("1002",), "m"),
        ({"base_resp": {"status_code": -1, "status_msg": None}}, ("1",), ""),
    ],
)
def test_error_hidden_in_an_answer_is_found(value: object, codes: tuple[str, ...], message: str) -> None:
    error = hidden_error(value, "minimax")

    assert error is not None
    assert (codes, message) == (error.codes if codes else (), error.message)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "error",
        {},
        {"error": None},
        {"error": ""},
        {"choices": []},
        {"choices": [None]},
        {"choices": 1},
        {"choices": [{"delta": {"content": "error"}, "finish_reason": "stop"}]},
        {"choices": [], "detail": "m"},
        {"base_resp": {"status_code": 0, "status_msg": "success"}},
        {"base_resp": None},
        {"base_resp": {"status_code": "x"}},
        {"x_groq": {"id": "1"}, "choices": []},
        {"x_groq": "y", "choices": []},
        {"object": "chat.completion.chunk", "choices": []},
    ],
)
def test_no_error_is_seen_where_there_is_none(value: object) -> None:
    assert hidden_error(value) is None


MEANINGFUL_KEYS = re.findall(
    r"\w+",
    "error message code type detail details metadata headers raw retryDelay violations quotaId base_resp "
    "status_code status choices finish_reason x_groq param innererror",
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([*MEANINGFUL_KEYS, "x"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(JSON, st.sampled_from(["", *BY_VENDOR]), st.integers(200, 599))
def test_nothing_a_provider_may_send_breaks_the_reading(value: object, vendor: str, status: int) -> None:
    hidden = hidden_error(value, vendor)
    for error in (read_error(value), hidden):
        if error is None:
            continue
        made = failure(status, error, chat=None, vendor=vendor, in_stream=error is hidden)

        assert len(made.detail) < 500
        assert made.retry_after_seconds is None or 0 <= made.retry_after_seconds <= 3600


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Please try again in 18.642s. Visit", 18.642),
        ("Please try again in 9m38.016s.", 578.016),
        ("Please try again in 120ms.", 0.12),
        ("please try again after 1 seconds", 1.0),
        ("Please retry in 20.04466179s.", 20.04466179),
        ("try again in 5h", 3600.0),
        ("try again later", None),
        ("try again in a while", None),
    ],
)
def test_wait_that_stands_in_the_words_is_read(message: str, seconds: float | None) -> None:
    error = failure(429, read_error({"error": {"message": message}}), chat=None)

    assert seconds == error.retry_after_seconds


def test_wait_of_the_headers_goes_before_that_of_the_words() -> None:
    body = read_error({"error": {"message": "try again in 9s"}})

    assert 2.0 == failure(429, body, chat=None, retry_after_seconds=2.0).retry_after_seconds


def test_wait_in_the_words_is_not_for_a_quota() -> None:
    body = read_error({"error": {"message": "try again in 9s", "code": "insufficient_quota"}})

    assert failure(429, body, chat=None).retry_after_seconds is None


@pytest.mark.parametrize("status", [400, 422])
def test_words_of_the_prompt_in_a_refusal_cost_no_credential(status: int) -> None:
    words = "Your credit balance is too low"
    chat = ChatInput(messages=(Message(role=Role.USER, parts=(Part(content=Text(text=words)),)),))
    quoting = read_error({"error": {"message": f"cannot parse '{words}'"}})
    meaning = read_error({"error": {"message": f"{words} to access the API."}})

    assert FailureKind.INVALID_REQUEST is failure(status, quoting, chat=chat).kind
    assert FailureKind.QUOTA_EXHAUSTED is failure(400, meaning, chat=None).kind


def test_limit_of_nothing_is_a_quota_and_not_a_rate() -> None:
    reading = RateLimitReading(requests=RateLimitBucket(limit=0, remaining=0, reset_seconds=None))
    body = parse_error(b"{}")

    assert FailureKind.QUOTA_EXHAUSTED is failure(429, body, chat=None, rate_limit=reading).kind
