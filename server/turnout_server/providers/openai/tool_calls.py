"""Tells the tool calls of one answer apart, also where a server numbers them badly or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import uuid4

from turnout_server.providers.exact_json import arguments_text
from turnout_server.providers.json_text import word

_NO_IDS = frozenset({"", "null"})
"""What stands for no id: Mistral's servers and clients have written `null` as a word."""


class CallPiece(NamedTuple):
    """A piece of the call `key`; id and name come with the first one only."""

    key: int
    id: str
    name: str
    fragment: Any


class ToolCalls:
    """The calls of one answer so far."""

    __slots__ = ("_ids", "_last", "_renumbered", "_without_arguments")

    def __init__(self) -> None:
        self._ids: dict[int, str] = {}
        self._last = 0
        self._renumbered: dict[int, int] = {}
        self._without_arguments: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def read(self, call: Any, place: int) -> CallPiece | None:
        """Reads one entry, the `place`th of its event; None where it brings nothing. ValueError for one of no name."""
        function = call.get("function") or {}
        name, call_id, fragment = word(function.get("name")), word(call.get("id")), function.get("arguments") or ""
        if call_id in _NO_IDS:
            call_id = ""
        if not isinstance(fragment, str):
            # Some servers send the arguments as an object.
            fragment = arguments_text(fragment)
        index = call.get("index")
        if index is None:
            key = self._key_without_index(call_id, name, place)
        else:
            key = self._renumbered.get(index, index)
            if call_id and name and self._ids.get(key, call_id) != call_id:
                # Some servers give every call of a turn the index 0.
                key = self._renumbered[index] = max(self._ids) + 1
        self._last = key
        if fragment:
            self._without_arguments.pop(key, None)
        elif key not in self._ids:
            self._without_arguments[key] = None
        if key in self._ids:
            return CallPiece(key, "", "", fragment) if fragment else None
        if not name:
            raise ValueError
        self._ids[key] = call_id
        return CallPiece(key, call_id or f"call_{uuid4().hex}", name, fragment)

    @property
    def without_arguments(self) -> Iterable[int]:
        """The keys of calls that have brought no arguments, which stands for an empty object."""
        return self._without_arguments

    def _key_without_index(self, call_id: str, name: str, place: int) -> int:
        for key, known in self._ids.items():
            if call_id and known == call_id:
                return key
        if call_id or name:
            return max(self._ids, default=-1) + 1
        return self._last if self._ids else place
