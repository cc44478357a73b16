"""Who asks, as far as the listener can tell: what belongs to one caller is never shown to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from turnout_server.core.model import Caller


def principal(context: Any, caller: Caller) -> str:
    """Returns a name for the caller of an RPC: the names in its client certificate, where it has one, and the tenant.

    Callers without certificates on one listener differ by tenant alone; users of a tenant are the application's own.
    """
    # The length comes first, so that no tenant can pass for another one with a certificate.
    name = f"{len(caller.tenant)}:{caller.tenant}"
    identities = context.peer_identities()
    if not identities:
        return name
    return "\0".join((name, *sorted(identity.decode(errors="replace") for identity in identities)))
