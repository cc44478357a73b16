"""The faults as data: what each is played with, and what must come of it.

`quick` amounts go with the limits of `quick_settings`, so that a wait takes a second; `real` ones with the defaults.
`until` says what ends the attempt, which is also what bounds its time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType

from turnout_server.core.model import FailureKind as Kind


class Until(Enum):
    """What ends an attempt that meets the fault."""

    AT_ONCE = auto()
    FIRST_CONTENT = auto()
    """The limit to the first content; of an answer in one piece, the limit to the whole of it."""
    IDLE = auto()
    """The longest gap within a stream; of an answer in one piece, the limit to the whole of it."""
    DEADLINE = auto()
    """The caller's own time: the answer came, and never ended."""
    GOOD = auto()
    """Nothing: the answer is late, but not too late, and complete."""


_CONNECTION = frozenset({Kind.CONNECTION})
_TIMEOUT = frozenset({Kind.TIMEOUT})
_PROTOCOL = frozenset({Kind.PROTOCOL})
_TRUNCATED = frozenset({Kind.TRUNCATED})
_BROKEN = _PROTOCOL | _TRUNCATED
_SERVER = frozenset({Kind.SERVER_ERROR, Kind.OVERLOADED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault. `kinds` are the honest names of it in a stream, `whole_kinds` in an answer of one piece."""

    name: str
    kinds: frozenset[Kind] = frozenset()
    whole_kinds: frozenset[Kind] = frozenset()
    until: Until = Until.AT_ONCE
    after_content: bool = False
    """Half of the answer comes before it."""
    unbilled: bool = False
    """The provider cannot have charged: whoever asked may ask again."""
    reaches: bool = True
    """The request gets to the provider at all."""
    quick: float | None = None
    real: float | None = None

    def place(self, *, real: bool) -> str:
        """Returns the name as it stands in the URL."""
        amount = self.real if real else self.quick
        return self.name if amount is None else f"{self.name}={amount:g}"

    def expected(self, *, whole: bool) -> frozenset[Kind]:
        """Returns the kinds that an attempt may honestly end with."""
        return self.whole_kinds or self.kinds if whole else self.kinds


_ROWS = (
    Fault(name="reset_before_headers", kinds=_CONNECTION),
    Fault(name="reset_after_headers", kinds=_TRUNCATED),
    Fault(name="silence", kinds=_TIMEOUT, until=Until.FIRST_CONTENT),
    Fault(name="slow_headers", kinds=_TIMEOUT, until=Until.FIRST_CONTENT, quick=30, real=30),
    Fault(name="slow_first_token", kinds=_TIMEOUT, until=Until.FIRST_CONTENT, quick=30, real=30),
    Fault(name="silent_thinking", until=Until.GOOD, quick=2, real=60),
    Fault(name="stall", kinds=frozenset({Kind.STALLED}), whole_kinds=_TIMEOUT, until=Until.IDLE, after_content=True),
    Fault(name="cut", kinds=_TRUNCATED, after_content=True),
    Fault(name="cut_reset", kinds=_TRUNCATED, after_content=True),
    Fault(name="cut_clean", kinds=_TRUNCATED, whole_kinds=_PROTOCOL, after_content=True),
    Fault(name="malformed_first", kinds=_PROTOCOL),
    Fault(name="malformed_later", kinds=_PROTOCOL, after_content=True),
    Fault(name="no_end", kinds=_TRUNCATED, whole_kinds=_BROKEN, after_content=True),
    Fault(name="error_first", kinds=_SERVER),
    Fault(name="error_later", kinds=_SERVER, after_content=True),
    Fault(name="wrong_type", kinds=_BROKEN),
    Fault(name="html_200", kinds=_PROTOCOL),
    Fault(name="html_502", kinds=_SERVER),
    Fault(name="error_status", kinds=_SERVER, unbilled=True, quick=503, real=503),
    Fault(name="rate_limit", kinds=frozenset({Kind.RATE_LIMITED}), unbilled=True, quick=600, real=600),
    Fault(name="gzip_bomb", kinds=_PROTOCOL),
    Fault(name="gzip_bomb_of_lines", kinds=_PROTOCOL),
    Fault(
        name="endless_deltas",
        whole_kinds=_TIMEOUT,
        until=Until.DEADLINE,
        after_content=True,
        quick=0.05,
        real=0.05,
    ),
    Fault(name="endless_pings", kinds=_TIMEOUT, until=Until.FIRST_CONTENT, quick=0.05, real=1),
    Fault(name="long_line", kinds=_PROTOCOL),
    Fault(name="tls_plain", kinds=_CONNECTION, unbilled=True, reaches=False),
    Fault(name="tls_untrusted", kinds=_CONNECTION, unbilled=True, reaches=False),
    Fault(name="dns", kinds=_CONNECTION, unbilled=True, reaches=False),
    Fault(name="refused", kinds=_CONNECTION, unbilled=True, reaches=False),
    Fault(name="half_closed_first", kinds=_CONNECTION),
    Fault(name="half_closed_later", kinds=_TRUNCATED, after_content=True),
    Fault(name="drip", kinds=_TIMEOUT, until=Until.FIRST_CONTENT, quick=0.1, real=1),
    Fault(name="drip_later", whole_kinds=_TIMEOUT, until=Until.DEADLINE, after_content=True, quick=0.1, real=1),
)

FAULTS: Mapping[str, Fault] = MappingProxyType({fault.name: fault for fault in _ROWS})
"""By name."""

HEAD_FAULTS = (
    Fault(name="endless_header", kinds=_PROTOCOL),
    Fault(name="endless_headers", kinds=_PROTOCOL),
    Fault(name="endless_interim", kinds=_TIMEOUT, until=Until.FIRST_CONTENT, quick=0.05, real=0.5),
)
"""What only somebody who means harm does: heads of answers that never end."""
