"""The list of all speakers: whoever is named here goes through the whole contract suite."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.wire.dialect_speakers import (
    CerebrasSpeaker,
    GroqSpeaker,
    KimiSpeaker,
    LocalSpeaker,
    MiniMaxSpeaker,
    MistralSpeaker,
    OpenRouterSpeaker,
    XaiSpeaker,
)
from tests.wire.gemini_speaker import GeminiSpeaker
from tests.wire.ollama_speaker import OllamaSpeaker
from tests.wire.speakers import AnthropicSpeaker, OpenAISpeaker, Speaker

SPEAKERS: Mapping[str, Callable[[], Speaker]] = {
    "openai": OpenAISpeaker,
    "anthropic": AnthropicSpeaker,
    "gemini": GeminiSpeaker,
    "ollama": OllamaSpeaker,
    "mistral": MistralSpeaker,
    "groq": GroqSpeaker,
    "cerebras": CerebrasSpeaker,
    "xai": XaiSpeaker,
    "kimi": KimiSpeaker,
    "minimax": MiniMaxSpeaker,
    "openrouter": OpenRouterSpeaker,
    "onnx": LocalSpeaker,
}
"""By the name that stands in the names of the tests. A new wire adds its import and its line."""
