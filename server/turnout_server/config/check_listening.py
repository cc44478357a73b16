"""Faults of where the sidecar listens, what it shows there and whom it asks for a token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from turnout_server.config.addresses import host_and_port, stays_local
from turnout_server.config.faults import Finding, Path
from turnout_server.config.schema import Configuration, ListenSection

SOCKET_BYTES = 107
"""The longest path of a Unix socket: 108 bytes with the zero at its end (unix(7)); macOS takes four fewer."""


def listening_findings(configuration: Configuration, environ: Mapping[str, str], *, files: bool) -> Iterator[Finding]:
    """Yields what is wrong, each with its path; with `files` also with what certificates and tokens are read from."""
    listen = configuration.listen
    if not listen.address and not listen.socket:
        yield ("listen",), "nothing to listen on: give an address or a socket"
    yield from _addresses(configuration)
    if len(listen.socket.encode()) > SOCKET_BYTES:
        yield (
            ("listen", "socket"),
            f"has {len(listen.socket.encode())} bytes, and systems take {SOCKET_BYTES} at most; choose a shorter path",
        )
    yield from _unsayable(listen.socket)
    yield from _tls(listen, files=files)
    if listen.auth.tokens:
        from turnout_server.config.auth_tokens import token_findings  # noqa: PLC0415 - few have any

        yield from token_findings(listen.auth.tokens, environ, files=files)


def listening_warnings(listen: ListenSection) -> Iterator[str]:
    """Yields what is not wrong but probably not meant."""
    parts = host_and_port(listen.address)
    beyond = parts is not None and not stays_local(parts[0])
    if beyond and listen.tls.cert_file and not listen.tls.client_ca_file and not listen.auth.tokens:
        yield (
            "listen.address: whoever can reach it may call; set listen.tls.client_ca_file or listen.auth.tokens to ask "
            "who it is"
        )
    if listen.auth.tokens and not any(token.role == "admin" for token in listen.auth.tokens):
        yield "listen.auth.tokens: none has role admin, so nobody can change anything while it runs"


def _unsayable(socket: str) -> Iterator[Finding]:
    """Yields why callers could not name a socket: to gRPC it is a part of a URI, unix:PATH."""
    path: Path = ("listen", "socket")
    if socket.startswith("unix:"):
        yield path, 'is a path alone here: leave "unix:" out'
    if socket.startswith("//"):
        yield path, "must not begin with two slashes: gRPC takes what follows for a host"
    if not set(socket).isdisjoint("%?#"):
        yield path, "must not hold %, ? or #: in an address of gRPC they mean something else"


def _addresses(configuration: Configuration) -> Iterator[Finding]:
    listen = configuration.listen
    addresses: list[tuple[Path, str]] = [
        (("listen", "address"), listen.address),
        (("health", "address"), configuration.health.address),
        (("metrics", "address"), configuration.metrics.address),
    ]
    taken: dict[int, Path] = {}
    for path, address in addresses:
        if not address:
            continue
        parts = host_and_port(address)
        if parts is None:
            yield path, f'"{address}" is no address; write host:port, as in 127.0.0.1:50151'
            continue
        host, port = parts
        if path[0] == "listen" and not stays_local(host) and not listen.tls.cert_file:
            if listen.auth.tokens:
                yield (
                    path,
                    "reaches beyond this machine without TLS, so tokens would be sent in the clear; set listen.tls",
                )
            elif not listen.insecure_listen:
                yield path, "reaches beyond this machine without TLS; set listen.tls, or listen.insecure_listen: true"
        if port and port in taken:
            yield path, f"port {port} is also that of {'.'.join(str(key) for key in taken[port])}"
        taken.setdefault(port, path)


def _tls(listen: ListenSection, *, files: bool) -> Iterator[Finding]:
    tls = listen.tls
    path: Path = ("listen", "tls")
    if tls.key_file and not tls.cert_file:
        yield (*path, "cert_file"), "is missing: key_file is the key of a certificate"
    if tls.cert_file and not tls.key_file:
        yield (*path, "key_file"), "is missing: a certificate cannot be shown without its key"
    if tls.client_ca_file and not tls.cert_file and not tls.key_file:
        yield (
            (*path, "client_ca_file"),
            "needs cert_file and key_file: clients are asked for certificates over TLS only",
        )
    if tls.cert_file and not listen.address:
        yield (*path, "cert_file"), "is for listen.address, and there is none; a Unix socket has no TLS"
    if not (files and tls.cert_file and tls.key_file):
        return
    from turnout_server.config.server_certificates import (  # noqa: PLC0415 - few have one
        CertificateError,
        read_certificate,
    )

    try:
        read_certificate(cert_file=tls.cert_file, key_file=tls.key_file, client_ca_file=tls.client_ca_file)
    except CertificateError as error:
        yield (*path, error.key), str(error)
