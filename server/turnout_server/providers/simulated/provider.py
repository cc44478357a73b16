"""One simulated provider: its settings, which may change while it runs, and what it has counted."""

from __future__ import annotations

import hashlib
import random
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from turnout_server.providers.simulated.answers import Answer, Asked, compose, token_count
from turnout_server.providers.simulated.anthropic import AnthropicWire
from turnout_server.providers.simulated.faults import Fault, Problem, Refusal
from turnout_server.providers.simulated.gemini import GeminiWire
from turnout_server.providers.simulated.latency import LatencyModel
from turnout_server.providers.simulated.ollama import OllamaWire
from turnout_server.providers.simulated.openai import OpenAIWire
from turnout_server.providers.simulated.ratelimit import Bucket
from turnout_server.providers.simulated.wire import Limits, SimulatedWire

_CACHE_ENTRIES = 1024
_CACHE_MINIMUM_TOKENS = 1024
"""Both vendors cache prompts from this size on; the openai wire counts in steps of 128."""
_CACHE_STEP_TOKENS = 128


class WireName(StrEnum):
    """The wires a simulated provider can speak."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"
    OLLAMA = "ollama"


_WIRES: Mapping[WireName, Callable[[], SimulatedWire]] = {
    WireName.OPENAI: OpenAIWire,
    WireName.ANTHROPIC: AnthropicWire,
    WireName.GEMINI: GeminiWire,
    WireName.OLLAMA: OllamaWire,
}


class ProviderSettings(BaseModel):
    """What a simulated provider is like.

    `models` empty means that any name is served. `api_key` None accepts any key. `output_tokens` and `reasoning_tokens`
    are the usual lengths of answers. The rate limit is per minute and real: past it comes a 429.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    wire: WireName = WireName.OPENAI
    models: tuple[str, ...] = ()
    api_key: SecretStr | None = None
    context_window_tokens: int | None = Field(default=None, ge=1)
    output_tokens: int = Field(default=40, ge=1)
    reasoning_tokens: int = Field(default=24, ge=0)
    requests_per_minute: int = Field(default=60_000, ge=1)
    tokens_per_minute: int = Field(default=100_000_000, ge=1)
    latency: LatencyModel = LatencyModel()
    fault: Fault | None = None

    def changed(self, changes: Mapping[str, Any]) -> ProviderSettings:
        """Returns settings with these changes: `latency` is changed field by field, everything else is replaced.

        Raises pydantic's ValidationError, naming the field, for what does not fit.
        """
        merged = self.model_dump() | dict(changes)
        if isinstance(changes.get("latency"), Mapping):
            merged["latency"] = self.latency.model_dump() | dict(changes["latency"])
        return ProviderSettings.model_validate(merged)


class Ending(StrEnum):
    """How the simulated side saw a request end."""

    COMPLETE = "complete"
    FAULTED = "faulted"
    REFUSED = "refused"
    ABANDONED = "abandoned"
    """The client went away first."""


@dataclass(slots=True, kw_only=True)
class Counts:
    """What has come in and how it ended."""

    requests: int = 0
    streamed: int = 0
    in_flight: int = 0
    peak_in_flight: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    by_model: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, int | dict[str, int]]:
        """Returns the counts as plain values."""
        return {
            "requests": self.requests,
            "streamed": self.streamed,
            "in_flight": self.in_flight,
            "peak_in_flight": self.peak_in_flight,
            "endings": dict(self.endings),
            "faults": dict(self.faults),
            "by_model": dict(self.by_model),
        }

    def begun(self) -> None:
        """Counts a request that has arrived."""
        self.requests += 1
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)

    def ended(self, ending: Ending) -> None:
        """Counts how it ended."""
        self.in_flight -= 1
        self.endings[ending.value] += 1


class SimulatedProvider:
    """A named provider: its settings, its random numbers (seeded by its name too), its prompt cache, its counts."""

    def __init__(self, name: str, settings: ProviderSettings, *, seed: int, now: float) -> None:
        self.name = name
        self.settings = settings
        self.counts = Counts()
        self.rng = random.Random(f"{seed}/{name}")  # noqa: S311 - invented answers need no secrecy
        self._now = now
        self._seen_prefixes: OrderedDict[bytes, None] = OrderedDict()
        self._requests = Bucket(settings.requests_per_minute, now=now)
        self._tokens = Bucket(settings.tokens_per_minute, now=now)
        self._fault_left = settings.fault.count if settings.fault else None

    @property
    def wire(self) -> SimulatedWire:
        """How it speaks."""
        return _WIRES[self.settings.wire]()

    def change(self, changes: Mapping[str, Any], *, now: float) -> None:
        """Changes settings at once; a fault's count begins anew. Raises pydantic's ValidationError."""
        before, self.settings = self.settings, self.settings.changed(changes)
        if "fault" in changes:
            self._fault_left = self.settings.fault.count if self.settings.fault else None
        if before.requests_per_minute != self.settings.requests_per_minute:
            self._requests = Bucket(self.settings.requests_per_minute, now=now)
        if before.tokens_per_minute != self.settings.tokens_per_minute:
            self._tokens = Bucket(self.settings.tokens_per_minute, now=now)

    def fault_for(self, model: str) -> Fault | None:
        """Draws whether this request meets the fault in force."""
        fault = self.settings.fault
        if fault is None or (fault.models and model not in fault.models) or self._fault_left == 0:
            return None
        if self.rng.random() >= fault.share:
            return None
        if self._fault_left is not None:
            self._fault_left -= 1
        self.counts.faults[fault.kind.value] += 1
        return fault

    def limits(self, *, now: float) -> Limits:
        """Returns the state of the rate limit."""
        return Limits(requests=self._requests.reading(now=now), tokens=self._tokens.reading(now=now))

    def check_key(self, key: str) -> None:
        """Raises `Refusal` for a key that is not the provider's."""
        wanted = self.settings.api_key
        if wanted is not None and key != wanted.get_secret_value():
            raise Refusal(Problem.AUTHENTICATION)

    def admit(self, key: str, asked: Asked, *, now: float) -> None:
        """Takes the request from the rate limit; raises `Refusal` for key, model, size or too many requests."""
        self.check_key(key)
        settings = self.settings
        if settings.models and asked.model not in settings.models:
            raise Refusal(Problem.MODEL_NOT_FOUND)
        window = settings.context_window_tokens
        if window is not None and asked.input_tokens > window:
            raise Refusal(Problem.CONTEXT_LENGTH, _too_long(settings.wire, asked.input_tokens, window))
        wait = max(
            self._requests.wait_seconds(1, now=now),
            self._tokens.wait_seconds(asked.input_tokens, now=now),
        )
        if wait > 0:
            raise Refusal(Problem.RATE_LIMITED, retry_after_seconds=wait)
        self._requests.take(1, now=now)
        self._tokens.take(asked.input_tokens, now=now)

    def answer(self, asked: Asked, *, now: float) -> Answer:
        """Composes an answer and charges its tokens to the rate limit."""
        cached, cache_write = self._cache(asked)
        answer = compose(
            asked,
            output_tokens=self.settings.output_tokens,
            reasoning_tokens=self.settings.reasoning_tokens,
            cached=cached,
            cache_write=cache_write,
            rng=self.rng,
        )
        self._tokens.take(answer.tokens.output_count, now=now)
        return answer

    def _cache(self, asked: Asked) -> tuple[int, int]:
        """Returns the cached and the newly written tokens of the prompt's part before its last message."""
        size = token_count(asked.prefix)
        if asked.cache_asked is False or size < _CACHE_MINIMUM_TOKENS:
            return 0, 0
        key = hashlib.blake2b(asked.prefix, digest_size=16).digest()
        seen = key in self._seen_prefixes
        self._seen_prefixes[key] = None
        self._seen_prefixes.move_to_end(key)
        if len(self._seen_prefixes) > _CACHE_ENTRIES:
            self._seen_prefixes.popitem(last=False)
        if asked.cache_asked is None:
            return (size // _CACHE_STEP_TOKENS * _CACHE_STEP_TOKENS, 0) if seen else (0, 0)
        return (size, 0) if seen else (0, size)


def _too_long(wire: WireName, tokens: int, window: int) -> str:
    if wire is WireName.GEMINI:
        return f"The input token count ({tokens}) exceeds the maximum number of tokens allowed ({window})."
    if wire is WireName.ANTHROPIC:
        return f"prompt is too long: {tokens} tokens > {window} maximum"
    return (
        f"This model's maximum context length is {window} tokens. However, your messages resulted in {tokens} tokens. "
        "Please reduce the length of the messages."
    )
