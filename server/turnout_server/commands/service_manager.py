"""Tells systemd, or whatever speaks its protocol, that calls are taken: what is ordered after it then finds somebody.

As sd_notify(3) says it: one datagram to the socket that `NOTIFY_SOCKET` names; `Type=notify` in a unit asks for it.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

SEND_SECONDS = 1.0
"""How long a manager that does not read may hold up the start."""


def tell_ready(environ: Mapping[str, str]) -> str:
    """Says that the start is over, where a service manager asks for it.

    Returns "" or, where it could not be told, a sentence why: the manager then ends the start by its own time limit,
    and whoever looks for the reason should find one.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address:
        return ""
    if address[0] not in "/@":
        return f"NOTIFY_SOCKET is {address!r}, which is neither a path nor an abstract socket: readiness was not told"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.settimeout(SEND_SECONDS)
            # An abstract socket is written with an @ in place of the zero byte that its name begins with.
            manager.connect("\0" + address[1:] if address[0] == "@" else address)
            manager.sendall(b"READY=1")
    except OSError as error:
        return f"the service manager at NOTIFY_SOCKET was not told that calls are taken: {error}"
    return ""
