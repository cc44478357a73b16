"""Certificates and tokens in step with their files: a good one is taken, a bad one never replaces a good one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import structlog
from structlog.testing import LogCapture
from structlog.typing import FilteringBoundLogger

from tests.certificates import NEEDS_OPENSSL, Pair, self_signed
from turnout_server.api.principals import Identity, Role
from turnout_server.api.tls import Tls
from turnout_server.config.schema import AuthTokenSection, ListenSection, TlsSection
from turnout_server.listener_files import (
    WARN_EVERY_SECONDS,
    CertificateFiles,
    ListenerFiles,
    ListenerFilesError,
    TokenFiles,
)

FIRST, SECOND, THIRD = "planted-first-token-01", "planted-second-token-1", "planted-third-token-01"


@pytest.fixture
def told() -> LogCapture:
    return LogCapture()


@pytest.fixture
def log(told: LogCapture) -> FilteringBoundLogger:
    logger: FilteringBoundLogger = structlog.wrap_logger(None, processors=[told])
    return logger


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, Pair]:
    folder = tmp_path_factory.mktemp("certificates")
    return self_signed(folder, "one"), self_signed(folder, "two")


def events(told: LogCapture) -> list[str]:
    return [line["event"] for line in told.entries]


def section(folder: Path) -> TlsSection:
    return TlsSection(cert_file=str(folder / "cert.pem"), key_file=str(folder / "key.pem"))


def certificates(folder: Path, log: FilteringBoundLogger, wall: float | None = None) -> CertificateFiles:
    return CertificateFiles(section(folder), log=log, wall=lambda: 0.0 if wall is None else wall)


@NEEDS_OPENSSL
def test_a_changed_pair_is_taken_once(
    tmp_path: Path, pairs: tuple[Pair, Pair], log: FilteringBoundLogger, told: LogCapture
) -> None:
    pairs[0].put(tmp_path)
    files = certificates(tmp_path, log)
    assert not files.renewed()
    pairs[1].put(tmp_path)

    assert files.renewed()
    assert files.tls == Tls(certificate=pairs[1].cert, key=pairs[1].key)
    assert not files.renewed()
    assert events(told) == ["listener.certificate_renewed"]


@NEEDS_OPENSSL
def test_a_link_that_points_to_other_files_is_a_change(
    tmp_path: Path, pairs: tuple[Pair, Pair], log: FilteringBoundLogger
) -> None:
    # As the kubelet mounts Secrets: files are links into a folder that is itself a link, swapped by a rename.
    for number, pair in enumerate(pairs):
        (tmp_path / f"..{number}").mkdir()
        pair.put(tmp_path / f"..{number}")
    (tmp_path / "..data").symlink_to("..0")
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    files = certificates(tmp_path, log)
    (tmp_path / "..new").symlink_to("..1")
    os.replace(tmp_path / "..new", tmp_path / "..data")  # noqa: PTH105 - the same call as the kubelet's

    assert files.renewed()
    assert files.tls.certificate == pairs[1].cert


@NEEDS_OPENSSL
def test_a_pair_is_not_taken_before_both_files_have_come_and_the_fault_is_told_once(
    tmp_path: Path, pairs: tuple[Pair, Pair], log: FilteringBoundLogger, told: LogCapture
) -> None:
    here = pairs[0].put(tmp_path)
    files = certificates(tmp_path, log)
    here.cert_file.write_bytes(pairs[1].cert)

    assert [files.renewed(), files.renewed()] == [False, False]
    assert files.tls.certificate == pairs[0].cert
    assert events(told) == ["listener.certificate_refused"]
    assert told.entries[0]["key"] == "listen.tls.key_file"
    here.key_file.write_bytes(pairs[1].key)
    assert files.renewed()
    assert files.tls.certificate == pairs[1].cert
    assert dict(files.counts) == {"renewed": 1, "refused": 1}


@NEEDS_OPENSSL
def test_files_that_went_away_leave_what_was(
    tmp_path: Path, pairs: tuple[Pair, Pair], log: FilteringBoundLogger, told: LogCapture
) -> None:
    here = pairs[0].put(tmp_path)
    files = certificates(tmp_path, log)
    here.key_file.unlink()

    assert not files.renewed()
    assert files.tls.key == pairs[0].key
    assert events(told) == ["listener.certificate_refused"]


@NEEDS_OPENSSL
def test_the_end_of_a_certificate_is_told_in_time_and_once_a_day(
    tmp_path: Path, pairs: tuple[Pair, Pair], log: FilteringBoundLogger, told: LogCapture
) -> None:
    pairs[0].put(tmp_path)
    now = 0.0
    files = CertificateFiles(section(tmp_path), log=log, wall=lambda: now)
    # Its life is two days: a fifth of that before the end is soon enough.
    now = files.expires_at - 0.21 * 2 * 86400
    files.renewed()
    assert events(told) == []
    now = files.expires_at - 0.19 * 2 * 86400
    files.renewed()
    now = files.expires_at - 60
    files.renewed()
    assert events(told) == ["listener.certificate_expires"]
    now = files.expires_at - 0.19 * 2 * 86400 + WARN_EVERY_SECONDS

    files.renewed()

    assert events(told) == ["listener.certificate_expires", "listener.certificate_expired"]
    # A new one ends the matter.
    pairs[1].put(tmp_path)
    now = files.expires_at - 86400
    assert files.renewed()
    assert events(told)[2:] == ["listener.certificate_renewed"]


def entries(folder: Path, *texts: str) -> tuple[AuthTokenSection, ...]:
    sections = []
    for place, text in enumerate(texts):
        file = folder / str(place)
        file.write_text(f"{text}\n")
        sections.append(AuthTokenSection(token_file=str(file), role="admin" if place else "call", tenant="acme"))
    return tuple(sections)


def put(folder: Path, **texts: str) -> None:
    """Writes other tokens; a file of the same size within one tick of its clock would look the same."""
    for place, text in texts.items():
        new = folder / f"{place}.new"
        new.write_text(text)
        new.rename(folder / place.removeprefix("of"))


def test_tokens_are_those_of_their_files_with_role_and_tenant(tmp_path: Path, log: FilteringBoundLogger) -> None:
    sections = (*entries(tmp_path, FIRST), AuthTokenSection(token_env="APP", role="admin"))
    files = TokenFiles(sections, {"APP": SECOND}, log=log)

    assert files.tokens.find(FIRST) == Identity(role=Role.CALL, token=f"file {tmp_path}/0", tenant="acme")
    assert files.tokens.find(SECOND) == Identity(role=Role.ADMIN, token="environment variable APP")


def test_a_changed_token_replaces_the_one_before_and_its_owner_stays(
    tmp_path: Path, log: FilteringBoundLogger, told: LogCapture
) -> None:
    files = TokenFiles(entries(tmp_path, FIRST, SECOND), {}, log=log)
    before = files.tokens.find(FIRST)
    put(tmp_path, of0=THIRD)
    files.look()

    assert files.tokens.find(FIRST) is None
    assert files.tokens.find(THIRD) == before
    assert files.tokens.find(SECOND) is not None
    assert [(line["event"], line["key"]) for line in told.entries] == [
        ("listener.token_renewed", "listen.auth.tokens[0].token_file")
    ]
    assert "planted" not in str(told.entries)


@pytest.mark.parametrize("text", ["", "short", SECOND], ids=["empty", "short", "that of another entry"])
def test_a_token_that_cannot_work_leaves_the_one_before_and_is_told_once(
    tmp_path: Path, log: FilteringBoundLogger, told: LogCapture, text: str
) -> None:
    files = TokenFiles(entries(tmp_path, FIRST, SECOND), {}, log=log)
    put(tmp_path, of0=text)
    for _ in range(3):
        files.look()

    assert files.tokens.find(FIRST) is not None
    assert events(told) == ["listener.token_refused"]
    assert "planted" not in str(told.entries)
    put(tmp_path, of0=THIRD)
    files.look()
    assert files.tokens.find(FIRST) is None
    assert files.tokens.find(THIRD) is not None
    assert dict(files.counts) == {"renewed": 1, "refused": 1}


def test_two_entries_may_change_places(tmp_path: Path, log: FilteringBoundLogger) -> None:
    files = TokenFiles(entries(tmp_path, FIRST, SECOND), {}, log=log)
    put(tmp_path, of0=SECOND, of1=FIRST)
    files.look()

    found = files.tokens.find(FIRST)
    assert found is not None
    assert found.role is Role.ADMIN


def test_a_file_that_went_away_leaves_its_token(tmp_path: Path, log: FilteringBoundLogger, told: LogCapture) -> None:
    files = TokenFiles(entries(tmp_path, FIRST), {}, log=log)
    (tmp_path / "0").unlink()
    files.look()

    assert files.tokens.find(FIRST) is not None
    assert events(told) == ["listener.token_refused"]


def test_what_is_missing_at_start_is_one_error_with_its_key(tmp_path: Path, log: FilteringBoundLogger) -> None:
    listen = ListenSection.model_validate({"tls": section(tmp_path)})
    with pytest.raises(ListenerFilesError, match=r"^listen.tls.cert_file: file .* cannot be read"):
        ListenerFiles(listen, {}, log=log, wall=lambda: 0.0)
    listen = ListenSection.model_validate({"auth": {"tokens": [{"token_env": "APP"}]}})
    with pytest.raises(ListenerFilesError, match=r"^listen.auth.tokens\[0\].token_env: .* is not set"):
        ListenerFiles(listen, {}, log=log, wall=lambda: 0.0)
