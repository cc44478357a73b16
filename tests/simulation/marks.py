"""Prompts that say which regions may see them, so that providers can tell what should not have come."""

from __future__ import annotations


def marked(regions: tuple[str, ...]) -> str:
    """Returns how a prompt begins that only these regions may see; "" for all."""
    return f"{','.join(regions)}|" if regions else ""


def regions_marked(words: str) -> tuple[str, ...]:
    """Returns the regions that may see a prompt; empty: all."""
    mark, bar, _ = words.partition("|")
    return tuple(mark.split(",")) if bar else ()
