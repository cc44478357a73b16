"""Attributes in OTLP's binary form, written straight from their values.

Encoding holds the interpreter, so that calls wait for it: all that stands before a value (numbers of fields, lengths,
the attribute's name) is made once for each name, and looked up from then on. Field numbers are those of
opentelemetry/proto/common/v1 (version 1.x, which is stable).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Any

NAMES_MAXIMUM = 1024
"""Names of attributes that are remembered. They stand in our code, and are a hundred: the bound is never met."""
LENGTHS_MAXIMUM = 256
"""Lengths of values that are remembered for one name."""
VARINTS_MAXIMUM = 4096
"""Lengths of spans and events that are remembered."""
TEXTS_MAXIMUM = 4096
"""Elements of arrays that are remembered: names of targets, states and reasons come again and again."""
TEXT_CHARACTERS = 80
"""The longest of them."""

MORE = 0x80
"""The bit of a varint's byte that says that another one follows: smaller numbers are one byte."""
STRING, BOOL, INT, DOUBLE, ARRAY = 0x0A, 0x10, 0x18, 0x21, 0x2A
"""What an AnyValue begins with, by the kind of its value."""
_double = Struct("<d").pack
_DOUBLE_ELEMENT = b"\x0a\x09\x21"


class Varints(dict[int, bytes]):
    """Lengths as they are written."""

    def __missing__(self, length: int) -> bytes:
        made = varint(length)
        if len(self) >= VARINTS_MAXIMUM:
            self.clear()
        self[length] = made
        return made


class _Lengths(dict[int, bytes]):
    """What stands before a value of so many bytes: of one attribute, and of one kind that has a length."""

    def __init__(self, before: int, key: bytes, kind: int) -> None:
        super().__init__()
        self._before = before
        self._key = key
        self._kind = kind

    def __missing__(self, length: int) -> bytes:
        inner = bytes((self._kind,)) + varint(length)
        made = _opened(self._before, self._key, inner, length)
        if len(self) >= LENGTHS_MAXIMUM:
            self.clear()
        self[length] = made
        return made


class _Texts(dict[str, bytes]):
    """Texts as elements of an array."""

    def __missing__(self, value: str) -> bytes:
        made = field(0x0A, text(STRING, value))
        if len(value) <= TEXT_CHARACTERS:
            if len(self) >= TEXTS_MAXIMUM:
                self.clear()
            self[value] = made
        return made


class _Name:
    """What stands before the values of one attribute."""

    __slots__ = ("_before", "_key", "arrays", "double", "false", "small", "texts", "true")

    def __init__(self, before: int, name: str) -> None:
        self._before = before
        self._key = key = text(0x0A, name)
        self.double = _opened(before, key, bytes((DOUBLE,)), 8)
        self.true = self.number(BOOL, 1)
        self.false = self.number(BOOL, 0)
        self.small = tuple(self.number(INT, value) for value in range(MORE))
        self.texts = _Lengths(before, key, STRING)
        self.arrays = _Lengths(before, key, ARRAY)

    def number(self, kind: int, value: int) -> bytes:
        """Returns the whole attribute of an integer."""
        return _opened(self._before, self._key, bytes((kind,)) + varint(value), 0)


class Attributes(dict[str, _Name]):
    """Writes attributes as fields of one number, `before` being the byte that such a field begins with."""

    def __init__(self, before: int) -> None:
        super().__init__()
        self._before = before
        self.texts = _Texts()

    def __missing__(self, name: str) -> _Name:
        if len(self) >= NAMES_MAXIMUM:
            self.clear()
        made = self[name] = _Name(self._before, name)
        return made

    def write(self, attributes: Mapping[str, Any] | None, parts: list[bytes]) -> None:
        """Appends what the attributes are written as. Raises TypeError for a type that attributes cannot have."""
        if not attributes:
            return
        add = parts.append
        for name, value in attributes.items():
            known, kind = self[name], type(value)
            if kind is float:
                add(known.double)
                add(_double(value))
            elif kind is str:
                try:
                    written = value.encode()
                except UnicodeEncodeError:
                    written = utf8(value)
                add(known.texts[len(written)])
                add(written)
            elif kind is bool:
                add(known.true if value else known.false)
            elif kind is int:
                add(known.small[value] if 0 <= value < MORE else known.number(INT, value))
            elif kind is list or kind is tuple:
                written = _elements(value, self.texts)
                add(known.arrays[len(written)])
                add(written)
            else:
                add(field(self._before, text(0x0A, name) + field(0x12, _value(value, self.texts))))

    def written(self, attributes: Mapping[str, Any] | None) -> bytes:
        """Returns what the attributes are written as."""
        parts: list[bytes] = []
        self.write(attributes, parts)
        return b"".join(parts)


def _value(value: Any, texts: _Texts) -> bytes:
    """Returns an AnyValue of whatever stands in an array, or has a type of its own."""
    if isinstance(value, str):
        return text(STRING, value)
    if isinstance(value, bool):
        return bytes((BOOL, value))
    if isinstance(value, int):
        return bytes((INT,)) + varint(value)
    if isinstance(value, float):
        return bytes((DOUBLE,)) + _double(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return field(ARRAY, _elements(value, texts))
    raise TypeError(f"an attribute cannot be a {type(value).__name__}")


def _elements(values: Sequence[Any], texts: _Texts) -> bytes:
    """Returns the content of an ArrayValue."""
    kinds = set(map(type, values))
    if kinds == {float}:
        return _DOUBLE_ELEMENT.join((b"", *map(_double, values)))
    if kinds == {str}:
        return b"".join(map(texts.__getitem__, values))
    return b"".join([field(0x0A, _value(one, texts)) for one in values])


def _opened(before: int, key: bytes, value: bytes, more: int) -> bytes:
    """Returns a KeyValue as a field, up to the last `more` bytes of its value, which are still to come."""
    value = b"\x12" + varint(len(value) + more) + value
    return bytes((before,)) + varint(len(key) + len(value) + more) + key + value


def field(before: int, content: bytes) -> bytes:
    """Returns a field with a length, `before` being the byte that it begins with."""
    length = len(content)
    if length < MORE:
        return bytes((before, length)) + content
    return bytes((before,)) + varint(length) + content


def text(before: int, value: str) -> bytes:
    """Returns a field of text."""
    return field(before, utf8(value))


def utf8(value: str) -> bytes:
    """Returns a text's bytes; half a character, which UTF-8 has no bytes for, is replaced."""
    try:
        return value.encode()
    except UnicodeEncodeError:
        return value.encode(errors="replace")


def varint(number: int) -> bytes:
    """Returns a number in its shortest form. Negative ones are the 64-bit ones of the same bits."""
    if 0 <= number < MORE:
        return bytes((number,))
    number &= 0xFFFF_FFFF_FFFF_FFFF
    parts = bytearray()
    while number >= MORE:
        parts.append(number & 0x7F | MORE)
        number >>= 7
    parts.append(number)
    return bytes(parts)
