"""Changes simulated providers while they run, over HTTP.

GET /control/providers and /control/providers/NAME tell settings and counts. PATCH /control/providers/NAME takes changed
settings as JSON (`{"fault": {"kind": "error", "status": 503}}`, `{"fault": null}`, `{"latency": {...}}`), and
`"cut_running": true` to break what is being served. POST /control/providers/NAME/reset forgets the counts.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Protocol

import orjson
from aiohttp import web
from pydantic import ValidationError

from turnout_server.providers.simulated.provider import Counts, SimulatedProvider

CONTROL = "control"
"""The first path segment that no provider can have."""


class Controlled(Protocol):
    """What the control API needs of the server."""

    providers: dict[str, SimulatedProvider]

    def base_url(self, name: str) -> str:
        """Returns the base URL of a provider."""
        ...

    def change(self, name: str, **changes: Any) -> None:
        """Changes settings of a provider."""
        ...

    def cut_running(self, name: str) -> int:
        """Breaks what a provider is serving."""
        ...


Handler = Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]


def control_routes(server: Controlled) -> Iterable[web.RouteDef]:
    """Returns the routes of the control API."""

    def state(provider: SimulatedProvider) -> dict[str, Any]:
        return {
            "name": provider.name,
            "base_url": server.base_url(provider.name),
            "settings": provider.settings.model_dump(mode="json"),
            "counts": provider.counts.as_json(),
        }

    def named(request: web.Request) -> SimulatedProvider:
        name = request.match_info["name"]
        if name not in server.providers:
            known = ", ".join(sorted(server.providers))
            raise web.HTTPNotFound(text=f"no simulated provider is called {name!r}; there are {known}\n")
        return server.providers[name]

    async def listed(_request: web.Request) -> web.Response:
        return _json({"providers": [state(provider) for provider in server.providers.values()]})

    async def shown(request: web.Request) -> web.Response:
        return _json(state(named(request)))

    async def changed(request: web.Request) -> web.Response:
        provider = named(request)
        changes = _changes(await request.read())
        cut = changes.pop("cut_running", False)
        try:
            server.change(provider.name, **changes)
        except ValidationError as error:
            # Only what and where: the input is the caller's and may hold a key.
            faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
            raise web.HTTPBadRequest(text=f"{faults}\n") from None
        broken = server.cut_running(provider.name) if cut is True else 0
        return _json(state(provider) | {"cut_count": broken})

    async def forgotten(request: web.Request) -> web.Response:
        provider = named(request)
        provider.counts = Counts(in_flight=provider.counts.in_flight)
        return _json(state(provider))

    one = f"/{CONTROL}/providers/{{name}}"
    return (
        web.get(f"/{CONTROL}/providers", listed),
        web.get(one, shown),
        web.patch(one, changed),
        web.post(f"{one}/reset", forgotten),
    )


def _json(body: Mapping[str, Any]) -> web.Response:
    return web.Response(body=orjson.dumps(body), content_type="application/json")


def _changes(data: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise web.HTTPBadRequest(text="the body must be a JSON object of changed settings\n") from None
    if not isinstance(found, dict):
        raise web.HTTPBadRequest(text="the body must be a JSON object of changed settings\n")
    return found
