"""Asks an Ollama server which models it has: they are the operator's, and come and go while the sidecar runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from turnout_server.ports import UpstreamError
from turnout_server.providers.ollama import api_url

MODELS_MAXIMUM = 200
"""More than anybody has on one machine; a server that lists more is not asked about the rest."""


class Asking(Protocol):
    """What it takes to ask: `HttpUpstream` is one. Raises UpstreamError."""

    async def get(self, url: str, credential: str) -> object:
        """Returns what stands at an address, parsed."""
        ...

    async def post(self, url: str, credential: str, body: Mapping[str, object]) -> object:
        """Returns the answer to a body, parsed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModel:
    """One model of a server. `context_window_tokens` None is unknown; `abilities` are the server's own words."""

    name: str
    context_window_tokens: int | None = None
    abilities: frozenset[str] = frozenset()


async def find_models(server: Asking, base_url: str, credential: str) -> tuple[FoundModel, ...]:
    """Returns the models that answer chats, by name; raises UpstreamError where the server cannot be asked."""
    listed = await server.get(api_url(base_url, "tags"), credential)
    names = [name for entry in _entries(listed) if (name := _name(entry))]
    found = []
    for name in names[:MODELS_MAXIMUM]:
        try:
            details = await server.post(api_url(base_url, "show"), credential, {"model": name})
        except UpstreamError:
            # Removed in this moment, or a server without this path: what is unknown is no reason against a model.
            details = {}
        model = _model(name, details)
        if model is not None:
            found.append(model)
    return tuple(sorted(found, key=lambda model: model.name))


def _entries(listed: object) -> list[Any]:
    models = listed.get("models") if isinstance(listed, dict) else None
    return models if isinstance(models, list) else []


def _name(entry: object) -> str:
    """Returns a model's name without the tag that every model has that was given none."""
    name = (entry.get("model") or entry.get("name")) if isinstance(entry, dict) else None
    return name.removesuffix(":latest") if isinstance(name, str) else ""


def _model(name: str, details: object) -> FoundModel | None:
    facts = details if isinstance(details, dict) else {}
    told = facts.get("capabilities")
    abilities = frozenset(word for word in told if isinstance(word, str)) if isinstance(told, list) else frozenset()
    if abilities and "completion" not in abilities:
        # It makes embeddings, or pictures.
        return None
    info = facts.get("model_info")
    lengths = [
        value
        for key, value in (info.items() if isinstance(info, dict) else ())
        if isinstance(key, str) and key.endswith(".context_length") and type(value) is int and value > 0
    ]
    return FoundModel(name=name, context_window_tokens=max(lengths, default=None), abilities=abilities)
