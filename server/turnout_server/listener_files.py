"""What the listener shows and asks for, kept in step with its files: the certificate, and the tokens that are valid.

The files are looked at now and then, off the event loop; handshakes and calls use what was read last. What has become
unreadable or wrong never replaces what was right: that stays in use, and the log says so once.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from structlog.typing import FilteringBoundLogger

from turnout_server.api.principals import Identity, Role
from turnout_server.api.tls import Tls
from turnout_server.api.tokens import Token, Tokens
from turnout_server.config.auth_tokens import AuthToken, TokenError, read_token, token_path
from turnout_server.config.faults import dotted
from turnout_server.config.server_certificates import CertificateError, ServerCertificate, read_certificate

if TYPE_CHECKING:
    from turnout_server.config.schema import AuthTokenSection, ListenSection, TlsSection

LOOK_EVERY_SECONDS = 5.0

WARN_SHARE = 0.2
WARN_SECONDS = 14 * 86400.0
"""A certificate is spoken of from so long before its end on: this share of its life, at most two weeks. What renews
certificates by itself does so earlier: cert-manager after two thirds of their life."""
WARN_EVERY_SECONDS = 86400.0

Stamp = tuple[int, int, int, int] | None


@dataclass(slots=True)
class _Told:
    """What the log was told last, so that it is told once."""

    fault: str = ""
    expiry_at: float = float("-inf")


class CertificateFiles:
    """The certificate of `section`, which names one. `wall` is seconds since the epoch.

    Reads it at once: CertificateError where it cannot be used.
    """

    def __init__(self, section: TlsSection, *, log: FilteringBoundLogger, wall: Callable[[], float]) -> None:
        self._section = section
        self._log = log
        self._wall = wall
        self._told = _Told()
        self._stamps = self._looked()
        self._current = self._read()
        self.counts: Counter[str] = Counter()
        """Changes of the files, by what became of them: renewed, refused."""
        self._tell_expiry()

    @property
    def tls(self) -> Tls:
        """What handshakes use."""
        found = self._current
        return Tls(certificate=found.certificate, key=found.key, client_authority=found.client_authority)

    @property
    def expires_at(self) -> float:
        """When the certificate in use ends, seconds since the epoch."""
        return self._current.expires_at

    def renewed(self) -> bool:
        """Looks at the files; returns whether there is another certificate. Blocks while it reads."""
        stamps = self._looked()
        if stamps == self._stamps:
            self._tell_expiry()
            return False
        try:
            found = self._read()
        except CertificateError as error:
            self._refused(error)
            return False
        # Those from before it was read: a change meanwhile is seen at the next look.
        self._stamps, self._told.fault = stamps, ""
        if found == self._current:
            return False
        self._current = found
        self.counts["renewed"] += 1
        self._told.expiry_at = float("-inf")
        self._log.info("listener.certificate_renewed", expires_at=round(found.expires_at))
        self._tell_expiry()
        return True

    def _refused(self, error: CertificateError) -> None:
        # Looked at again each time, since one file of two may have come; told once.
        if str(error) == self._told.fault:
            return
        self._told.fault = str(error)
        self.counts["refused"] += 1
        self._log.warning(
            "listener.certificate_refused", key=f"listen.tls.{error.key}", fault=str(error), kept="the one before"
        )

    def _tell_expiry(self) -> None:
        now, found = self._wall(), self._current
        warn_from = found.expires_at - min(WARN_SECONDS, WARN_SHARE * (found.expires_at - found.valid_from))
        if now < warn_from or now - self._told.expiry_at < WARN_EVERY_SECONDS:
            return
        self._told.expiry_at = now
        left = found.expires_at - now
        event = "listener.certificate_expires" if left > 0 else "listener.certificate_expired"
        self._log.warning(event, cert_file=self._section.cert_file, expires_in_seconds=round(left))

    def _read(self) -> ServerCertificate:
        section = self._section
        return read_certificate(
            cert_file=section.cert_file, key_file=section.key_file, client_ca_file=section.client_ca_file
        )

    def _looked(self) -> tuple[Stamp, ...]:
        section = self._section
        return tuple(_stamp(file) for file in (section.cert_file, section.key_file, section.client_ca_file) if file)


class TokenFiles:
    """The tokens of the entries, of which there is one or more. Reads them at once: TokenError names the entry."""

    def __init__(
        self, sections: Sequence[AuthTokenSection], environ: Mapping[str, str], *, log: FilteringBoundLogger
    ) -> None:
        self._sections = sections
        self._environ = environ
        self._log = log
        self._told: dict[int, str] = {}
        self.counts: Counter[str] = Counter()
        """Changes of the files, by what became of them: renewed, refused."""
        self._stamps = self._looked()
        self._current = [self._first(place, section) for place, section in enumerate(sections)]
        self.tokens = Tokens(_token(each) for each in self._current)

    def look(self) -> None:
        """Looks at the files; a changed token replaces the one before at once. Blocks while it reads."""
        stamps = self._looked()
        changed = [place for place, stamp in enumerate(stamps) if stamp != self._stamps[place]]
        if not changed:
            return
        found: dict[int, AuthToken] = {}
        for place in changed:
            try:
                found[place] = read_token(self._sections[place], self._environ)
            except TokenError as error:
                self._refused(place, error)
        self._refuse_equal(found)
        for place, token in found.items():
            self._stamps[place] = stamps[place]
            self._told.pop(place, None)
            if token != self._current[place]:
                self._current[place] = token
                self.counts["renewed"] += 1
                self._log.info("listener.token_renewed", key=dotted(token_path(place, self._sections[place])))
        self.tokens.replace(_token(each) for each in self._current)

    def _refuse_equal(self, found: dict[int, AuthToken]) -> None:
        """Takes out what would be there twice. Entries may change places: what counts is how all are together."""
        while True:
            owners = Counter(found.get(place, each).text for place, each in enumerate(self._current))
            twice = [place for place, token in found.items() if owners[token.text] > 1]
            if not twice:
                return
            for place in twice:
                del found[place]
                self._refused(place, TokenError("the token is that of another entry too"))

    def _first(self, place: int, section: AuthTokenSection) -> AuthToken:
        try:
            return read_token(section, self._environ)
        except TokenError as error:
            raise TokenError(f"{dotted(token_path(place, section))}: {error}") from None

    def _refused(self, place: int, error: TokenError) -> None:
        if self._told.get(place) == str(error):
            return
        self._told[place] = str(error)
        self.counts["refused"] += 1
        key = dotted(token_path(place, self._sections[place]))
        self._log.warning("listener.token_refused", key=key, fault=str(error), kept="the one before")

    def _looked(self) -> list[Stamp]:
        return [_stamp(section.token_file) if section.token_file else None for section in self._sections]


class ListenerFilesError(Exception):
    """A file or variable that `listen` names cannot be used; the message names the key and says why."""


class ListenerFiles:
    """What `listen` names, read at once. Raises ListenerFilesError."""

    def __init__(
        self,
        listen: ListenSection,
        environ: Mapping[str, str],
        *,
        log: FilteringBoundLogger,
        wall: Callable[[], float],
    ) -> None:
        try:
            self._certificate = CertificateFiles(listen.tls, log=log, wall=wall) if listen.tls.cert_file else None
            self._token_files = TokenFiles(listen.auth.tokens, environ, log=log) if listen.auth.tokens else None
        except CertificateError as error:
            raise ListenerFilesError(f"listen.tls.{error.key}: {error}") from None
        except TokenError as error:
            raise ListenerFilesError(str(error)) from None

    @property
    def tls(self) -> Tls | None:
        """What handshakes use, None without TLS."""
        return None if self._certificate is None else self._certificate.tls

    @property
    def tokens(self) -> Tokens | None:
        """The tokens that are valid, None where nobody needs one."""
        return None if self._token_files is None else self._token_files.tokens

    @property
    def expires_at(self) -> float | None:
        """When the certificate in use ends, seconds since the epoch; None without one."""
        return None if self._certificate is None else self._certificate.expires_at

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Returns how often files changed, by what they hold (certificate, token) and what became of it."""
        found: dict[tuple[str, str], int] = {}
        for what, part in (("certificate", self._certificate), ("token", self._token_files)):
            if part is not None:
                found |= {(what, result): part.counts[result] for result in ("renewed", "refused")}
        return found

    async def watch(self, renew: Callable[[Tls], None], every_seconds: float = LOOK_EVERY_SECONDS) -> None:
        """Keeps what is used in step with the files until it is cancelled; `renew` gets each new certificate."""
        certificate, tokens = self._certificate, self._token_files
        while certificate is not None or tokens is not None:
            await asyncio.sleep(every_seconds)
            # Off the loop, since a mounted secret may be on a slow file system.
            if certificate is not None and await asyncio.to_thread(certificate.renewed):
                renew(certificate.tls)
            if tokens is not None:
                await asyncio.to_thread(tokens.look)


def _token(found: AuthToken) -> Token:
    return Token(text=found.text, identity=Identity(role=Role(found.role), token=found.reference, tenant=found.tenant))


def _stamp(file: str) -> Stamp:
    """Returns what changes when a file does, links followed; None where it cannot be looked at."""
    try:
        status = os.stat(file)  # noqa: PTH116 - one call for four numbers
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
