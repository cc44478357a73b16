"""Certificates made at run time with the openssl command: an authority, and what it signs."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest


def _found() -> str:
    """The openssl command, "" where there is none that can sign with an authority in one step (since OpenSSL 3.0)."""
    path = shutil.which("openssl")
    if path is None:
        return ""
    told = subprocess.run([path, "version"], check=False, capture_output=True, text=True).stdout.split()  # noqa: S603
    return path if told[:1] == ["OpenSSL"] and told[1].partition(".")[0] >= "3" else ""


OPENSSL = _found()
NEEDS_OPENSSL = pytest.mark.skipif(not OPENSSL, reason="OpenSSL 3 makes the certificates and is not on this machine")

EC_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
ED25519_KEY = ("-newkey", "ed25519")
NAMES = "DNS:localhost,IP:127.0.0.1"


@dataclass(frozen=True, slots=True)
class Pair:
    """The files of a certificate and its key."""

    cert_file: Path
    key_file: Path

    @property
    def cert(self) -> bytes:
        return self.cert_file.read_bytes()

    @property
    def key(self) -> bytes:
        return self.key_file.read_bytes()

    def put(self, folder: Path) -> Pair:
        """Writes the pair as cert.pem and key.pem of a folder, as whoever renews certificates does."""
        copy = Pair(folder / "cert.pem", folder / "key.pem")
        copy.cert_file.write_bytes(self.cert)
        copy.key_file.write_bytes(self.key)
        return copy


def self_signed(folder: Path, name: str, *options: str, key: Sequence[str] = EC_KEY, days: int = 2) -> Pair:
    """A certificate that vouches for itself: an authority, or a server's where no authority is needed."""
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    arguments = [*key, "-nodes", "-days", str(days), "-subj", f"/CN={name}", "-addext", f"subjectAltName={NAMES}"]
    _openssl(["req", "-x509", *arguments, *options, "-keyout", str(pair.key_file), "-out", str(pair.cert_file)])
    return pair


def signed(authority: Pair, folder: Path, name: str, alt_names: str = NAMES) -> Pair:
    """A certificate that an authority vouches for."""
    issued = ["-CA", str(authority.cert_file), "-CAkey", str(authority.key_file)]
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    arguments = [*EC_KEY, "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName={alt_names}"]
    usual = ["-addext", "basicConstraints=critical,CA:FALSE"]
    _openssl(["req", "-x509", *arguments, *usual, *issued, "-keyout", str(pair.key_file), "-out", str(pair.cert_file)])
    return pair


def _openssl(arguments: Sequence[str]) -> None:
    subprocess.run([OPENSSL, *arguments], check=True, capture_output=True)  # noqa: S603 - our own arguments
