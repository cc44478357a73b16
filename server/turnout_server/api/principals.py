"""Who asks, as far as the listener can tell: what belongs to one caller is never shown to another."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from turnout_server.core.errors import PermissionDeniedError

if TYPE_CHECKING:
    from turnout_server.core.model import Caller


class Role(StrEnum):
    """What a caller may do: make calls, or also change how the sidecar works."""

    CALL = "call"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What the listener knows of a caller. `token` names where its token is written down, never the text; "" for none.

    `tenant` is the one that the token is bound to, "" for any.
    """

    role: Role = Role.ADMIN
    token: str = ""
    tenant: str = ""


ANYBODY = Identity()
"""Whoever reaches a listener of this machine that asks for nothing."""

NETWORK_CALLER = Identity(role=Role.CALL)
"""Whoever reaches a listener from another machine, or shows a certificate, and has no token."""

asking: ContextVar[Identity] = ContextVar("asking", default=ANYBODY)
"""Who the present RPC is of; each runs in a context of its own, so that it ends with the RPC."""


def own_tenant(given: str) -> str:
    """Returns the tenant that a request is of: the one that its token is bound to, else the one that it says."""
    return asking.get().tenant or given


def seen_tenant(given: str) -> str:
    """Returns the tenant whose past is to be shown, "" for all: who may change things sees that of all.

    Raises PermissionDeniedError for another one than that of the token: its own figures under another's name would be
    a wrong answer.
    """
    identity = asking.get()
    if identity.role is Role.ADMIN:
        return given
    if identity.tenant and given not in {"", identity.tenant}:
        raise PermissionDeniedError(
            f'the token is bound to tenant "{identity.tenant}" and the request asks for "{given}"; leave the tenant out'
        )
    return identity.tenant or given


def principal(context: Any, caller: Caller) -> str:
    """Returns a name for the caller of an RPC: its tenant, its token, and the names in its client certificate.

    Callers without token and certificate on one listener differ by tenant alone; users of a tenant are the
    application's own.
    """
    token = asking.get().token
    # The lengths come first, so that no tenant can pass for another one with a token or a certificate.
    name = f"{len(caller.tenant)}:{caller.tenant}{len(token)}:{token}"
    identities = context.peer_identities()
    if not identities:
        return name
    return "\0".join((name, *sorted(identity.decode(errors="replace") for identity in identities)))


def who(context: Any) -> str:
    """Returns in words for people who the caller of an RPC is, and from where: what stands beside a change it makes."""
    identity = asking.get()
    certificates = context.peer_identities()
    if identity.token:
        known = f"token of {identity.token}"
    elif certificates:
        names = ", ".join(sorted(name.decode(errors="replace") for name in certificates))
        known = f"certificate of {names}"
    else:
        known = "somebody without a token"
    return f"{known}, from {unquote(context.peer())}"
