"""Keeps the fleet in step with the models of local servers, which are found when the sidecar runs, and may change.

Arrow line: ask each server -> something new? -> build the same configuration with what was found -> adopt it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from turnout_server.config.build import Parts, build
from turnout_server.config.catalog import ModelRow, local_row
from turnout_server.config.providers import resolved_providers
from turnout_server.config.schema import Configuration
from turnout_server.ports import UpstreamError
from turnout_server.providers.ollama.discovery import Asking, find_models

FIRST_LOOK_SECONDS = 0.5
"""The start waits no longer for servers that do not answer: they are asked again while the sidecar serves."""
LOOK_SECONDS = 10.0
LOOK_EVERY_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    provider: str
    base_url: str
    credential: str


class LocalModels:
    """Asks servers for their models. `adopt` is given the parts with all that was found, when something has changed."""

    def __init__(
        self,
        configuration: Configuration,
        environ: Mapping[str, str],
        servers: Mapping[str, Asking],
        *,
        adopt: Callable[[Parts], None],
        log: FilteringBoundLogger,
    ) -> None:
        self._configuration = configuration
        self._environ = environ
        self._asking = servers
        self._adopt = adopt
        self._log = log
        self._found: dict[str, Sequence[ModelRow]] = {}
        self._silent: set[str] = set()
        self._servers = tuple(
            _Server(
                provider=provider.name,
                base_url=provider.endpoints[0].base_url,
                credential=provider.credentials[0].spec.label if provider.credentials else "",
            )
            for provider in resolved_providers(configuration, environ)
            if provider.finds_models
        )

    async def first_look(self) -> None:
        """Asks once, so that the first call finds the models of a server that is up; returns soon in any case."""
        if self._servers:
            await self._look(FIRST_LOOK_SECONDS)

    async def watch(self) -> None:
        """Asks again and again; returns at once where there is nobody to ask."""
        while self._servers:
            await asyncio.sleep(LOOK_EVERY_SECONDS if not self._silent else LOOK_SECONDS)
            await self._look(LOOK_SECONDS)

    async def _look(self, limit_seconds: float) -> None:
        looks = await asyncio.gather(*(self._ask(server, limit_seconds) for server in self._servers))
        found = {s.provider: rows for s, rows in zip(self._servers, looks, strict=True) if rows is not None}
        # A server that does not answer now keeps its models: whether they can be called is the breakers' business.
        if any(self._found.get(provider) != rows for provider, rows in found.items()):
            self._found.update(found)
            parts = build(self._configuration, self._environ, found=self._found)
            self._adopt(parts)
            self._log.info("models.found", **{name: len(rows) for name, rows in self._found.items()})

    async def _ask(self, server: _Server, limit_seconds: float) -> Sequence[ModelRow] | None:
        try:
            async with asyncio.timeout(limit_seconds):
                models = await find_models(self._asking[server.provider], server.base_url, server.credential)
        except (TimeoutError, UpstreamError) as error:
            if server.provider not in self._silent:
                self._silent.add(server.provider)
                reason = error.detail if isinstance(error, UpstreamError) else "no answer in time"
                self._log.warning("models.unknown", provider=server.provider, reason=reason)
            return None
        self._silent.discard(server.provider)
        return tuple(local_row(model.name, model.context_window_tokens, model.abilities) for model in models)
