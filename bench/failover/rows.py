"""What is played: the faults of `tests.faults`, with what they are in words, each for a unary call and for a stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tests.faults.table import FAULTS, Fault

GOOD = "good"
WORDS: Mapping[str, str] = MappingProxyType(
    {
        "reset_before_headers": "reset before any header",
        "reset_after_headers": "reset after the headers",
        "silence": "silence: the request is read, nothing is answered",
        "slow_headers": "headers after 30 s",
        "slow_first_token": "headers at once, first token after 30 s",
        "stall": "stall in the middle",
        "cut": "connection closed in the middle",
        "cut_reset": "connection reset in the middle",
        "cut_clean": "cut in the middle, HTTP ends cleanly",
        "malformed_first": "malformed event at the beginning",
        "malformed_later": "malformed event in the middle",
        "no_end": "all of the text, no finish reason, no end marker",
        "error_first": "error inside a 200, before content",
        "error_later": "error inside a 200, after content",
        "wrong_type": "plain text instead of the API, as a 200",
        "html_200": "a web page, as a 200",
        "html_502": "a web page, as a 502",
        "error_status": "503",
        "rate_limit": "429 with Retry-After: 600",
        "gzip_bomb": "gzip bomb, one event without end",
        "gzip_bomb_of_lines": "gzip bomb of empty lines",
        "endless_deltas": "an answer that never ends",
        "endless_pings": "pings, and never content",
        "long_line": "a line of 100 MB",
        "tls_plain": "plain HTTP where TLS is expected",
        "tls_untrusted": "a certificate that nobody signed",
        "dns": "the name cannot be resolved",
        "refused": "connection refused",
        "half_closed_first": "half-closed before the answer",
        "half_closed_later": "half-closed in the middle",
        "drip": "one byte a second, from the beginning",
        "drip_later": "one byte a second, from the middle on",
    }
)
LEFT_OUT = frozenset({"silent_thinking"})
"""A model that thinks for a minute and then answers is no fault, and takes longer than anybody has here."""
HEAVY = frozenset({"gzip_bomb", "gzip_bomb_of_lines", "long_line"})
"""Faults that keep a processor busy: they are played one after the other, so that others are not slowed by them."""
QUICK = ("reset_before_headers", "cut_clean", "error_first", "html_200", "error_status", "refused")
"""What is over at once."""
UNREACHED = frozenset(fault.name for fault in FAULTS.values() if not fault.reaches)
"""Faults of the address: no request comes to the provider, and none can be counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fault met by one kind of call."""

    fault: Fault
    streamed: bool

    @property
    def key(self) -> str:
        """A word for it that can stand in an address and in a model's name."""
        return f"{self.fault.name.replace('_', '-')}-{'stream' if self.streamed else 'unary'}"

    @property
    def place(self) -> str:
        """The fault as it stands in the provider's URL."""
        return self.fault.place(real=True)

    @property
    def breaks_in_the_middle(self) -> bool:
        """Whether the caller of a stream has seen content by then, so that nobody can take it back."""
        return self.streamed and self.fault.after_content


def all_rows(names: frozenset[str] | None = None) -> tuple[Row, ...]:
    """Returns the rows of these faults, None for all of them; KeyError for a fault without words here."""
    return tuple(
        Row(fault=fault, streamed=streamed)
        for fault in FAULTS.values()
        if fault.name not in LEFT_OUT and WORDS[fault.name] and (names is None or fault.name in names)
        for streamed in (False, True)
    )
