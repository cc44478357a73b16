"""What a simulated wire must know of its vendor, so that the server needs to know none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Protocol, runtime_checkable

from turnout_server.providers.simulated.answers import Answer, Asked
from turnout_server.providers.simulated.faults import Refusal
from turnout_server.providers.simulated.ratelimit import BucketReading

TOKENS_PER_PIECE = 4
"""Words of text in one event of a stream."""

FRAGMENT_CHARACTERS = 9
"""Characters of a tool call's arguments in one event: small, and not aligned with anything in the JSON."""


class Stage(Enum):
    """Where in a stream a piece belongs; faults are aimed at stages."""

    OPENING = auto()
    CONTENT = auto()
    FINISH = auto()
    END_MARKER = auto()


@dataclass(frozen=True, slots=True)
class Piece:
    """One or more events that are sent together; `token_count` is what they take the model to make."""

    stage: Stage
    data: bytes
    token_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The state of the rate limit, for the headers."""

    requests: BucketReading
    tokens: BucketReading


class SimulatedWire(Protocol):
    """Reads requests and spells out answers as one vendor does.

    `path` is a pattern below the version: what it names joins the body. The first of `versions` is the usual one.
    `read` raises `Refusal` for what the vendor would refuse. `pieces` yields openings, then contents, then the finish,
    then the end marker. `error` returns status and body, `error_event` the same inside a stream.
    """

    path: str
    versions: tuple[str, ...]
    models_path: str
    stream_type: str
    ping: bytes

    def credential(self, headers: Mapping[str, str]) -> str:
        """Returns the key that came with the request, or nothing."""
        ...

    def models(self, names: Sequence[str]) -> dict[str, Any]:
        """Returns the list of models."""
        ...

    def read(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> Asked:
        """Returns what is asked."""
        ...

    def whole(self, answer: Answer, *, finished: bool) -> bytes:
        """Returns the body of an answer that is not streamed; without a finish reason if not `finished`."""
        ...

    def pieces(self, answer: Answer, asked: Asked) -> Iterator[Piece]:
        """Yields the events of a stream."""
        ...

    def error(self, refusal: Refusal, request_id: str) -> tuple[int, bytes]:
        """Returns status and body of an error."""
        ...

    def error_event(self, refusal: Refusal, request_id: str) -> bytes:
        """Returns an error as an event of a stream that began well."""
        ...

    def headers(self, request_id: str, limits: Limits, *, wall: float) -> dict[str, str]:
        """Returns the headers every answer carries; `wall` is seconds since the epoch."""
        ...

    def retry_headers(self, seconds: float) -> dict[str, str]:
        """Returns the headers that ask a client to wait."""
        ...


@runtime_checkable
class TellsOfModels(SimulatedWire, Protocol):
    """A wire whose vendor tells of each model what it can do."""

    model_path: str

    def model(self, name: str, context_window_tokens: int | None) -> dict[str, Any]:
        """Returns what is told of one model."""
        ...


def models_list(names: Sequence[str]) -> dict[str, Any]:
    """Returns the list of models as both OpenAI's and Anthropic's clients read it."""
    return {
        "object": "list",
        "data": [{"id": name, "object": "model", "type": "model"} for name in names],
        "has_more": False,
    }


def fragments(text: str) -> Iterator[str]:
    """Splits a tool call's arguments into small pieces."""
    for start in range(0, len(text), FRAGMENT_CHARACTERS):
        yield text[start : start + FRAGMENT_CHARACTERS]


def word_groups(text: str) -> Iterator[tuple[str, int]]:
    """Splits a text into pieces of a few words that join to the same text, each with its number of words."""
    words = text.split(" ")
    for start in range(0, len(words), TOKENS_PER_PIECE):
        group = words[start : start + TOKENS_PER_PIECE]
        yield (" " if start else "") + " ".join(group), len(group)
