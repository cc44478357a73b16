"""How all wires tell failures apart: by code, message and status, in answers and in the middle of streams."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.wire.conftest import KEY, Bench
from tests.wire.dialect_speakers import DialectSpeaker
from tests.wire.scripted_server import Close, Hang, Head, Reset, json_answer
from tests.wire.speakers import user
from turnout_server.core.chat import ChatInput, TextDelta
from turnout_server.core.model import FailureKind, RateLimitBucket
from turnout_server.ports import UpstreamError


async def refused(
    bench: Bench,
    status: int,
    kind: str = "",
    message: str = "",
    headers: tuple[tuple[str, str], ...] = (),
) -> UpstreamError:
    return await bench.failing_stream(
        json_answer(bench.speaker.error_body(kind, message), status=status, headers=headers)
    )


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, FailureKind.INVALID_REQUEST),
        (401, FailureKind.AUTHENTICATION),
        (402, FailureKind.QUOTA_EXHAUSTED),
        (403, FailureKind.PERMISSION_DENIED),
        (404, FailureKind.MODEL_NOT_FOUND),
        (408, FailureKind.TIMEOUT),
        (409, FailureKind.UNKNOWN),
        (413, FailureKind.CONTEXT_LENGTH),
        (422, FailureKind.INVALID_REQUEST),
        (429, FailureKind.RATE_LIMITED),
        (500, FailureKind.SERVER_ERROR),
        (502, FailureKind.SERVER_ERROR),
        (503, FailureKind.OVERLOADED),
        (529, FailureKind.OVERLOADED),
        (302, FailureKind.PROTOCOL),
        (204, FailureKind.PROTOCOL),
    ],
)
async def test_status_alone_decides_where_nothing_else_does(bench: Bench, status: int, expected: FailureKind) -> None:
    error = await bench.failing_stream([Head(status, (("content-type", "text/plain"),), 0)])

    assert (expected, status) == (error.kind, error.http_status)


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (429, "insufficient_quota", FailureKind.QUOTA_EXHAUSTED),
        (429, "slow_down", FailureKind.OVERLOADED),
        (429, "rate_limit_error", FailureKind.RATE_LIMITED),
        (400, "context_length_exceeded", FailureKind.CONTEXT_LENGTH),
        (400, "content_policy_violation", FailureKind.CONTENT_FILTERED),
        (500, "overloaded_error", FailureKind.OVERLOADED),
        (400, "invalid_api_key", FailureKind.AUTHENTICATION),
    ],
)
async def test_code_decides_over_status(bench: Bench, status: int, kind: str, expected: FailureKind) -> None:
    if not bench.speaker.error_codes:
        pytest.skip("this vendor's errors have no codes")

    assert expected is (await refused(bench, status, kind)).kind


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (400, "prompt is too long: 210001 tokens > 200000 maximum", FailureKind.CONTEXT_LENGTH),
        (400, "Your credit balance is too low to access the API.", FailureKind.QUOTA_EXHAUSTED),
        (400, "Incorrect API key provided: xai-abc", FailureKind.AUTHENTICATION),
        (400, "Output blocked by content filtering policy", FailureKind.CONTENT_FILTERED),
        (429, "We're experiencing high traffic right now", FailureKind.OVERLOADED),
        (429, "something never heard of", FailureKind.RATE_LIMITED),
        (400, "temperature: must be at most 1", FailureKind.INVALID_REQUEST),
    ],
)
async def test_message_decides_where_the_code_is_too_general(
    bench: Bench, status: int, message: str, expected: FailureKind
) -> None:
    assert expected is (await refused(bench, status, "invalid_request_error", message)).kind


@pytest.mark.parametrize(
    ("status", "billed"),
    [(400, False), (401, False), (429, False), (503, False), (529, False), (500, True), (502, True)],
)
async def test_only_what_may_have_been_worked_on_may_be_billed(bench: Bench, status: int, *, billed: bool) -> None:
    error = await bench.failing_stream([Head(status, (), 0)])

    assert billed is error.possibly_billed


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (("retry-after", "7"), 7.0),
        (("retry-after", "0.5"), 0.5),
        (("retry-after-ms", "250"), 0.25),
        (("Retry-After", "99999"), 3600.0),
        (("retry-after", "-5"), None),
        (("retry-after", "soon"), None),
    ],
)
async def test_wait_that_the_provider_asks_for_is_passed_on(
    bench: Bench, header: tuple[str, str], seconds: float | None
) -> None:
    assert seconds == (await refused(bench, 429, headers=(header,))).retry_after_seconds


async def test_rate_limit_headers_come_with_the_refusal_and_with_the_head(bench: Bench) -> None:
    headers = (
        ("x-ratelimit-limit-requests", "100"),
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "6m0s"),
    )
    expected = RateLimitBucket(limit=100, remaining=0, reset_seconds=360.0)

    error = await refused(bench, 429, headers=headers)
    await bench.complete(json_answer(bench.speaker.whole_text("x"), headers=headers))

    assert error.rate_limit is not None
    assert expected == error.rate_limit.requests
    assert bench.head.rate_limit is not None
    assert expected == bench.head.rate_limit.requests


async def test_vendors_hint_turns_an_unexplained_refusal_into_a_passing_fault(bench: Bench) -> None:
    error = await bench.failing_stream([Head(409, (("x-should-retry", "true"),), 0)])

    assert FailureKind.SERVER_ERROR is error.kind


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("overloaded_error", FailureKind.OVERLOADED),
        ("api_error", FailureKind.SERVER_ERROR),
        ("rate_limit_error", FailureKind.RATE_LIMITED),
        ("server_error", FailureKind.SERVER_ERROR),
        ("never_heard_of", FailureKind.SERVER_ERROR),
    ],
)
async def test_error_event_inside_a_200_is_a_failure_of_its_kind(
    bench: Bench, kind: str, expected: FailureKind
) -> None:
    if not bench.speaker.error_codes and expected is not FailureKind.SERVER_ERROR:
        pytest.skip("this vendor's errors have no codes")

    error = await bench.failing_stream([Head(), bench.speaker.error_event(kind)])

    assert expected is error.kind
    assert error.possibly_billed


async def test_content_before_an_error_event_in_the_same_read_is_given_out_first(bench: Bench) -> None:
    both = b"".join(bench.speaker.cut_before_end(["Hello"])) + bench.speaker.error_event("overloaded_error")

    error = await bench.failing_stream([Head(), both])

    assert FailureKind.OVERLOADED is error.kind
    assert ["Hello"] == [event.text for event in bench.events if isinstance(event, TextDelta)]


async def test_error_without_a_body_in_time_is_classified_by_its_status(bench: Bench) -> None:
    if isinstance(bench.speaker, DialectSpeaker):
        pytest.skip("takes two seconds, and a dialect changes nothing")

    error = await bench.failing_stream([Head(503, (("content-type", "application/json"),), 100), Hang()])

    assert FailureKind.OVERLOADED is error.kind


@pytest.mark.parametrize("end", [Close(), Reset()])
async def test_connection_lost_before_the_head_is_a_connection_failure(bench: Bench, end: Close | Reset) -> None:
    error = await bench.failing_stream([end])

    assert FailureKind.CONNECTION is error.kind
    assert error.possibly_billed


async def test_refused_connection_cannot_have_been_billed(bench: Bench) -> None:
    port = bench.server.port + 1 if bench.server.port < 65000 else bench.server.port - 1
    call = replace(bench.call, spec=replace(bench.call.spec, base_url=f"http://127.0.0.1:{port}"))

    with pytest.raises(UpstreamError) as caught:
        await bench.upstream.complete(call)

    assert FailureKind.CONNECTION is caught.value.kind
    assert not caught.value.possibly_billed


async def test_host_that_does_not_resolve_is_a_connection_failure(bench: Bench) -> None:
    call = replace(bench.call, spec=replace(bench.call.spec, base_url="http://no-such-host.invalid"))

    with pytest.raises(UpstreamError) as caught:
        await bench.upstream.complete(call)

    assert FailureKind.CONNECTION is caught.value.kind
    assert not caught.value.possibly_billed


async def test_key_and_prompt_never_stand_in_an_error(bench: Bench) -> None:
    chat = ChatInput(messages=(user("The code word is swordfish on the seventh hill"),))
    message = f"Bad key {KEY} in: The code word is swordfish on the seventh hill; max_tokens must be positive"

    error = await bench.failing_stream(
        json_answer(bench.speaker.error_body("invalid_request_error", message), status=400), chat
    )

    assert "max_tokens must be positive" in error.detail
    assert KEY not in str(error)
    assert "swordfish" not in str(error)


async def test_missing_secret_is_an_authentication_failure_without_a_call(bench: Bench) -> None:
    with pytest.raises(UpstreamError) as caught:
        await bench.upstream.complete(replace(bench.call, credential="other"))

    assert FailureKind.AUTHENTICATION is caught.value.kind
    assert not caught.value.possibly_billed
    assert [] == bench.server.requests


async def test_redirect_is_not_followed(bench: Bench) -> None:
    error = await bench.failing_stream([Head(307, (("location", f"{bench.server.url}/elsewhere"),), 0)])
    await asyncio.sleep(0)

    assert FailureKind.PROTOCOL is error.kind
    assert 1 == len(bench.server.requests)
