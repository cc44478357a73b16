"""What addresses in a configuration mean: listeners' host and port, providers' base URLs."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from turnout_server.providers.addresses import is_public

MAX_PORT = 65535
OLLAMA_PORT = 11434


def host_and_port(address: str) -> tuple[str, int] | None:
    """Splits "host:port" or "[v6]:port"; None for anything else."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > MAX_PORT or any(c.isspace() or c == "/" for c in host):
        return None
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        return None
    return host.removeprefix("[").removesuffix("]"), int(port)


def stays_local(host: str) -> bool:
    """Whether what listens there can be reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def base_url_fault(url: str, *, allow_insecure: bool, allow_private: bool) -> str:
    """Returns what is wrong with a provider's base URL, "" for nothing.

    A name that resolves to a private address is found when it is connected to.
    """
    # Before it is taken apart: that leaves some of them out, and a server may not.
    if any(character.isspace() or not character.isprintable() or character == "\\" for character in url):
        return "must not hold spaces, control characters or backslashes"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "not a URL"
    faults = (
        (parts.scheme not in {"http", "https"} or not host, "must begin with https:// (or http://) and name a host"),
        ("@" in parts.netloc, "must not hold a user or password; keys are given by reference"),
        (bool(parts.query or parts.fragment), "must not have a query or fragment"),
        (
            parts.scheme == "http" and not allow_insecure,
            "http sends keys and prompts in the clear; use https or set allow_insecure: true",
        ),
        (
            not allow_private and _is_private(host),
            "a private, loopback or link-local address; set allow_private: true if it is meant",
        ),
    )
    return next((message for wrong, message in faults if wrong), "")


def proxy_url_fault(url: str) -> str:
    """Returns what is wrong with a proxy's URL, "" for nothing; never any of it, since it may hold a password."""
    if any(character.isspace() or not character.isprintable() or character == "\\" for character in url):
        return "must not hold spaces, control characters or backslashes"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "not a URL; write http://host:port, as in http://proxy.example.com:3128"
    user = unquote(parts.username or "")
    faults = (
        (
            parts.scheme not in {"http", "https"},
            "must begin with http:// or https://; other kinds of proxy are not used",
        ),
        (not host, "names no host; write http://host:port, as in http://proxy.example.com:3128"),
        (bool(parts.path.strip("/") or parts.query or parts.fragment), "must end after host and port"),
        (":" in user, "a proxy's user name must not hold a colon"),
    )
    return next((message for wrong, message in faults if wrong), "")


def ollama_url(host: str) -> str:
    """Returns the base URL that the variable OLLAMA_HOST stands for, "" where it is empty or no address.

    As Ollama's own tools read it: a host, a host and port, or a URL; the port is 11434 unless a scheme is given. The
    address that a server listens on everywhere with (0.0.0.0) is called at this machine.
    """
    text = host.strip().strip("\"'").rstrip("/")
    if not text:
        return ""
    scheme, given, rest = text.rpartition("://")
    try:
        parts = urlsplit(f"{scheme if given else 'http'}://{rest}")
        name, port = parts.hostname or "127.0.0.1", parts.port
    except ValueError:
        return ""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)  # noqa: S104 - read, not bound
    usual = {"http": 80, "https": 443}.get(scheme) if given else OLLAMA_PORT
    if usual is None:
        return ""
    shown = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{shown}:{port or usual}{parts.path}"


def _is_private(host: str) -> bool:
    host = host.lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return not is_public(host)
    except ValueError:
        pass
    try:
        # Other ways to write an IPv4 address, which resolvers take: 127.1, 0x7f000001.
        return not is_public(socket.inet_ntoa(socket.inet_aton(host)))
    except (OSError, UnicodeEncodeError):
        return False
