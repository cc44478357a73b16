"""Puts what was recorded into a page, between marks, so that the page shows what is and nobody edits it by hand.

A block begins with `<!-- run: SCENE/WHAT -->` on a line of its own, and a fence of text follows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

BLOCK = re.compile(r"^<!-- run: (?P<name>[\w/-]+) -->\n```text\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def rewritten(page: str, texts: Mapping[str, str]) -> str:
    """Returns the page with the recorded texts in its blocks; blocks of scenes that were not played stay.

    Raises:
        ValueError: the page has no block for a text, or a scene that was played has none for a block.
    """
    blocks = {found["name"] for found in BLOCK.finditer(page)}
    scenes = {name.partition("/")[0] for name in texts}
    unused = sorted(set(texts) - blocks)
    missing = sorted(name for name in blocks - set(texts) if name.partition("/")[0] in scenes)
    if unused or missing:
        raise ValueError(f"the page has no block for {unused}; no scene made what its blocks {missing} ask for")

    def block(found: re.Match[str]) -> str:
        text = texts.get(found["name"], found["text"]).rstrip("\n")
        return f"<!-- run: {found['name']} -->\n```text\n{text}\n```"

    return BLOCK.sub(block, page)
