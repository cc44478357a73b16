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
from turnout_server.config.providers import Found, resolved_providers
from turnout_server.config.schema import Configuration
from turnout_server.ports import UpstreamError
from turnout_server.providers.ollama.discovery import Asking, find_models

FIRST_LOOK_SECONDS = 0.5
"""The start waits no longer for servers that do not answer: they are asked again while the sidecar serves."""
LOOK_SECONDS = 10.0
LOOK_EVERY_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalServer:
    """One server that is asked for its models."""

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
        adopt: Callable[[Parts], object],
        log: FilteringBoundLogger,
    ) -> None:
        self._configuration = configuration
        self._environ = environ
        self._asking = servers
        self._adopt = adopt
        self._log = log
        self._found: dict[str, Sequence[ModelRow]] = {}
        self._silent: set[str] = set()
        self._missed: dict[str, frozenset[str]] = {}
        """Models that the last look did not find any more."""
        self._servers = local_servers(configuration, environ)

    async def first_look(self) -> None:
        """Asks once, so that the first call finds the models of a server that is up; returns soon in any case."""
        if self._servers:
            await self._look(FIRST_LOOK_SECONDS)

    async def watch(self) -> None:
        """Asks again and again, whoever there is to ask."""
        while True:
            soon = self._silent or any(self._missed.values())
            await asyncio.sleep(LOOK_SECONDS if soon else LOOK_EVERY_SECONDS)
            await self._look(LOOK_SECONDS)

    async def found_for(self, servers: Sequence[LocalServer], asking: Mapping[str, Asking]) -> Found:
        """Returns what is known of the servers of another configuration; new ones are asked, which takes no longer than
        the first look. Nothing changes here.
        """
        new = [server for server in servers if server not in self._servers]
        looks = await asyncio.gather(*(self._ask(server, FIRST_LOOK_SECONDS, asking) for server in new))
        found = {server.provider: rows for server, rows in zip(new, looks, strict=True) if rows is not None}
        return found | self.known_for(servers)

    def known_for(self, servers: Sequence[LocalServer]) -> dict[str, Sequence[ModelRow]]:
        """Returns what was found of those servers of another configuration that stay."""
        staying = {server.provider for server in servers if server in self._servers}
        return {provider: rows for provider, rows in self._found.items() if provider in staying}

    def follow(
        self, configuration: Configuration, servers: Sequence[LocalServer], asking: Mapping[str, Asking], found: Found
    ) -> None:
        """Takes another configuration, and what was found of its servers; a look under way tells only of those that
        stay.
        """
        self._configuration = configuration
        self._asking = asking
        self._servers = tuple(servers)
        self._found = dict(found)
        self._silent &= {server.provider for server in self._servers}
        self._missed = {}

    async def _look(self, limit_seconds: float) -> None:
        servers = self._servers
        looks = await asyncio.gather(*(self._ask(server, limit_seconds, self._asking) for server in servers))
        found = {
            server.provider: self._with_missed(server.provider, rows)
            for server, rows in zip(servers, looks, strict=True)
            # Another configuration may have been taken meanwhile.
            if rows is not None and server in self._servers
        }
        # A server that does not answer now keeps its models: whether they can be called is the breakers' business.
        if any(self._found.get(provider) != rows for provider, rows in found.items()):
            self._found.update(found)
            parts = build(self._configuration, self._environ, found=self._found)
            self._adopt(parts)
            self._log.info("models.found", **{name: len(rows) for name, rows in self._found.items()})

    def _with_missed(self, provider: str, rows: Sequence[ModelRow]) -> Sequence[ModelRow]:
        """Returns the models that were found, and those that were there a look ago.

        A list may be empty, or lack a model, for a moment: while a server begins, or a model is pulled anew. With a
        model that goes, its drain and all that is known of it go as well; so it goes once two looks have missed it.
        """
        listed = {row.name for row in rows}
        gone = [row for row in self._found.get(provider, ()) if row.name not in listed]
        before = self._missed.get(provider, frozenset())
        self._missed[provider] = frozenset(row.name for row in gone)
        kept = [row for row in gone if row.name not in before]
        return tuple(sorted((*rows, *kept), key=lambda row: row.name)) if kept else rows

    async def _ask(
        self, server: LocalServer, limit_seconds: float, asking: Mapping[str, Asking]
    ) -> Sequence[ModelRow] | None:
        try:
            async with asyncio.timeout(limit_seconds):
                models = await find_models(asking[server.provider], server.base_url, server.credential)
        except (TimeoutError, UpstreamError) as error:
            if server.provider not in self._silent:
                self._silent.add(server.provider)
                reason = error.detail if isinstance(error, UpstreamError) else "no answer in time"
                self._log.warning("models.unknown", provider=server.provider, reason=reason)
            return None
        self._silent.discard(server.provider)
        return tuple(local_row(model.name, model.context_window_tokens, model.abilities) for model in models)


def local_servers(configuration: Configuration, environ: Mapping[str, str]) -> tuple[LocalServer, ...]:
    """Returns the servers of a configuration that are asked for their models."""
    return tuple(
        LocalServer(
            provider=provider.name,
            base_url=provider.endpoints[0].base_url,
            credential=provider.credentials[0].spec.label if provider.credentials else "",
        )
        for provider in resolved_providers(configuration, environ)
        if provider.finds_models
    )
