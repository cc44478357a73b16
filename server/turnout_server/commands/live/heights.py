"""How the lines of a terminal are shared among the three tables."""

from __future__ import annotations

from dataclasses import dataclass

_LEAST = 2
"""A heading and a row."""
_EVENT_SHARE = 0.45


@dataclass(frozen=True, slots=True, kw_only=True)
class Heights:
    """Lines of each table, its heading included."""

    targets: int
    decisions: int
    events: int


def heights(lines: int, target_count: int) -> Heights:
    """Shares out the lines that all tables have together.

    Targets get as many as there are of them, yet at most half; decisions and events share what is left. In a terminal
    of hardly any lines each keeps a row, so that the last ones do not fit.
    """
    targets = max(_LEAST, min(target_count + 1, lines // 2))
    rest = lines - targets
    events = max(_LEAST, int(rest * _EVENT_SHARE))
    return Heights(targets=targets, decisions=max(_LEAST, rest - events), events=events)
