"""Names of OpenTelemetry's GenAI and RPC conventions that we use. Both are still changing: this is the one place.

GenAI: development status, repository `semantic-conventions-genai`. RPC: release candidate, `semantic-conventions`.
"""

from __future__ import annotations

from types import MappingProxyType

CHAT = "chat"
"""`gen_ai.operation.name` of every attempt: whatever the wire, it is a conversation that is completed."""

PROVIDER_NAMES = MappingProxyType(
    {
        "google": "gcp.gemini",
        "kimi": "moonshot_ai",
        "mistral": "mistral_ai",
        "xai": "x_ai",
    }
)
"""`gen_ai.provider.name` of providers of the catalog that the conventions call otherwise; all others keep their own."""


def provider_name(provider: str) -> str:
    """Returns `gen_ai.provider.name` of a provider, by its name in the configuration."""
    return PROVIDER_NAMES.get(provider, provider)


DURATION_BUCKETS = tuple(0.01 * 2**power for power in range(14))
"""Upper bounds in seconds that the GenAI conventions give for durations: 0.01 to 81.92, doubling."""

TOKEN_BUCKETS = tuple(4**power for power in range(14))
"""Upper bounds in tokens that the GenAI conventions give: 1 to 67,108,864, each four times the one before."""

RPC_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Upper bounds in seconds that the RPC conventions give."""
