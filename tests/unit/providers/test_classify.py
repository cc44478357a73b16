from __future__ import annotations

import pytest

from turnout_server.core.model import FailureKind
from turnout_server.providers.classify import BY_CODE, BY_MESSAGE, MessageRule, classify
from turnout_server.providers.failures import failure, parse_error, read_error


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
        (b'{"object":"error","message":"m","type":"t","code":"3051"}', ("t",), "m"),
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
