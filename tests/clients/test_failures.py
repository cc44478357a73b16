"""The failure kind that an application's exception tells of, over the exceptions people really get."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Mapping
from http import HTTPStatus

import aiohttp
import anthropic
import httpx
import httpx2
import openai
import pytest

from turnout.failures import KINDS_BY_CODE, KINDS_BY_PHRASE, Failure, classify
from turnout.v1 import router_pb2 as pb
from turnout_server.providers.classify import classify as sidecars_classify

URL = "https://provider.example/v1"
REQUEST = httpx2.Request("POST", URL)
NOW = 1_700_000_000.0


def kind_of(error: BaseException) -> str:
    return pb.FailureKind.Name(classify(error, now_wall=NOW).kind).removeprefix("FAILURE_KIND_")


def response(status: int, headers: Mapping[str, str] | None = None) -> httpx2.Response:
    return httpx2.Response(status, headers=dict(headers or {}), request=REQUEST)


def from_openai(status: int, body: object = None, headers: Mapping[str, str] | None = None) -> openai.APIStatusError:
    return openai.APIStatusError("refused", response=response(status, headers), body=body)


def from_anthropic(status: int, body: object = None, message: str = "refused") -> anthropic.APIStatusError:
    return anthropic.APIStatusError(message, response=response(status), body=body)


class BareStatusError(Exception):
    def __init__(self, status_code: object) -> None:
        super().__init__("refused")
        self.status_code = status_code


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "INVALID_REQUEST"),
        (401, "AUTHENTICATION"),
        (402, "QUOTA_EXHAUSTED"),
        (403, "PERMISSION_DENIED"),
        (404, "MODEL_NOT_FOUND"),
        (408, "TIMEOUT"),
        (413, "CONTEXT_LENGTH"),
        (422, "INVALID_REQUEST"),
        (429, "RATE_LIMITED"),
        (500, "SERVER_ERROR"),
        (502, "SERVER_ERROR"),
        (503, "OVERLOADED"),
        (504, "SERVER_ERROR"),
        (409, "UNKNOWN"),
        (529, "OVERLOADED"),
    ],
)
def test_status_code_tells_the_kind(status: int, kind: str) -> None:
    request = httpx.Request("POST", URL)
    raised = httpx.HTTPStatusError("refused", request=request, response=httpx.Response(status, request=request))

    assert kind_of(from_openai(status)) == kind
    assert kind_of(from_anthropic(status)) == kind
    assert kind_of(raised) == kind
    assert kind_of(BareStatusError(status)) == kind


def test_the_status_is_reported() -> None:
    assert classify(from_openai(500), now_wall=NOW).http_status == 500


@pytest.mark.parametrize("value", [200, 0, 999, "500", None])
def test_what_is_no_error_status_is_not_taken_for_one(value: object) -> None:
    assert classify(BareStatusError(value), now_wall=NOW) == Failure(kind=pb.FAILURE_KIND_UNKNOWN)


def test_the_providers_code_says_more_than_the_status() -> None:
    assert kind_of(from_openai(429, {"code": "insufficient_quota", "type": "insufficient_quota"})) == "QUOTA_EXHAUSTED"
    assert kind_of(from_openai(400, {"code": "context_length_exceeded"})) == "CONTEXT_LENGTH"
    assert kind_of(from_anthropic(529, {"type": "error", "error": {"type": "overloaded_error"}})) == "OVERLOADED"
    assert kind_of(from_anthropic(402, {"type": "error", "error": {"type": "billing_error"}})) == "QUOTA_EXHAUSTED"


def test_where_a_provider_gives_only_its_message_that_is_read() -> None:
    too_long = from_anthropic(400, message="prompt is too long: 210000 tokens > 200000 maximum")

    assert kind_of(too_long) == "CONTEXT_LENGTH"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), "TIMEOUT"),
        (ConnectionResetError(), "CONNECTION"),
        (BrokenPipeError(), "CONNECTION"),
        (socket.gaierror(), "CONNECTION"),
        (ssl.SSLError(), "CONNECTION"),
        (httpx.ReadTimeout("slow"), "TIMEOUT"),
        (httpx.ConnectError("refused"), "CONNECTION"),
        (httpx.RemoteProtocolError("cut"), "CONNECTION"),
        (httpx2.ReadTimeout("slow"), "TIMEOUT"),
        (httpx2.ConnectError("refused"), "CONNECTION"),
        (aiohttp.ClientPayloadError("cut"), "TRUNCATED"),
        (aiohttp.ServerDisconnectedError(), "CONNECTION"),
        (aiohttp.ServerTimeoutError(), "TIMEOUT"),
        (openai.APITimeoutError(REQUEST), "TIMEOUT"),
        (openai.APIConnectionError(request=REQUEST), "CONNECTION"),
        (anthropic.APITimeoutError(REQUEST), "TIMEOUT"),
        (anthropic.APIConnectionError(request=REQUEST), "CONNECTION"),
        (asyncio.CancelledError(), "CANCELLED"),
        (KeyboardInterrupt(), "CANCELLED"),
        (GeneratorExit(), "CANCELLED"),
        (KeyError("choices"), "UNKNOWN"),
        (json.JSONDecodeError("bad", "", 0), "UNKNOWN"),
    ],
    ids=lambda value: f"{type(value).__module__}.{type(value).__name__}" if isinstance(value, BaseException) else value,
)
def test_exceptions_without_a_status_are_told_by_their_type(error: BaseException, kind: str) -> None:
    assert kind_of(error) == kind


def test_a_wrapped_exception_is_told_by_its_cause() -> None:
    wrapped = RuntimeError("my own")
    wrapped.__cause__ = httpx.ReadTimeout("slow")

    assert kind_of(wrapped) == "TIMEOUT"


def test_a_context_that_was_suppressed_tells_nothing() -> None:
    error = RuntimeError("my own")
    error.__context__ = ConnectionResetError()
    error.__suppress_context__ = True

    assert kind_of(error) == "UNKNOWN"


def test_a_ring_of_causes_ends() -> None:
    error, other = RuntimeError("a"), RuntimeError("b")
    error.__cause__, other.__cause__ = other, error

    assert kind_of(error) == "UNKNOWN"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30),
        ({"retry-after": "999999"}, 3600),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "Tue, 14 Nov 2000 22:13:50 GMT"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: Mapping[str, str], seconds: float | None) -> None:
    assert classify(from_openai(429, headers=headers), now_wall=NOW).retry_after_seconds == seconds


@pytest.mark.parametrize("status", range(400, 600))
def test_the_sidecar_takes_a_status_for_the_same_kind(status: int) -> None:
    assert kind_of(BareStatusError(status)) == sidecars_classify(status, (), "").value


@pytest.mark.parametrize("code", KINDS_BY_CODE)
def test_the_sidecar_takes_a_code_for_the_same_kind(code: str) -> None:
    assert kind_of(from_openai(400, {"code": code})) == sidecars_classify(400, (code,), "").value


@pytest.mark.parametrize("phrase", KINDS_BY_PHRASE)
def test_the_sidecar_takes_a_phrase_for_the_same_kind(phrase: str) -> None:
    assert kind_of(from_anthropic(400, message=phrase)) == sidecars_classify(400, (), phrase).value


class GoogleError(Exception):
    """As google-genai's over aiohttp, and google.api_core's: a number in `code`, a word in `status`."""

    def __init__(self, code: int) -> None:
        super().__init__("refused")
        self.code = code
        self.status = "UNAVAILABLE"


@pytest.mark.parametrize("code", [503, HTTPStatus.SERVICE_UNAVAILABLE], ids=["number", "enum"])
def test_a_status_in_code_counts(code: int) -> None:
    assert classify(GoogleError(code), now_wall=NOW) == Failure(kind=pb.FAILURE_KIND_OVERLOADED, http_status=503)
    assert kind_of(GoogleError(14)) == "UNKNOWN"


async def test_what_a_task_group_raises_is_told_from_its_members() -> None:
    async def fail() -> None:
        raise from_openai(529)

    async def go_on() -> None:
        await asyncio.Event().wait()

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(go_on())
            group.create_task(fail())

    with pytest.raises(ExceptionGroup) as raised:
        await both()
    assert classify(raised.value, now_wall=NOW) == Failure(kind=pb.FAILURE_KIND_OVERLOADED, http_status=529)
    assert kind_of(ExceptionGroup("mine", [KeyError("a mistake")])) == "UNKNOWN"
