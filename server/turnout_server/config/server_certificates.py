"""The listener's certificate, its key and the authorities of clients, read from files as one consistent set.

Files may be replaced at any moment, one after the other or all at once by a symbolic link: what is read is checked as a
pair and read once more, and only what did not change meanwhile is given on.
"""

from __future__ import annotations

import ssl
from binascii import Error as BinasciiError
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

MAX_FILE_BYTES = 1024 * 1024
READINGS = 5
"""How often files that change while they are read are begun anew."""

_END = "-----END CERTIFICATE-----"
_SEQUENCE, _CONTEXT_0, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
_USABLE_KEYS = (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01", b"\x2a\x86\x48\xce\x3d\x02\x01")
"""rsaEncryption and ecPublicKey, RFC 3279: gRPC's TLS takes no other kind of a server."""


class CertificateError(Exception):
    """A file cannot be used. `key` is the one of `listen.tls` that names it; the message says why, and what would be
    right, without anything of its content.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCertificate:
    """PEM texts that belong together. `valid_from` and `expires_at` are the certificate's, seconds since the epoch."""

    certificate: bytes = field(repr=False)
    key: bytes = field(repr=False)
    client_authority: bytes | None = field(default=None, repr=False)
    valid_from: float
    expires_at: float


def read_certificate(*, cert_file: str, key_file: str, client_ca_file: str = "") -> ServerCertificate:
    """Reads and checks the files. Raises CertificateError for what gRPC could not use."""
    for _ in range(READINGS):
        texts = _texts(cert_file, key_file, client_ca_file)
        found = _checked(texts, cert_file, key_file, client_ca_file)
        # The pair was checked from the files, so that a key is never written anywhere else.
        if texts == _texts(cert_file, key_file, client_ca_file):
            return found
    raise CertificateError("cert_file", f"file {cert_file} or one beside it changes all the time; write each file once")


def _texts(*files: str) -> tuple[bytes, ...]:
    return tuple(_text(key, file) for key, file in zip(("cert_file", "key_file", "client_ca_file"), files, strict=True))


def _text(key: str, file: str) -> bytes:
    if not file:
        return b""
    try:
        with Path(file).open("rb") as stream:
            text = stream.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no path"
        raise CertificateError(key, f"file {file} cannot be read: {reason}") from None
    if len(text) > MAX_FILE_BYTES:
        raise CertificateError(key, f"file {file} is larger than 1 MiB")
    if not text.strip():
        raise CertificateError(key, f"file {file} is empty")
    return text


def _checked(texts: tuple[bytes, ...], cert_file: str, key_file: str, client_ca_file: str) -> ServerCertificate:
    certificate, key, authority = texts
    valid_from, expires_at, kind = _facts(certificate, cert_file)
    if not any(kind.startswith(known, 2) for known in _USABLE_KEYS):
        raise CertificateError("cert_file", f"file {cert_file}: its kind of key is not taken in TLS; use RSA or EC")
    if b"PRIVATE KEY-----" not in key:
        raise CertificateError("key_file", f"file {key_file} holds no PEM private key")
    if b"ENCRYPTED" in key:
        raise CertificateError("key_file", f"file {key_file}: the key has a pass phrase; give it without")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert_file, key_file, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            message = f"file {key_file}: the key is not that of the certificate in {cert_file}"
        else:
            message = f"file {key_file}: certificate and key cannot be used together ({_reason(error)})"
        raise CertificateError("key_file", message) from None
    except OSError as error:
        raise CertificateError("key_file", f"file {key_file} cannot be read: {error.strerror}") from None
    if authority:
        try:
            context.load_verify_locations(cadata=authority.decode("ascii", "replace"))
        except (ssl.SSLError, ValueError):
            raise CertificateError("client_ca_file", f"file {client_ca_file} holds no PEM certificates") from None
    return ServerCertificate(
        certificate=certificate,
        key=key,
        client_authority=authority or None,
        valid_from=valid_from,
        expires_at=expires_at,
    )


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "unknown").lower().replace("_", " ")


def _facts(text: bytes, file: str) -> tuple[float, float, bytes]:
    """Returns from when until when the first certificate of a file is valid, and its key's algorithm (DER)."""
    try:
        first, end, _ = text.decode("ascii", "replace").partition(_END)
        body = ssl.PEM_cert_to_DER_cert(first[first.index("-----BEGIN CERTIFICATE-----") :] + end)
        return _validity(body)
    except (ValueError, IndexError, BinasciiError):
        raise CertificateError("cert_file", f"file {file} holds no PEM certificate") from None


def _validity(der: bytes) -> tuple[float, float, bytes]:
    """Walks a certificate (RFC 5280, 4.1) to `validity` and `subjectPublicKeyInfo.algorithm`."""
    inner, _ = _element(der, 0, _SEQUENCE)
    fields, _ = _element(inner, 0, _SEQUENCE)
    at = _past(fields, 0) if fields[0] == _CONTEXT_0 else 0
    for _ in ("serialNumber", "signature", "issuer"):
        at = _past(fields, at)
    validity, at = _element(fields, at, _SEQUENCE)
    until_at = _past(validity, 0)
    key, _ = _element(fields, _past(fields, at), _SEQUENCE)
    algorithm, _ = _element(key, 0, _SEQUENCE)
    return _time(validity, 0), _time(validity, until_at), algorithm


def _element(der: bytes, at: int, tag: int | None = None) -> tuple[bytes, int]:
    """Returns the content of the element at a place, and the place after it. Raises ValueError or IndexError."""
    length, begin = der[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        length, begin = int.from_bytes(der[begin : begin + count]), begin + count
    end = begin + length
    if end > len(der) or tag not in {None, der[at]}:
        raise ValueError("not the element that stands there")
    return der[begin:end], end


def _past(der: bytes, at: int) -> int:
    return _element(der, at)[1]


def _time(der: bytes, at: int) -> float:
    text = _element(der, at)[0].decode("ascii").removesuffix("Z")
    if der[at] == _UTC_TIME:
        # RFC 5280, 4.1.2.5.1: two digits of a year stand for 1950 to 2049.
        text = ("19" if int(text[:2]) >= 50 else "20") + text  # noqa: PLR2004
    elif der[at] != _GENERALIZED_TIME:
        raise ValueError("no time")
    return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()
