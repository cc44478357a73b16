"""Who may call what: asked when an RPC comes in, before anything of it is read.

A listener without tokens on this machine asks for nothing, and then nothing here runs. Otherwise the caller is found by
its bearer token, or where it has none by what the listener says of everybody who reaches it, and the method's rule is
held against its role.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, TypeAlias

import grpc
from structlog.typing import FilteringBoundLogger

from turnout.v1 import admin_pb2
from turnout_server.api.failing import Failing
from turnout_server.api.principals import Identity, Role, asking
from turnout_server.api.tokens import Tokens
from turnout_server.core.errors import PermissionDeniedError, TurnoutError, UnauthenticatedError

AUTHORIZATION = "authorization"
SCHEME = "bearer "
LOG_EVERY_SECONDS = 10.0
"""A caller with a wrong token tries again and again: one line for all of that time."""

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Ask: TypeAlias = "Callable[[Sequence[tuple[str, str | bytes]] | None], Handler | None]"
"""Takes the metadata of an RPC; notes who asks and returns None, or returns the handler that refuses."""


class Need(Enum):
    """What a method asks of its caller."""

    CALL = "any role"
    OWN = "any role; of one that is bound to a tenant it shows that tenant's alone"
    READ = "any role that is not bound to a tenant: it shows those of all tenants"
    ADMIN = "role admin"


ADMIN_SERVICE = admin_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name
ADMIN_NEEDS: Mapping[str, Need] = MappingProxyType(
    {
        "GetRouting": Need.OWN,
        "ListDecisions": Need.OWN,
        "GetDecision": Need.OWN,
        "GetStatistics": Need.OWN,
        "CompareTargets": Need.OWN,
        "GetTrend": Need.OWN,
        "ListEvents": Need.READ,
        "WatchEvents": Need.READ,
        "ListBudgets": Need.READ,
        "GetSpend": Need.READ,
        "ListShadowDifferences": Need.READ,
        "ReplayDecisions": Need.READ,
    }
)
"""The methods of AdminService that read; every other one changes something, or shows all there is."""


def need(service: str, method: str) -> Need:
    """Returns what a method asks of its caller."""
    return ADMIN_NEEDS.get(method, Need.ADMIN) if service == ADMIN_SERVICE else Need.CALL


class Refusals:
    """Counts RPCs that were refused for who asked, by reason, and tells the log of them now and then."""

    __slots__ = ("_clock", "_log", "_told_at", "_told_count", "counts")

    def __init__(self, log: FilteringBoundLogger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self.counts: Counter[str] = Counter()
        self._told_at: dict[str, float] = {}
        self._told_count: Counter[str] = Counter()

    def count(self, reason: str, error: TurnoutError, method: str, peer: str) -> None:
        """Counts one; the log has the first of each time, with how many there were since the one before."""
        self.counts[reason] += 1
        now = self._clock()
        told_at = self._told_at.get(reason)
        if told_at is not None and now - told_at < LOG_EVERY_SECONDS:
            return
        since = self.counts[reason] - self._told_count[reason]
        self._told_at[reason], self._told_count[reason] = now, self.counts[reason]
        self._log.warning(
            "api.refused", reason=reason, method=method, peer=peer, refusal=error.message, refused_count=since
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """One listener's rule. `tokens` is None where no token is configured.

    `without_token` is who a caller without a token is; None where it must have one.
    """

    failing: Failing
    refusals: Refusals
    tokens: Tokens | None = None
    without_token: Identity | None = None

    @property
    def open(self) -> bool:
        """Whether every caller may call everything that asks for role call."""
        return self.tokens is None

    def ask(self, service: str, method: str) -> Ask | None:
        """Returns what is to be asked of callers of a method, None for nothing."""
        name, wanted = f"{service.rpartition('.')[2]}/{method}", need(service, method)
        if self.tokens is not None:
            return self._of_tokens(name, wanted, self.tokens)
        if self.without_token is None or not _forbidden(self.without_token, wanted):
            return None
        refusal = self._refusal(name, _denied(name, self.without_token, wanted))
        return lambda _: refusal

    def _of_tokens(self, name: str, wanted: Need, tokens: Tokens) -> Ask:
        missing = self._refusal(
            name, UnauthenticatedError('this listener needs a token: send "authorization: Bearer TOKEN" as metadata')
        )
        wrong = self._refusal(
            name, UnauthenticatedError("the token is not one of this sidecar's: it is wrong, or was replaced")
        )
        other = self._refusal(
            name, UnauthenticatedError('the authorization metadata is no bearer token: send "Bearer TOKEN"')
        )
        several = self._refusal(name, UnauthenticatedError("the authorization metadata is there twice: send one token"))
        without_token = self.without_token

        def ask(metadata: Sequence[tuple[str, str | bytes]] | None) -> Handler | None:
            shown: str | bytes | None = None
            for key, value in metadata or ():
                if key == AUTHORIZATION:
                    if shown is not None:
                        # Who stands before the sidecar may have looked at the other one.
                        return several
                    shown = value
            identity = without_token
            if shown is not None:
                if not isinstance(shown, str) or shown[: len(SCHEME)].lower() != SCHEME:
                    return other
                identity = tokens.find(shown[len(SCHEME) :].strip())
                if identity is None:
                    return wrong
            if identity is None:
                return missing
            if _forbidden(identity, wanted):
                return self._refusal(name, _denied(name, identity, wanted))
            asking.set(identity)
            return None

        return ask

    def _refusal(self, method: str, error: UnauthenticatedError | PermissionDeniedError) -> Handler:
        reason = "unauthenticated" if isinstance(error, UnauthenticatedError) else "permission_denied"

        async def refuse(_requests: AsyncIterator[bytes], context: Any) -> None:
            self.refusals.count(reason, error, method, context.peer())
            # One error for each: what is raised keeps its traceback, and with it the call.
            await self.failing.fail(context, type(error)(error.message))

        # As if it took a stream: so nothing of the request is waited for, which may be long.
        return grpc.stream_stream_rpc_method_handler(refuse)


def _forbidden(identity: Identity, wanted: Need) -> bool:
    if identity.role is Role.ADMIN:
        return False
    return wanted is Need.ADMIN or (wanted is Need.READ and bool(identity.tenant))


def _denied(method: str, identity: Identity, wanted: Need) -> PermissionDeniedError:
    if wanted is Need.READ:
        return PermissionDeniedError(f"{method} shows those of all tenants, and the token is bound to one")
    who = "the token's role is call" if identity.token else "a caller without a token has role call here"
    return PermissionDeniedError(f"{method} needs a token of role admin; {who}")


class AskingServer:
    """Takes the handlers of ready-made services (health, reflection) in a gRPC server's place, and asks who calls."""

    def __init__(self, server: grpc.aio.Server, access: Access) -> None:
        self._server = server
        self._access = access

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Any) -> None:
        """Does nothing: generated code registers the same handlers a second time, by method."""

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Handler]) -> None:
        """Gives the handlers on."""
        asks = {name: self._access.ask(service_name, name) for name in method_handlers}
        self._server.add_generic_rpc_handlers((_Asking(service_name, method_handlers, asks),))


class _Asking(grpc.GenericRpcHandler):
    def __init__(self, service_name: str, handlers: Mapping[str, Handler], asks: Mapping[str, Ask | None]) -> None:
        self._doors = {f"/{service_name}/{name}": (asks[name], handler) for name, handler in handlers.items()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """Returns the handler of an RPC that comes in, None where it is of another service."""
        door = self._doors.get(handler_call_details.method)
        if door is None:
            return None
        ask, handler = door
        refusal = None if ask is None else ask(handler_call_details.invocation_metadata)
        return handler if refusal is None else refusal
