"""Reads what a document shows to be copied: its fenced blocks, and the commands in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_COMMENT = re.compile(r"\s+#\s.*$")


@dataclass(frozen=True)
class Block:
    """A fenced block: the heading that it stands under, its language, what is in it."""

    section: str
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """The commands of a block of shell, one string each, without the comments behind them."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [re.sub(r" +", " ", _COMMENT.sub("", line)) for line in lines if line and not line.startswith("#")]


def blocks(document: Path) -> list[Block]:
    """Returns a document's fenced blocks in their order."""
    text = document.read_text()
    found = []
    for fence in _FENCE.finditer(text):
        before = _HEADING.findall(text, 0, fence.start())
        found.append(Block(before[-1] if before else "", fence[1], fence[2]))
    return found
