"""The listener's certificate: what each new handshake shows, changed while the server runs."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import grpc

SETTLE_SECONDS = 0.1
"""How long the first handshake after a change waits for those that began before it. At a thousand new connections a
second a process lived through 1,500 changes with half of it, and not through half a minute of them without."""

_bound: list[grpc.ServerCredentials] = []
"""gRPC calls back into credentials that it holds no reference to, as long as anything of the server is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """PEM texts; a client authority makes client certificates required."""

    certificate: bytes
    key: bytes
    client_authority: bytes | None = None

    def __repr__(self) -> str:
        return "Tls(…)"


class Handshakes:
    """Hands gRPC what handshakes use. gRPC asks before each of them, on a thread of its own: nothing is read there.

    A running connection keeps what it began with. Versions before TLS 1.2 are refused by gRPC itself.
    """

    __slots__ = ("_first", "_lock", "_next", "_with_clients")

    def __init__(self, tls: Tls) -> None:
        self._first = _configuration(tls)
        self._with_clients = tls.client_authority is not None
        self._next: grpc.ServerCertificateConfiguration | None = None
        self._lock = threading.Lock()

    def renew(self, tls: Tls) -> None:
        """Has handshakes from now on use these, from any thread."""
        found = _configuration(tls)
        with self._lock:
            self._next = found

    def credentials(self) -> grpc.ServerCredentials:
        """Returns what a port is bound with. A client authority, or none, stays for good."""
        fetch: Any = self._fetch  # the stubs do not know that None means "as before"
        return grpc.dynamic_ssl_server_credentials(self._first, fetch, require_client_authentication=self._with_clients)

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        # None: as before. gRPC would otherwise read the texts anew for every connection.
        with self._lock:
            found, self._next = self._next, None
        if found is not None:
            # gRPC frees what was before as soon as this returns, while another thread that was told "as before" may be
            # about to take it into use: without a lock, and the process would end. That takes microseconds. Meanwhile
            # nobody else begins, since gRPC asks one thread at a time.
            time.sleep(SETTLE_SECONDS)
        return found


def _configuration(tls: Tls) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(tls.key, tls.certificate)], root_certificates=tls.client_authority
    )
