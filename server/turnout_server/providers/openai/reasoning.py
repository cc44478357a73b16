"""Reasoning that goes back to the vendor it came from: what a part's signature holds, and where it stands in a turn.

Vendors of this wire sign nothing, or sign blocks of their own. So that a part still tells whose it is, its signature is
the name of the form, or the vendor's blocks as JSON.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from turnout_server.core.chat import Part, Reasoning
from turnout_server.providers.dialects import Dialect, ReasoningBack
from turnout_server.providers.failures import invalid_request
from turnout_server.providers.wire import JsonObject

PLACEHOLDER = " "
"""Stands for reasoning that is not there, because the turn is another vendor's; Kimi refuses a shorter one."""

UNSIGNED_BLOCKS = '[{"type":"reasoning.text","text":null}]'
"""The blocks of thinking that came without any."""

_ORIGIN = "turnout.origin"
"""The type of a block of our own, first in a signature, that says whose model made the others. It never goes out."""

_TEXTS = ("text", "summary")
_JOINED = frozenset({*_TEXTS, "data", "signature"})


class _Block:
    """One block: its fields, and the pieces of those that come in pieces."""

    __slots__ = ("_length", "_pieces", "_repeats", "fields")

    def __init__(self, *, repeats: bool) -> None:
        self.fields: dict[str, Any] = {}
        self._pieces: dict[str, list[str]] = {}
        self._repeats = repeats
        self._length = 0

    def add(self, piece: dict[str, Any]) -> str:
        """Takes a piece, and returns what readable text is new in it."""
        text = ""
        for name, value in piece.items():
            if name in _JOINED and value:
                new = self._new(name, value)
                text += new if name in _TEXTS else ""
                value = None  # noqa: PLW2901 - kept in pieces, its place in the order of fields
            if value is not None or name not in self.fields:
                self.fields[name] = value
        return text

    def _new(self, name: str, value: str) -> str:
        known = self._pieces.setdefault(name, [])
        if name in _TEXTS:
            if self._repeats and known and len(value) > self._length and value.startswith("".join(known)):
                value = value[self._length :]
            self._length += len(value)
        elif known == [value]:
            return ""
        known.append(value)
        return value

    def whole(self) -> dict[str, Any]:
        return {**self.fields, **{name: "".join(pieces) for name, pieces in self._pieces.items()}}


class ReasoningBlocks:
    """Collects a vendor's blocks of reasoning from the pieces of a stream: those of one index and type are one block.

    `repeats`: a piece may repeat all the text so far; what is known of it is left out.
    """

    __slots__ = ("_blocks", "_repeats")

    def __init__(self, *, repeats: bool = False) -> None:
        self._blocks: dict[tuple[Any, ...], _Block] = {}
        self._repeats = repeats

    def add(self, pieces: Iterable[dict[str, Any]]) -> str:
        """Takes the pieces of one event, and returns the readable text that is new in them."""
        texts: list[str] = []
        for place, piece in enumerate(pieces):
            name = piece.get("id")
            key: tuple[Any, ...] = (piece.get("index", place), piece.get("type"))
            known = self._blocks.get(key)
            if known is not None and name and known.fields.get("id") not in {None, name}:
                key = (*key, name)
                known = self._blocks.get(key)
            if known is None:
                known = self._blocks[key] = _Block(repeats=self._repeats)
            texts.append(known.add(piece))
        return "".join(texts)

    def signature(self, *, only_text: bool) -> str:
        """Returns the blocks as JSON, "" if there are none.

        `only_text` says that what `add` returned is all the text of the part: then it need not stand here again.
        """
        blocks = [block.whole() for block in self._blocks.values()]
        told = [(block, name) for block in blocks for name in _TEXTS if block.get(name)]
        if only_text and len(told) == 1:
            block, name = told[0]
            block[name] = None
        return orjson.dumps(blocks).decode() if blocks else ""


def maker_of(model: str, dialect: Dialect) -> str:
    """Returns who made a model, where a vendor has models of many makers; "" where all are the vendor's own."""
    return model.lstrip("~").partition("/")[0] if dialect.many_makers else ""


def marked(blocks: str, maker: str) -> str:
    """Returns blocks as JSON that tell whose they are, to be read by `put_back`; "" for a maker changes nothing."""
    if not maker:
        return blocks
    return f"[{orjson.dumps({'type': _ORIGIN, 'maker': maker}).decode()},{blocks[1:]}"


def put_back(entry: JsonObject, parts: Iterable[Part], form: ReasoningBack, maker: str = "") -> None:
    """Sets the reasoning of a turn in place, in the vendor's form; UpstreamError INVALID_REQUEST for a foreign form.

    `maker` is whose model reads it, as `maker_of` tells: what another's has sealed is left out.
    """
    kept = [(part.content, part.signature) for part in parts if isinstance(part.content, Reasoning)]
    if not kept:
        return
    match form:
        case ReasoningBack.CONTENT_FIELD | ReasoningBack.FIELD:
            entry[form.value] = "".join(content.text for content, _ in kept)
        case ReasoningBack.DETAILS:
            blocks = [block for content, signature in kept for block in _blocks(content.text, signature, maker)]
            if blocks:
                entry[form.value] = blocks
        case ReasoningBack.CHUNKS:
            answer = entry.get("content")
            text: list[JsonObject] = [{"type": "text", "text": answer}] if answer else []
            entry["content"] = [*(_chunk(content.text, signature) for content, signature in kept), *text]


def _blocks(text: str, signature: str, maker: str) -> list[JsonObject]:
    try:
        blocks: object = orjson.loads(signature)
    except orjson.JSONDecodeError:
        blocks = None
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise invalid_request("the signature of a reasoning part is not what the provider gave: send it back unchanged")
    origin = blocks.pop(0).get("maker") if blocks and blocks[0].get("type") == _ORIGIN else ""
    if maker and origin != maker:
        return []
    for block in blocks:
        for name in _TEXTS:
            if name in block and block[name] is None:
                block[name] = text
    return blocks


def _chunk(text: str, signature: str) -> JsonObject:
    chunk: JsonObject = {"type": "thinking", "thinking": [{"type": "text", "text": text}]}
    if signature != ReasoningBack.CHUNKS:
        chunk["signature"] = signature
    return chunk
