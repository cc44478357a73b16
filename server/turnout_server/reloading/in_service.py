"""What serves calls now and can be replaced while it does; the one place where a configuration is put in the place of
another.

`prepare` builds everything aside and may fail; `take` puts it in place as one step of the event loop, and cannot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from turnout_server.config.build import build
from turnout_server.config.check import check
from turnout_server.config.faults import ConfigurationError, Fault
from turnout_server.config.providers import provider_sections
from turnout_server.config.registering import registration_findings, section_findings
from turnout_server.config.run_time import RunTime
from turnout_server.local_models import LocalModels, LocalServer, local_servers
from turnout_server.providers.certificates import CertificateError
from turnout_server.providers.upstream import build_upstreams
from turnout_server.reloading.request_logging import RequestLogging, discard

if TYPE_CHECKING:
    from turnout_server.config.build import Parts
    from turnout_server.config.faults import Finding, Path
    from turnout_server.config.providers import Found
    from turnout_server.config.schema import Configuration
    from turnout_server.core.changing import ProviderFacts
    from turnout_server.core.recorded import Adopted
    from turnout_server.execution.executor import Executor
    from turnout_server.providers.connection import ProviderConnection
    from turnout_server.providers.secrets import Secrets
    from turnout_server.providers.upstream import HttpUpstream
    from turnout_server.router import Router
    from turnout_server.telemetry.logs.rotating_file import RotatingFile

Follow = Callable[["Configuration"], None]
"""Takes what it needs of another configuration; returns at once and never raises."""


@dataclass(slots=True, kw_only=True)
class Prepared:
    """A configuration, built. It is taken, or it is discarded."""

    configuration: Configuration
    connections: Mapping[str, ProviderConnection]
    upstreams: Mapping[str, HttpUpstream]
    new_upstreams: tuple[HttpUpstream, ...]
    servers: tuple[LocalServer, ...]
    secrets: Secrets
    changed_keys: tuple[tuple[str, str], ...]
    """(provider, label) of keys that stay in name and are others now."""
    request_file: RotatingFile | None
    parts: Parts
    found: Found = field(default_factory=dict)
    """Models of local servers that `parts` were built with."""

    async def discard(self) -> None:
        """Lets go of what was opened for it."""
        discard(self.request_file)
        await asyncio.gather(*(upstream.aclose() for upstream in self.new_upstreams))


class InService:
    """Everything that a configuration is put into; `follow` are all others that take something of it."""

    def __init__(
        self,
        configuration: Configuration,
        environ: Mapping[str, str],
        *,
        parts: Parts,
        secrets: Secrets,
        upstreams: Mapping[str, HttpUpstream],
        router: Router,
        executor: Executor,
        local_models: LocalModels,
        request_logging: RequestLogging,
        follow: tuple[Follow, ...] = (),
    ) -> None:
        self.configuration = configuration
        """What is in force: what the file says, with what was changed at run time in it."""
        self.file = configuration
        """What the file says."""
        self.run_time = RunTime()
        self.one_at_a_time = asyncio.Lock()
        """Held from what a change is made of is read until it is taken."""
        self.secrets = secrets
        self._environ = environ
        self._connections = {connection.provider: connection for connection in parts.connections}
        self.upstreams = dict(upstreams)
        """Those in force, by provider, also after another configuration was taken."""
        self._router = router
        self._executor = executor
        self._local_models = local_models
        self._request_logging = request_logging
        request_logging.secrets = self.known_secrets
        self.follow = follow

    async def take_file(self, file: Configuration) -> tuple[Adopted, tuple[Path, ...]]:
        """Puts what a changed file says in place, with what was changed at run time and is still the latest word.

        Returns also the paths of what is not. Where both together have faults the file holds alone: nothing that was
        said at run time keeps a good file out. Raises ConfigurationError, and nothing has changed then.
        """
        async with self.one_at_a_time:
            run_time = await self._fitting(self.run_time.following(file, self._environ), file)
            prepared = await self.prepare(run_time.laid_over(file, self._environ))
            undone = self.run_time.undone_in(run_time)
            adopted = self.take(prepared)
            self.file, self.run_time = file, run_time
            return adopted, undone

    async def take_change(self, run_time: RunTime) -> Adopted:
        """Puts what was changed at run time in place; its holder has `one_at_a_time`, and has checked it.

        Raises ConfigurationError, and nothing has changed then.
        """
        prepared = await self.prepare(run_time.laid_over(self.file, self._environ))
        adopted = self.take(prepared)
        self.run_time = run_time
        return adopted

    async def findings(self, run_time: RunTime) -> list[Finding]:
        """Returns what would be wrong with what is in force if this was what was changed at run time."""
        return await self.new_findings(run_time.laid_over(self.file, self._environ), self.configuration)

    def registration_findings(self, facts: ProviderFacts) -> list[Finding]:
        """Returns what speaks against a provider that is to be registered, by the rules for those alone."""
        taken = set(provider_sections(self.file, self._environ))
        found = list(registration_findings(facts, self.file, taken, self._environ))
        return found or section_findings(facts, self.file.admin)

    async def _fitting(self, run_time: RunTime, file: Configuration) -> RunTime:
        """Returns as much of what was changed at run time as a file can be taken with."""
        if await self._fits(run_time, file):
            return run_time
        # One by one, so that what has nothing to do with the fault stays.
        fitting = RunTime(providers=run_time.providers)
        for path, change in run_time.values.items():
            more = replace(fitting, values=MappingProxyType({**fitting.values, path: change}))
            if await self._fits(more, file):
                fitting = more
        for less in (fitting, *run_time.without_faults()):
            if await self._fits(less, file):
                return less
        return RunTime()

    async def _fits(self, run_time: RunTime, file: Configuration) -> bool:
        return run_time.is_empty or not await self.new_findings(run_time.laid_over(file, self._environ), file)

    async def new_findings(self, changed: Configuration, known: Configuration) -> list[Finding]:
        """Returns what is wrong with a configuration, and is not as wrong with one that is known to be taken."""

        def find() -> list[Finding]:
            found = list(check(changed, self._environ, files=False))
            before = list(check(known, self._environ, files=False)) if found else []
            return [each for each in found if each not in before]

        return await asyncio.to_thread(find)

    async def prepare(self, configuration: Configuration) -> Prepared:
        """Builds a configuration that was checked, most of it off the event loop. Raises ConfigurationError."""
        building = asyncio.ensure_future(asyncio.to_thread(self._build, configuration))
        try:
            prepared = await asyncio.shield(building)
        except asyncio.CancelledError:
            # A thread cannot be stopped: what it has opened is closed.
            (done,), _ = await asyncio.wait((building,))
            if done.exception() is None:
                await done.result().discard()
            raise
        try:
            found = await self._local_models.found_for(prepared.servers, prepared.upstreams)
            if found:
                prepared.found = found
                prepared.parts = await asyncio.to_thread(build, configuration, self._environ, found=found)
        except BaseException:
            await prepared.discard()
            raise
        return prepared

    def _build(self, configuration: Configuration) -> Prepared:
        parts = build(configuration, self._environ)
        connections = {each.provider: each for each in parts.connections}
        secrets = self.secrets.following(connections.values())
        other = [each for name, each in connections.items() if self._connections.get(name) != each]
        try:
            new = build_upstreams(other, secrets)
        except CertificateError as error:
            raise ConfigurationError([Fault(message=str(error))]) from None
        return Prepared(
            configuration=configuration,
            connections=connections,
            # A provider that is called as before keeps its connections.
            upstreams={name: new[name] if name in new else self.upstreams[name] for name in connections},
            new_upstreams=tuple(new.values()),
            servers=local_servers(configuration, self._environ),
            secrets=secrets,
            changed_keys=secrets.changed(),
            request_file=self._request_logging.prepare(configuration),
            parts=parts,
        )

    def take(self, prepared: Prepared) -> Adopted:
        """Puts a configuration in the place of the present one, as one step: no call sees a part of both.

        Calls that run end under the one that they began with.
        """
        configuration, found = prepared.configuration, prepared.found
        known = self._local_models.known_for(prepared.servers)
        parts = prepared.parts
        if any(found.get(provider) != rows for provider, rows in known.items()):
            # Models were found while this one was built.
            found = {**found, **known}
            parts = build(configuration, self._environ, found=found)
        self._executor.adopt(prepared.upstreams)
        adopted = self._router.adopt(parts.fleet, parts.settings)
        self._local_models.follow(configuration, prepared.servers, prepared.upstreams, found)
        self.secrets = prepared.secrets
        self._connections = dict(prepared.connections)
        self.upstreams.clear()
        self.upstreams.update(prepared.upstreams)
        self.configuration = configuration
        self._request_logging.take(configuration, prepared.request_file)
        for provider, label in prepared.changed_keys:
            self._router.administration.credential_changed(provider, label)
        self.secrets.start_commands()
        self.secrets.forget_others(each.headers_from_file for each in self._connections.values())
        for follow in self.follow:
            follow(configuration)
        return adopted

    async def look_at_keys(self) -> None:
        """Compares keys with what they were, so that a new one ends an outage."""
        # Files: off the loop, since a mounted secret may be on a slow file system.
        for provider, label in await asyncio.to_thread(self.secrets.changed):
            self._router.administration.credential_changed(provider, label)
        self.secrets.start_commands()

    def known_secrets(self) -> tuple[str, ...]:
        """Returns the secrets as they were at the last look, so that they can be taken out of what is written."""
        return self.secrets.known()
