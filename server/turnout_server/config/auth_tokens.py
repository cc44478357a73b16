"""Bearer tokens of the listener, found where their references lead. Nothing here ever quotes one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath

from turnout_server.config.faults import Finding, Path
from turnout_server.config.schema import AuthTokenSection

SHORTEST, LONGEST = 16, 4096
"""Characters of a token. Sixteen hexadecimal digits are 64 bits, too many to be tried one by one over a network."""

_WRITTEN = re.compile(r"[A-Za-z0-9._~+/=-]+")
"""What a bearer token may be written with, RFC 6750 (2.1), a sign of equality anywhere."""


class TokenError(Exception):
    """A reference leads to no usable token; the message says why, never what stands there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthToken:
    """One token. `reference` is where it is written down: the same as long as the entry is."""

    reference: str
    text: str = field(repr=False)
    role: str
    tenant: str


def token_path(place: int, section: AuthTokenSection) -> Path:
    """Returns the path of the key that an entry's token comes from."""
    return ("listen", "auth", "tokens", place, "token_file" if section.token_file else "token_env")


def read_token(section: AuthTokenSection, environ: Mapping[str, str]) -> AuthToken:
    """Reads the token of one entry. Raises TokenError."""
    file, variable = section.token_file, section.token_env
    text = _of_file(file) if file else environ.get(variable, "").strip()
    where = _file(file) if file else _variable(variable)
    if not text:
        raise TokenError(f"{where} is empty" if file else f"{where} is not set")
    if not SHORTEST <= len(text) <= LONGEST:
        raise TokenError(
            f"{where} holds a token of {len(text)} characters; give {SHORTEST} to {LONGEST}, as `openssl rand -hex 32` "
            f"makes them"
        )
    if not _WRITTEN.fullmatch(text):
        raise TokenError(f"{where} holds what no token is written with; give letters, digits and any of . _ ~ + / = -")
    reference = f"file {file}" if file else f"environment variable {variable}"
    return AuthToken(reference=reference, text=text, role=section.role, tenant=section.tenant)


def token_findings(
    sections: Sequence[AuthTokenSection], environ: Mapping[str, str], *, files: bool
) -> Iterator[Finding]:
    """Yields what is wrong with entries, each with its path; with `files` also with what they lead to."""
    known: dict[str, int] = {}
    for place, section in enumerate(sections):
        if bool(section.token_file) == bool(section.token_env):
            yield ("listen", "auth", "tokens", place), "give exactly one of token_file and token_env"
            continue
        if not files:
            continue
        try:
            text = read_token(section, environ).text
        except TokenError as error:
            yield token_path(place, section), str(error)
            continue
        if text in known:
            yield token_path(place, section), f"the token is that of listen.auth.tokens[{known[text]}] too"
        known.setdefault(text, place)


def _of_file(file: str) -> str:
    try:
        with FilePath(file).open("rb") as stream:
            # White space around it is no part of it.
            content = stream.read(2 * LONGEST)
        return content.decode().strip()
    except OSError as error:
        raise TokenError(f"{_file(file)} cannot be read: {error.strerror or type(error).__name__}") from None
    except ValueError:
        raise TokenError(f"{_file(file)} is not UTF-8 text") from None


def _file(name: str) -> str:
    """Names a file, unless it is no path: then it may be a token that was pasted in its place."""
    return f"file {name}" if os.sep in name else "the file named there"


def _variable(name: str) -> str:
    return (
        f"environment variable {name}" if name.isidentifier() and name.upper() == name else "the variable named there"
    )
