"""TLS towards providers from files that an operator may replace: authorities, and a certificate of our own.

A new file is used by the connections made from then on. One that has become wrong never replaces one that was right.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from time import monotonic

LOOK_EVERY_SECONDS = 1.0
"""How often calls look whether a file has changed, at most."""


class CertificateError(Exception):
    """A certificate file cannot be used; the message names the file, and why."""


def tls_context(*, ca_file: str = "", client_cert_file: str = "") -> ssl.SSLContext:
    """Returns a client context that trusts `ca_file`, or the usual authorities where it is "".

    Raises CertificateError where a file does not hold what it should.
    """
    if ca_file:
        context = _trusting(ca_file)
    else:
        # Imported here: whoever only looks whether files are right needs none of it.
        import httpx  # noqa: PLC0415

        context = httpx.create_ssl_context(trust_env=False)
    if client_cert_file:
        _load_own(context, client_cert_file)
    return context


def ca_fault(path: str) -> str:
    """Returns what is wrong with a file of authorities, "" for nothing."""
    return _fault(lambda: _trusting(path))


def client_cert_fault(path: str) -> str:
    """Returns what is wrong with a file of a client certificate, "" for nothing."""
    return _fault(lambda: _load_own(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), path))


def _fault(load: Callable[[], object]) -> str:
    try:
        load()
    except CertificateError as error:
        return str(error)
    return ""


def _trusting(path: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:  # ssl.SSLError is one
        raise CertificateError(f"{path} cannot be used: {_reason(error, 'it holds no PEM certificate')}") from None


def _load_own(context: ssl.SSLContext, path: str) -> None:
    try:
        # An empty pass phrase: without one OpenSSL would ask for it at the terminal.
        context.load_cert_chain(path, password="")
    except OSError as error:
        wanted = "it must hold a PEM certificate and its key, without a pass phrase"
        raise CertificateError(f"{path} cannot be used: {_reason(error, wanted)}") from None


def _reason(error: OSError, otherwise: str) -> str:
    if isinstance(error, ssl.SSLError):
        return "the key is not that of the certificate" if error.reason == "KEY_VALUES_MISMATCH" else otherwise
    return error.strerror or otherwise


class TlsFiles:
    """The context of one pair of files. `version` grows with each that replaces another.

    `clock` is monotonic seconds; `on_fault` is told why a changed file is not used. The first context is made at once:
    CertificateError where it cannot be.
    """

    def __init__(
        self,
        *,
        ca_file: str = "",
        client_cert_file: str = "",
        clock: Callable[[], float] = monotonic,
        on_fault: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._ca_file = ca_file
        self._client_cert_file = client_cert_file
        self._clock = clock
        self._on_fault = on_fault
        self._looked_at = clock()
        self._stamps = self._looked()
        self.context = self._load()
        self.version = 1

    def due(self) -> bool:
        """Whether it is time for another look."""
        return self._clock() - self._looked_at >= LOOK_EVERY_SECONDS

    async def look(self) -> None:
        """Looks at the files, and makes another context where one has changed: beside the loop, it may take a while."""
        self._looked_at = self._clock()
        stamps = self._looked()
        if stamps == self._stamps or None in stamps:
            # A file that is away for a moment is being replaced.
            return
        try:
            context = await asyncio.to_thread(self._load)
        except CertificateError as error:
            self._on_fault(f"certificate file {error}; what was loaded before stays in use")
        else:
            self.context = context
            self.version += 1
        self._stamps = stamps

    def _load(self) -> ssl.SSLContext:
        return tls_context(ca_file=self._ca_file, client_cert_file=self._client_cert_file)

    def _looked(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in (self._ca_file, self._client_cert_file) if path)


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - one call for three numbers
    except OSError:
        return None
    return (status.st_ino, status.st_size, status.st_mtime_ns)
