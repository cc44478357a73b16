"""Which models are known to take, or to refuse, a conversation that ends with the assistant's turn."""

import pytest

from turnout_server.core.fleet import Prefill
from turnout_server.providers.dialects import dialect_of
from turnout_server.providers.prefill import prefill_of

TAKEN, UNKNOWN, REFUSED = Prefill.TAKEN, Prefill.UNKNOWN, Prefill.REFUSED
WITHOUT_THINKING = Prefill.TAKEN_WITHOUT_THINKING


@pytest.mark.parametrize(
    ("provider", "wire", "model", "expected"),
    [
        ("anthropic", "anthropic", "claude-3-5-haiku-20241022", WITHOUT_THINKING),
        ("anthropic", "anthropic", "claude-sonnet-4-5-20250929", WITHOUT_THINKING),
        ("anthropic", "anthropic", "claude-opus-4-6", REFUSED),
        ("anthropic", "anthropic", "claude-sonnet-5", REFUSED),
        ("anthropic", "anthropic", "claude-fable-1", REFUSED),
        ("house", "anthropic", "us.anthropic.claude-opus-4-6-v1", REFUSED),
        ("minimax", "anthropic", "MiniMax-M2", UNKNOWN),
        ("google", "gemini", "gemini-2.5-flash", TAKEN),
        ("google", "gemini", "gemini-3.5-flash", TAKEN),
        ("google", "gemini", "gemini-3.5-flash-lite", REFUSED),
        ("google", "gemini", "gemini-3.6-flash", REFUSED),
        ("google", "gemini", "gemini-4-pro", REFUSED),
        ("google", "gemini", "gemini-flash-latest", UNKNOWN),
        ("google", "gemini", "gemma-3-27b-it", UNKNOWN),
        ("ollama", "ollama", "qwen3", TAKEN),
        ("openai", "openai", "gpt-4o", TAKEN),
        ("openai", "openai", "gpt-5.1", UNKNOWN),
        ("openai", "openai", "o3", UNKNOWN),
        ("mistral", "openai", "mistral-large-latest", REFUSED),
        ("codestral", "openai", "codestral-latest", REFUSED),
        ("groq", "openai", "llama-3.3-70b-versatile", TAKEN),
        ("xai", "openai", "grok-4", TAKEN),
        ("kimi", "openai", "kimi-k2", UNKNOWN),
        ("openrouter", "openai", "anthropic/claude-opus-4.6", REFUSED),
        ("openrouter", "openai", "anthropic/claude-sonnet-4.5", WITHOUT_THINKING),
        ("openrouter", "openai", "google/gemini-3.6-flash", REFUSED),
        ("openrouter", "openai", "mistralai/mistral-large", REFUSED),
        ("openrouter", "openai", "openai/gpt-4o", TAKEN),
        ("openrouter", "openai", "deepseek/deepseek-r1", UNKNOWN),
        ("house-llm", "openai", "small", UNKNOWN),
    ],
)
def test_what_is_known_of_a_model_is_told_and_nothing_else(
    provider: str, wire: str, model: str, expected: Prefill
) -> None:
    assert expected is prefill_of(dialect_of(provider, wire), wire, model)
