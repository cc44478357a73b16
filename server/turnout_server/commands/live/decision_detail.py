"""What `turnout explain` prints of a decision, for a screen: sentences are wrapped, tables go on to the right."""

from __future__ import annotations

import textwrap

from turnout.v1 import admin_pb2
from turnout_server.commands.explaining import explanation
from turnout_server.commands.printing import printable

_INDENT = " " * 10
_TABLES = ("#  ", "REJECTED")
"""What a table begins with."""


def decision_detail(record: admin_pb2.DecisionRecord, width: int) -> list[str]:
    """Returns the lines about a decision; only tables may be wider than `width`."""
    lines: list[str] = []
    in_table = False
    for line in map(printable, explanation(record).split("\n")):
        in_table = line.startswith(_TABLES) or (in_table and bool(line))
        wrapped = [line] if in_table else textwrap.wrap(line, max(width, 20), subsequent_indent=_INDENT)
        lines += wrapped or [""]
    return lines
