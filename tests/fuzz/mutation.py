"""Makes bad requests: messages filled by chance with values that nobody expects, and bytes that were good once."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

DEPTH = 4
"""Messages within messages; deeper ones stay empty."""

NUMBERS = (0, 1, -1, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), 7, 1000)
REALS = (0.0, -0.0, 1.0, -1.0, 0.5, float("nan"), float("inf"), float("-inf"), 1e308, 5e-324)
TEXTS = (
    "",
    "x",
    "alpha",
    "alpha/large",
    "beta/large@nowhere",
    "default",
    "\x00",
    "é" * 300,
    "🌍",
    "a" * 5000,
    "{",
    '{"type": "object"}',
    "[" * 2000,
    "https://example.com/a.png",
    "http://169.254.169.254/latest",
    "image/png",
    "pro",
    "no-such-thing",
    "../../etc/passwd",
)
BYTES = (b"", b"\x00", b"\xff" * 100, b"x" * 5000)


def filled(message: Message, rng: random.Random, depth: int = 0) -> Message:
    """Sets some of a message's fields by chance; everything that the type allows may come."""
    for field in message.DESCRIPTOR.fields:
        if rng.random() < (0.35 if depth else 0.6):
            _set(message, field, rng, depth)
    return message


def _set(message: Message, field: Any, rng: random.Random, depth: int) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        _set_map(getattr(message, field.name), field.message_type, rng, depth)
    elif field.is_repeated:
        for _ in range(rng.choice((1, 1, 2, 5))):
            if field.message_type is not None:
                if depth < DEPTH:
                    filled(getattr(message, field.name).add(), rng, depth + 1)
            else:
                getattr(message, field.name).append(_value(field, rng))
    elif field.message_type is not None:
        inner = getattr(message, field.name)
        inner.SetInParent()
        if depth < DEPTH:
            filled(inner, rng, depth + 1)
    else:
        setattr(message, field.name, _value(field, rng))


def _set_map(entries: Any, entry: Any, rng: random.Random, depth: int) -> None:
    key = _value(entry.fields_by_name["key"], rng)
    value = entry.fields_by_name["value"]
    if value.message_type is None:
        entries[key] = _value(value, rng)
    elif depth < DEPTH:
        filled(entries[key], rng, depth + 1)


def _value(field: Any, rng: random.Random) -> Any:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return rng.choice([*(value.number for value in field.enum_type.values), 99, -1])
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if kind in {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}:
        return rng.choice(REALS)
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return rng.choice(BYTES if field.type == FieldDescriptor.TYPE_BYTES else TEXTS)
    low, high = {
        FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
        FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
        FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    }.get(kind, (0, 2**64 - 1))
    return max(low, min(high, rng.choice(NUMBERS)))


def mutated(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Returns the bytes with a few things done to them that networks and bad clients do."""
    out = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        rng.choice(_WAYS)(out, other, rng)
    return bytes(out)


def _flip(out: bytearray, other: bytes, rng: random.Random) -> None:
    del other
    if out:
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)


def _cut(out: bytearray, other: bytes, rng: random.Random) -> None:
    del other
    del out[rng.randrange(len(out) + 1) :]


def _remove(out: bytearray, other: bytes, rng: random.Random) -> None:
    del other
    start = rng.randrange(len(out) + 1)
    del out[start : start + rng.randrange(1, 9)]


def _insert(out: bytearray, other: bytes, rng: random.Random) -> None:
    del other
    start = rng.randrange(len(out) + 1)
    out[start:start] = rng.randbytes(rng.randrange(1, 9))


def _splice(out: bytearray, other: bytes, rng: random.Random) -> None:
    start = rng.randrange(len(out) + 1)
    out[start:] = other[rng.randrange(len(other) + 1) :]


def _repeat(out: bytearray, other: bytes, rng: random.Random) -> None:
    del other, rng
    out += out[:2000]


_WAYS: tuple[Callable[[bytearray, bytes, random.Random], None], ...] = (_flip, _cut, _remove, _insert, _splice, _repeat)
