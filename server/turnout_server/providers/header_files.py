"""Headers of the operator's own, sent with every call to a provider: `Name: value` lines of a file that may change.

A file that has become wrong never replaces one that was right: calls go on with the headers that were read last.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from turnout_server.providers.secrets import SecretFiles, SecretUnavailableError

HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*")
"""What a header can carry; other characters mean different things to different servers (RFC 9110, 5.5)."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

_OURS = frozenset(
    {
        "accept",
        "accept-encoding",
        "anthropic-version",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""What says how a request is framed and how its answer is to be read: with other values calls would break."""

_OF_THE_PROXY = frozenset({"proxy-authorization", "proxy-connection"})


class HeaderFileError(ValueError):
    """A file of headers cannot be used; the message names file and line, never a value."""


def parse_headers(text: str, path: str) -> Mapping[str, str]:
    """Reads `Name: value` lines; empty ones and those that begin with # are skipped. Names come in lower case.

    Raises HeaderFileError for a line that is none, for one that is there twice, and for names that are not the
    operator's to set. Headers that carry a key (Authorization, x-api-key) are: they go before the provider's own.
    """
    headers: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, colon, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        where = f"line {number} of {path}"
        if not colon or not _HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(value):
            raise HeaderFileError(f"{where} is not a header: write Name: value, in ASCII characters")
        if name in _OURS:
            raise HeaderFileError(f"{where} sets {name}, which is not for the operator to set: remove the line")
        if name in _OF_THE_PROXY:
            raise HeaderFileError(f"{where} sets {name}: a proxy's user and password stand in proxy_url")
        if name in headers:
            raise HeaderFileError(f"{where} sets {name} a second time: remove one of the lines")
        headers[name] = value
    return MappingProxyType(headers)


class HeaderFile:
    """The headers of one file as it is now, or as it was when it was last right.

    `on_fault` is told once of each text that is wrong.
    """

    def __init__(self, path: str, files: SecretFiles, *, on_fault: Callable[[str], None] = lambda _: None) -> None:
        self._path = path
        self._files = files
        self._on_fault = on_fault
        self._text: str | None = None
        self._headers: Mapping[str, str] | None = None
        self._fault = ""

    def headers(self) -> Mapping[str, str]:
        """Returns them; HeaderFileError where the file has never been right."""
        try:
            text = self._files.text(self._path)
        except SecretUnavailableError as error:
            self._text = None
            self._note(str(error))
        else:
            if text is not self._text:
                self._read(text)
        if self._headers is None:
            raise HeaderFileError(self._fault)
        return self._headers

    def _read(self, text: str) -> None:
        # The same text comes as the same object, so that it is parsed once.
        self._text = text
        try:
            self._headers = parse_headers(text, self._path)
        except HeaderFileError as error:
            self._note(str(error))
        else:
            self._fault = ""

    def _note(self, fault: str) -> None:
        if fault == self._fault:
            return
        self._fault = fault
        kept = "" if self._headers is None else "; the headers it had before stay in use"
        self._on_fault(f"headers_from_file: {fault}{kept}")
