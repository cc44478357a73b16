"""What the listener shows and asks for: certificates and tokens that cannot work are told with path and reason."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.certificates import EC_KEY, ED25519_KEY, NEEDS_OPENSSL, Pair, self_signed, signed
from turnout_server.config import server_certificates
from turnout_server.config.auth_tokens import LONGEST, SHORTEST
from turnout_server.config.faults import ConfigurationError
from turnout_server.config.load import load
from turnout_server.config.server_certificates import CertificateError, read_certificate


def faults(tmp_path: Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    file = tmp_path / "turnout.yaml"
    file.write_text(text)
    try:
        load(str(file), environ or {})
    except ConfigurationError as error:
        return [str(fault).removeprefix(f"{file}:").partition(": ")[2] for fault in error.faults]
    return []


def warnings(tmp_path: Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    file = tmp_path / "turnout.yaml"
    file.write_text(text)
    return [line for line in load(str(file), environ or {}).warnings if line.startswith("listen.")]


TOKENS = "listen: {auth: {tokens: [{token_env: FIRST}, {token_env: SECOND, role: admin}]}}"
GOOD = {"FIRST": "planted-0123456789-one", "SECOND": "planted-0123456789-two"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not set"),
        ("p" * (SHORTEST - 1), f"holds a token of {SHORTEST - 1} characters; give {SHORTEST} to {LONGEST}"),
        ("p" * (LONGEST + 1), f"holds a token of {LONGEST + 1} characters"),
        ("planted with spaces in it", "holds what no token is written with"),
        ("plantedü0123456789abcdef", "holds what no token is written with"),
        (GOOD["FIRST"], "the token is that of listen.auth.tokens[0] too"),
    ],
    ids=["unset", "short", "long", "spaces", "umlaut", "equal"],
)
def test_a_token_that_cannot_work_is_told_by_its_variable_and_never_by_its_text(
    tmp_path: Path, text: str, said: str
) -> None:
    (fault,) = faults(tmp_path, TOKENS, {**GOOD, "SECOND": text})

    assert fault.startswith("listen.auth.tokens[1].token_env: ")
    assert said in fault
    assert "planted" not in fault
    assert faults(tmp_path, TOKENS, GOOD) == []


def test_a_token_file_is_told_by_its_path(tmp_path: Path) -> None:
    file = tmp_path / "token"
    text = f"listen: {{auth: {{tokens: [{{token_file: {file}, role: admin}}]}}}}"
    found = []
    for content in (b" \n", b"short\n", b"\xff\xfe0123456789abcdef", b"planted-0123456789abcdef\n"):
        file.write_bytes(content)
        found.append(faults(tmp_path, text))

    where = f"listen.auth.tokens[0].token_file: file {file}"
    assert [f"{where} is empty"] == found[0]
    assert found[1][0].startswith(f"{where} holds a token of 5 characters")
    assert [f"{where} is not UTF-8 text"] == found[2]
    assert found[3] == []


def test_what_is_allowed_but_probably_not_meant_is_a_warning(tmp_path: Path) -> None:
    only_calls = "listen: {auth: {tokens: [{token_env: FIRST}]}}"

    assert warnings(tmp_path, TOKENS, GOOD) == []
    (told,) = warnings(tmp_path, only_calls, GOOD)
    assert "none has role admin" in told


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Pair:
    return self_signed(folder, "authority", days=400)


@pytest.fixture(scope="module")
def server(folder: Path, authority: Pair) -> Pair:
    return signed(authority, folder, "server")


def read(cert_file: Path, key_file: Path, client_ca_file: Path | str = "") -> server_certificates.ServerCertificate:
    return read_certificate(cert_file=str(cert_file), key_file=str(key_file), client_ca_file=str(client_ca_file))


@NEEDS_OPENSSL
def test_a_pair_is_read_with_what_says_how_long_it_holds(server: Pair, authority: Pair) -> None:
    found = read(server.cert_file, server.key_file, authority.cert_file)

    assert (found.certificate, found.key, found.client_authority) == (server.cert, server.key, authority.cert)
    assert found.expires_at - found.valid_from == 2 * 86400
    assert "PRIVATE" not in repr(found)


@NEEDS_OPENSSL
@pytest.mark.parametrize("key", [EC_KEY, ("-newkey", "rsa:2048")], ids=["EC", "RSA"])
@pytest.mark.parametrize("days", [2, 365 * 40], ids=["UTCTime", "GeneralizedTime"])
def test_times_of_a_certificate_are_those_that_openssl_reads(folder: Path, key: tuple[str, ...], days: int) -> None:
    pair = self_signed(folder, "any", key=key, days=days)
    found = read(pair.cert_file, pair.key_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=pair.cert.decode())
    (told,) = context.get_ca_certs()

    assert found.valid_from == ssl.cert_time_to_seconds(str(told["notBefore"]))
    assert found.expires_at == ssl.cert_time_to_seconds(str(told["notAfter"]))


@NEEDS_OPENSSL
def test_what_cannot_be_shown_is_told_by_key_file_and_reason(server: Pair, authority: Pair, folder: Path) -> None:
    rubbish, empty, locked = folder / "rubbish", folder / "empty", folder / "locked.key"
    rubbish.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    empty.write_text("\n")
    locked.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
    odd = self_signed(folder, "odd", key=ED25519_KEY)
    cert, key = server.cert_file, server.key_file
    cases: list[tuple[tuple[Path, ...], str, str]] = [
        ((folder / "none", key), "cert_file", "cannot be read: No such file"),
        ((folder, key), "cert_file", "cannot be read: Is a directory"),
        ((empty, key), "cert_file", "is empty"),
        ((rubbish, key), "cert_file", "holds no PEM certificate"),
        ((key, key), "cert_file", "holds no PEM certificate"),
        ((odd.cert_file, odd.key_file), "cert_file", "kind of key is not taken in TLS; use RSA or EC"),
        ((cert, cert), "key_file", "holds no PEM private key"),
        ((cert, locked), "key_file", "has a pass phrase; give it without"),
        ((cert, authority.key_file), "key_file", f"the key is not that of the certificate in {cert}"),
        ((cert, key, key), "client_ca_file", "holds no PEM certificates"),
    ]
    for files, where, said in cases:
        with pytest.raises(CertificateError, match=f"^file .*{said}") as caught:
            read(*files)

        assert caught.value.key == where


@NEEDS_OPENSSL
def test_a_bad_pair_is_a_fault_of_the_configuration(tmp_path: Path, server: Pair, authority: Pair) -> None:
    text = "listen: {address: '0.0.0.0:0', tls: {cert_file: %s, key_file: %s}}"

    assert faults(tmp_path, text % (server.cert_file, authority.key_file)) == [
        f"listen.tls.key_file: file {authority.key_file}: the key is not that of the certificate in {server.cert_file}"
    ]
    assert faults(tmp_path, text % (server.cert_file, server.key_file)) == []
    (told,) = warnings(tmp_path, text % (server.cert_file, server.key_file))
    assert "whoever can reach it may call" in told


@NEEDS_OPENSSL
@pytest.mark.parametrize(
    "damage",
    [lambda der, at: der[:at], lambda der, at: der[:at] + b"\x30" + der[at + 1 :]],
    ids=["cut short", "another byte"],
)
def test_a_damaged_certificate_is_never_more_than_a_fault(server: Pair, damage: Callable[[bytes, int], bytes]) -> None:
    der = ssl.PEM_cert_to_DER_cert(server.cert.decode())
    for at in range(0, len(der), 3):
        damaged = ssl.DER_cert_to_PEM_cert(damage(der, at)).encode()
        try:
            server_certificates._facts(damaged, "any")
        except CertificateError as error:
            assert "holds no PEM certificate" in str(error)


@NEEDS_OPENSSL
def test_files_that_change_while_they_are_read_are_read_again(
    server: Pair, authority: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = server.put(tmp_path)
    read_texts = server_certificates._texts
    looks = 0

    def texts(*files: str) -> tuple[bytes, ...]:
        nonlocal looks
        looks += 1
        if looks == 2:
            authority.put(tmp_path)
        return read_texts(*files)

    monkeypatch.setattr(server_certificates, "_texts", texts)

    assert read(pair.cert_file, pair.key_file).certificate == authority.cert


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("unix:/run/t.sock", 'is a path alone here: leave "unix:" out'),
        ("/run/100%25.sock", "must not hold %, ? or #"),
        ("/run/what?.sock", "must not hold %, ? or #"),
        ("/run/t#1.sock", "must not hold %, ? or #"),
        ("//run/t.sock", "must not begin with two slashes"),
    ],
)
def test_a_socket_that_no_caller_could_name_is_told(tmp_path: Path, path: str, said: str) -> None:
    (fault,) = faults(tmp_path, f'listen: {{socket: "{path}"}}')

    assert fault.startswith(f"listen.socket: {said}")


def test_a_token_in_the_file_is_told_where_it_belongs(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, "listen: {auth: {tokens: [{token: planted-0123456789-one}]}}")

    assert fault == "listen.auth.tokens[0].token: keys and secrets are given by reference only: token_file or token_env"
