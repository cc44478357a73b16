"""Headers of the operator's own: what may stand in their file, what goes before what, and a file that changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.egress.calling import answers, egress
from tests.egress.test_certificates import Clock
from tests.wire.scripted_server import ScriptedServer
from turnout_server.core.model import FailureKind
from turnout_server.providers.header_files import HeaderFileError, parse_headers

PLANTED = "planted-value-0123456789"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"x: 1\nno colon {PLANTED}", "line 2 of FILE is not a header: write Name: value, in ASCII characters"),
        (f"\n# note\nbad name: {PLANTED}", "line 3 of FILE is not a header: write Name: value, in ASCII characters"),
        (f"x: {PLANTED}\x01", "line 1 of FILE is not a header: write Name: value, in ASCII characters"),
        (f": {PLANTED}", "line 1 of FILE is not a header: write Name: value, in ASCII characters"),
        (f"x: {PLANTED}\xe9", "line 1 of FILE is not a header: write Name: value, in ASCII characters"),
        (f"Host: {PLANTED}", "line 1 of FILE sets host, which is not for the operator to set: remove the line"),
        (
            f"Transfer-Encoding: {PLANTED}",
            "line 1 of FILE sets transfer-encoding, which is not for the operator to set: remove the line",
        ),
        (
            f"anthropic-version: {PLANTED}",
            "line 1 of FILE sets anthropic-version, which is not for the operator to set: remove the line",
        ),
        (
            f"Proxy-Authorization: {PLANTED}",
            "line 1 of FILE sets proxy-authorization: a proxy's user and password stand in proxy_url",
        ),
        (f"x: 1\nX: {PLANTED}", "line 2 of FILE sets x a second time: remove one of the lines"),
    ],
)
def test_wrong_line_is_named_by_its_number_and_never_with_its_value(text: str, expected: str) -> None:
    with pytest.raises(HeaderFileError) as caught:
        parse_headers(text, "FILE")

    assert expected == str(caught.value)


async def test_changed_headers_are_sent_with_the_next_call(server: ScriptedServer, tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "headers"
    path.write_text("X-Team: routing\nx-colour: red: or blue")
    answers(server, 2)
    async with egress(headers_from_file=str(path), clock=clock) as out:
        await out.call(server.url)
        path.write_text("X-Team: billing-and-more\n")
        clock.pass_by()
        await out.call(server.url)

    first, second = (request.headers for request in server.requests)
    assert (first["x-team"], first["x-colour"]) == ("routing", "red: or blue")
    assert second["x-team"] == "billing-and-more"
    assert "x-colour" not in second


@pytest.mark.parametrize("replacement", [f"Content-Length: 3\nx: {PLANTED}", None])
async def test_file_that_becomes_wrong_leaves_the_headers_in_use_and_is_told_once(
    server: ScriptedServer, tmp_path: Path, replacement: str | None
) -> None:
    clock, path = Clock(), tmp_path / "headers"
    path.write_text("X-Team: routing")
    answers(server, 3)
    async with egress(headers_from_file=str(path), clock=clock) as out:
        await out.call(server.url)
        if replacement is None:
            path.unlink()
        else:
            path.write_text(replacement)
        for _ in range(2):
            clock.pass_by()
            await out.call(server.url)

    assert [request.headers["x-team"] for request in server.requests] == ["routing"] * 3
    (fault,) = out.faults
    assert str(path) in fault
    assert "stay in use" in fault
    assert PLANTED not in fault


async def test_login_of_the_operators_goes_before_the_providers_key(server: ScriptedServer, tmp_path: Path) -> None:
    path = tmp_path / "headers"
    path.write_text("X-Api-Key: of-the-gateway")
    answers(server)
    async with egress(headers_from_file=str(path)) as out:
        await out.call(server.url)

    headers = server.requests[0].headers
    assert headers["x-api-key"] == "of-the-gateway"
    assert "authorization" not in headers


async def test_file_that_is_no_list_of_headers_from_the_start_fails_the_call(
    server: ScriptedServer, tmp_path: Path
) -> None:
    path = tmp_path / "headers"
    path.write_text(PLANTED)
    async with egress(headers_from_file=str(path)) as out:
        error = await out.failure(server.url)

    assert FailureKind.AUTHENTICATION is error.kind
    assert error.detail == f"line 1 of {path} is not a header: write Name: value, in ASCII characters"
    assert not error.possibly_billed


async def test_file_without_end_is_not_read(server: ScriptedServer) -> None:
    async with egress(headers_from_file="/dev/zero") as out:
        error = await out.failure(server.url)

    assert error.detail == "file /dev/zero cannot be read: it is larger than 64 KiB"
