"""The bearer token that goes with every call: given as text, or read from a file that somebody renews."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

Metadata = tuple[tuple[str, str], ...]

_WRITTEN = re.compile(r"[\x21-\x7e]+")
"""What can stand in the metadata: gRPC itself refuses anything else with each call, and not in words that help."""
_FORM = "a token is one line of ASCII characters without spaces"


class TokenSource:
    """One token; "" for none. A file is read now, and again when the sidecar no longer takes what was in it.

    Raises ValueError where the file cannot be read, and where it or the text holds no token.
    """

    def __init__(self, *, text: str = "", file: str = "") -> None:
        self._file = file
        self.text = _read(file) if file else text
        if text and not _WRITTEN.fullmatch(text):
            msg = f"what is given as token is none: {_FORM}"
            raise ValueError(msg)

    def __repr__(self) -> str:
        return f"TokenSource(file={self._file!r})"

    def use(self) -> TokenUse:
        """Returns the token for one call, with all its tries."""
        return TokenUse(self)

    def renewed(self, used: str) -> bool:
        """Tells whether there is another token than the one that was used, after another look at the file."""
        if self._file:
            try:
                self.text = _read(self._file)
            except ValueError:
                # The one before may still be good for other calls: the sidecar has said what is wrong with it.
                return False
        return self.text != used


@dataclass(slots=True)
class TokenUse:
    """The token for one call."""

    source: TokenSource
    used: str = field(default="", repr=False)

    def metadata(self) -> Metadata:
        """Returns what goes with the next try."""
        self.used = self.source.text
        return (("authorization", f"Bearer {self.used}"),) if self.used else ()

    def renewed(self) -> bool:
        """Tells whether there is another token now than the one of the last try."""
        return self.source.renewed(self.used)


class WithToken(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Puts the token beside every call of a channel."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Makes the call with the token."""
        return continuation(self._with_token(client_call_details), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Makes the call with the token."""
        return continuation(self._with_token(client_call_details), request)

    def _with_token(self, details: Any) -> Any:
        return details._replace(metadata=(*(details.metadata or ()), *self._source.use().metadata()))


def _read(file: str) -> str:
    try:
        text = Path(file).read_text(encoding="utf-8").strip()
    except OSError as error:
        msg = f"token file {file} cannot be read: {error.strerror or type(error).__name__}"
        raise ValueError(msg) from None
    except UnicodeDecodeError:
        msg = f"token file {file} is not UTF-8 text"
        raise ValueError(msg) from None
    if not text:
        msg = f"token file {file} is empty"
        raise ValueError(msg)
    if not _WRITTEN.fullmatch(text):
        msg = f"token file {file} holds no token: {_FORM}"
        raise ValueError(msg)
    return text
