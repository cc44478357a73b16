"""The HTTP server of the simulated providers: several by name under one address, and a way to change them meanwhile.

Provider NAME is served under `/NAME/v1`, or what its vendor calls the version; `/control` (see `control.py`) changes
settings and tells counts.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import web

from turnout_server.providers.simulated.answers import Asked
from turnout_server.providers.simulated.control import CONTROL, control_routes
from turnout_server.providers.simulated.delivery import Delivery, reset, silence
from turnout_server.providers.simulated.faults import Fault, FaultKind, Problem, Refusal
from turnout_server.providers.simulated.provider import Ending, ProviderSettings, SimulatedProvider, WireName
from turnout_server.providers.simulated.wire import TellsOfModels

_MAX_BODY_BYTES = 64 * 1024 * 1024
_STOP_SECONDS = 0.2
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

DEFAULT_PROVIDERS: Mapping[str, ProviderSettings] = {
    "openai": ProviderSettings(wire=WireName.OPENAI),
    "anthropic": ProviderSettings(wire=WireName.ANTHROPIC),
    "gemini": ProviderSettings(wire=WireName.GEMINI),
    "ollama": ProviderSettings(wire=WireName.OLLAMA, models=("local-small", "local-large")),
}


@dataclass(slots=True, kw_only=True, eq=False)
class _Running:
    """A request being served, and how it would be counted if it ended now."""

    request: web.Request
    provider: SimulatedProvider
    ending: Ending = Ending.ABANDONED


class SimulatedServer:
    """Simulated providers on a real socket; an async context manager.

    `port` 0 takes a free one; `url` and `base_url(name)` are known once it runs. `seed` fixes everything drawn by
    chance. Raises OSError where the address is taken.
    """

    def __init__(
        self,
        providers: Mapping[str, ProviderSettings] = DEFAULT_PROVIDERS,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 0,
    ) -> None:
        for name in providers:
            if not _NAME.fullmatch(name) or name == CONTROL:
                raise ValueError(f"{name!r} cannot name a simulated provider: use letters, digits, '.', '_' and '-'")
        now = time.monotonic()
        self.providers = {
            name: SimulatedProvider(name, settings, seed=seed, now=now) for name, settings in providers.items()
        }
        self._host = host
        self._port = port
        self._running: set[_Running] = set()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The address of the server, without a path."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    def base_url(self, name: str) -> str:
        """Returns the base URL of a provider, ending in its version, as a configuration wants it."""
        provider = self.providers[name]
        return f"{self.url}/{provider.name}{provider.wire.versions[0]}"

    def change(self, name: str, **changes: Any) -> None:
        """Changes settings of a provider at once, as the control API does."""
        self.providers[name].change(changes, now=time.monotonic())

    def cut_running(self, name: str) -> int:
        """Resets the connection of every request that the provider is serving; returns their number."""
        cut = [running for running in self._running if running.provider.name == name]
        for running in cut:
            running.ending = Ending.FAULTED
            reset(running.request)
        return len(cut)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=_MAX_BODY_BYTES)
        app.add_routes(control_routes(self))
        for provider in self.providers.values():
            wire = provider.wire
            for version in wire.versions:
                app.router.add_post(f"/{provider.name}{version}{wire.path}", self._handle)
                app.router.add_get(f"/{provider.name}{version}{wire.models_path}", self._models)
                if isinstance(wire, TellsOfModels):
                    app.router.add_post(f"/{provider.name}{version}{wire.model_path}", self._model)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=_STOP_SECONDS)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, backlog=4096)
        try:
            await site.start()
        except OSError:
            await self._runner.cleanup()
            raise
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for running in self._running:
            reset(running.request)
        if self._runner is not None:
            await self._runner.cleanup()

    def _provider(self, request: web.Request) -> SimulatedProvider:
        return self.providers[request.path.split("/", 2)[1]]

    async def _models(self, request: web.Request) -> web.Response:
        provider = self._provider(request)
        try:
            provider.check_key(provider.wire.credential(request.headers))
        except Refusal as refusal:
            status, data = provider.wire.error(refusal, "")
            return web.Response(status=status, body=data, content_type="application/json")
        return web.json_response(provider.wire.models(provider.settings.models))

    async def _model(self, request: web.Request) -> web.Response:
        provider = self._provider(request)
        wire = provider.wire
        assert isinstance(wire, TellsOfModels)
        name = str(_object(await request.read()).get("model", ""))
        if name not in provider.settings.models:
            status, data = wire.error(Refusal(Problem.MODEL_NOT_FOUND), "")
            return web.Response(status=status, body=data, content_type="application/json")
        return web.json_response(wire.model(name, provider.settings.context_window_tokens))

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        running = _Running(request=request, provider=self._provider(request))
        counts = running.provider.counts
        counts.begun()
        self._running.add(running)
        try:
            return await self._answer(running)
        except ConnectionError:
            return web.Response()  # nobody is left to read it
        finally:
            self._running.discard(running)
            counts.ended(running.ending)

    async def _answer(self, running: _Running) -> web.StreamResponse:
        request, provider = running.request, running.provider
        wire, now, request_id = provider.wire, time.monotonic(), f"{provider.rng.getrandbits(64):016x}"
        # Some vendors put the model and the way of answering into the path and the query.
        body = {**request.query, **_object(await request.read()), **request.match_info}
        fault = provider.fault_for(str(body.get("model", "")))
        if fault is not None and fault.kind in {FaultKind.CUT, FaultKind.RESET}:
            running.ending = Ending.FAULTED  # the connection's end cancels this task before it could say so
        try:
            if fault is not None:
                await _before_headers(request, fault)
            asked = wire.read(body, request.headers)
            self._count(provider, asked)
            provider.admit(wire.credential(request.headers), asked, now=now)
        except Refusal as refusal:
            running.ending = Ending.REFUSED if fault is None else Ending.FAULTED
            headers = wire.headers(request_id, provider.limits(now=now), wall=time.time())
            if refusal.retry_after_seconds is not None:
                headers |= wire.retry_headers(refusal.retry_after_seconds)
            status, data = wire.error(refusal, request_id)
            return web.Response(status=status, body=data, headers=headers, content_type="application/json")
        answer = provider.answer(asked, now=now)
        headers = wire.headers(request_id, provider.limits(now=now), wall=time.time())
        delivery = Delivery(request, provider, fault, request_id=request_id, headers=headers)
        response = await (delivery.stream if asked.streamed else delivery.whole)(asked, answer)
        slow = fault is not None and fault.kind is FaultKind.SLOW_FIRST_TOKEN
        running.ending = Ending.COMPLETE if fault is None or slow else Ending.FAULTED
        return response

    @staticmethod
    def _count(provider: SimulatedProvider, asked: Asked) -> None:
        provider.counts.by_model[asked.model] += 1
        provider.counts.streamed += asked.streamed


def _object(data: bytes) -> dict[str, Any]:
    """Returns the body's JSON object; an empty one, which every wire refuses, for anything else."""
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


async def _before_headers(request: web.Request, fault: Fault) -> None:
    """Acts out the faults that come before any header; raises `Refusal` for an error status."""
    if fault.kind is FaultKind.ERROR:
        raise Refusal(fault.answers(), status=fault.status, retry_after_seconds=fault.retry_after_seconds)
    if fault.kind is FaultKind.SILENCE:
        await silence(fault.seconds)
    if fault.kind in {FaultKind.RESET, FaultKind.SILENCE}:
        reset(request)
        await asyncio.sleep(0)
        raise ConnectionResetError
