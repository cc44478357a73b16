"""Methods that the contract has and this version has not: they say so with the same details as every other error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor

from turnout_server.api.failing import Failing
from turnout_server.core.errors import NotYetError


def refuse_rest(servicer: Any, service: ServiceDescriptor, failing: Failing, answered: Collection[str] = ()) -> None:
    """Gives the servicer a refusing method for each one of the service that is not in `answered`."""
    for method in service.methods:
        if method.name not in answered:
            setattr(servicer, method.name, _refusal(f"{service.name}.{method.name}", failing))


def _refusal(name: str, failing: Failing) -> Callable[[Any, Any], Awaitable[None]]:
    async def refuse(_request: Any, context: Any) -> None:
        await failing.fail(context, NotYetError(f"{name} is not available in this version"))

    return refuse
