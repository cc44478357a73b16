"""The sidecar's configuration in a staging: three vendors that are simulated, of one model each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

PROVIDERS = {"north": "openai", "south": "anthropic", "west": "gemini"}
"""By name the wire that each speaks."""

_PRICES = {"north": (1.0, 4.0), "south": (3.0, 15.0), "west": (2.0, 8.0)}
_QUALITY = {"north": 80, "south": 92, "west": 85}


def configuration(base_urls: Mapping[str, str], *, listen: Mapping[str, Any], changes: Mapping[str, Any]) -> str:
    """Returns a `turnout.yaml` (JSON is YAML); `changes` are laid over it, mapping by mapping."""
    document: dict[str, Any] = {
        **listen,
        "drain_seconds": 2,
        "routing": {
            "provider_order": list(PROVIDERS),
            "policies": {"default": {"strategy": "PRIORITY", "quality_floor": "none"}},
        },
        "providers": {name: provider(name, url) for name, url in base_urls.items()},
    }
    return json.dumps(laid_over(document, changes), indent=2)


def provider(name: str, base_url: str) -> dict[str, Any]:
    """Returns the block of one provider, whose one model is called `NAME-1`."""
    cost_in, cost_out = _PRICES[name]
    model = {
        "name": f"{name}-1",
        "context_window_tokens": 128_000,
        "max_output_tokens": 4_096,
        "quality": _QUALITY[name],
        "capabilities": ["STREAMING", "TOOLS"],
        "latency_prior_seconds": 0.1,
        "price": {"input_per_million_usd": cost_in, "output_per_million_usd": cost_out},
    }
    return {
        "wire": PROVIDERS[name],
        "base_url": base_url,
        "allow_insecure": True,
        "allow_private": True,
        "models": [model],
    }


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Returns both together: mappings key by key, everything else as above has it; None there takes a key away."""
    found = dict(below)
    for key, value in above.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(found.get(key), Mapping):
            found[key] = laid_over(found[key], value)
        else:
            found[key] = value
    return found
