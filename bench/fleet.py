"""The configuration and the requests that are measured: many targets, many kinds of request in turns."""

from __future__ import annotations

from itertools import cycle, islice
from typing import Any

from turnout.v1 import router_pb2 as pb

PROVIDER_COUNT = 8
KINDS = 97
"""Different requests that take turns; a prime, so that they do not fall into step with anything."""
TASKS = ("", "chat", "code_review", "auto_fix", "planning")
WORDS = "The quick brown fox jumps over the lazy dog while the router looks for a target. "


def configuration(target_count: int, base_url: str) -> dict[str, Any]:
    """Returns a configuration of so many targets at 8 providers of one address, all different in price and quality."""
    models = max(1, target_count // PROVIDER_COUNT)
    return {
        "listen": {"address": "127.0.0.1:0"},
        "health": {"address": ""},
        "metrics": {"address": "127.0.0.1:0"},
        "telemetry": {"log_level": "warning"},
        "providers": {
            f"provider-{p}": {
                "wire": "openai",
                "base_url": base_url,
                "allow_insecure": True,
                "allow_private": True,
                "models": [_model(p, m) for m in range(models)],
            }
            for p in range(min(PROVIDER_COUNT, target_count))
        },
    }


def _model(provider: int, model: int) -> dict[str, Any]:
    return {
        "name": f"model-{model}",
        "context_window_tokens": 128_000 if (provider + model) % 5 else 32_000,
        "max_output_tokens": 8192,
        "capabilities": ["STREAMING", "TOOLS", "JSON_SCHEMA", *(["VISION"] if model % 2 else [])],
        "price": {
            "input_per_million_usd": 0.5 + 0.13 * provider + 0.07 * model,
            "output_per_million_usd": 2.0 + 0.5 * provider + 0.3 * model,
        },
        "quality": 60 + (provider * 7 + model * 3) % 40,
        "latency_prior_seconds": 0.3 + 0.05 * ((provider + model) % 9),
    }


def route_requests() -> list[pb.RouteRequest]:
    """Returns requests that differ in task, length, limits and needs."""
    requests = []
    for i, task in enumerate(islice(cycle(TASKS), KINDS)):
        request = pb.RouteRequest(request_id=f"bench-{i}")
        profile = request.profile
        profile.task = task
        profile.input_tokens = 200 + 137 * i
        if i % 3 == 0:
            profile.max_output_tokens = 256 + 32 * i
        if i % 4 == 0:
            profile.capabilities.append(pb.CAPABILITY_TOOLS)
        if i % 7 == 0:
            request.options.max_cost_usd = 0.5
        requests.append(request)
    return requests


def chat(output_tokens: int) -> pb.ChatInput:
    """Returns a prompt of a few hundred tokens."""
    text = pb.Part(text=WORDS * 20)
    message = pb.Message(role=pb.ROLE_USER, parts=[text])
    return pb.ChatInput(messages=[message], max_output_tokens=output_tokens)
