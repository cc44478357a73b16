"""What each exception of the libraries below means, when it comes before the head of an answer."""

from __future__ import annotations

import aiohttp
import httpx

from turnout_server.core.model import FailureKind
from turnout_server.ports import UpstreamError
from turnout_server.providers.addresses import AddressRefusedError

PROXY_AUTHENTICATION_REQUIRED = 407

# The most telling exception first: aiohttp's own, or what its transport made of it for httpx.
_FAILURES: tuple[tuple[type[BaseException], FailureKind, bool, str], ...] = (
    (aiohttp.ClientConnectorCertificateError, FailureKind.CONNECTION, False, "the server's certificate is not trusted"),
    (aiohttp.ClientConnectorSSLError, FailureKind.CONNECTION, False, "the TLS handshake failed"),
    (aiohttp.ClientConnectorDNSError, FailureKind.CONNECTION, False, "the host name could not be resolved"),
    (aiohttp.ClientConnectorError, FailureKind.CONNECTION, False, "the connection could not be made"),
    (aiohttp.ConnectionTimeoutError, FailureKind.CONNECTION, False, "the connection was not made in time"),
    (aiohttp.ServerDisconnectedError, FailureKind.CONNECTION, True, "the connection was closed before an answer came"),
    (aiohttp.InvalidURL, FailureKind.PROTOCOL, False, "the base URL is not a valid URL"),
    (aiohttp.ClientConnectionError, FailureKind.CONNECTION, True, "the connection broke before an answer came"),
    (aiohttp.ClientResponseError, FailureKind.PROTOCOL, True, "the answer is not valid HTTP"),
    (aiohttp.ClientError, FailureKind.CONNECTION, True, "the request failed"),
    (httpx.ConnectTimeout, FailureKind.CONNECTION, False, "the connection was not made in time"),
    (httpx.ConnectError, FailureKind.CONNECTION, False, "the connection could not be made"),
    (httpx.InvalidURL, FailureKind.PROTOCOL, False, "the base URL is not a valid URL"),
    (httpx.UnsupportedProtocol, FailureKind.PROTOCOL, False, "the base URL is neither http nor https"),
    (httpx.HTTPError, FailureKind.CONNECTION, True, "the request failed"),
    (TimeoutError, FailureKind.CONNECTION, False, "the connection was not made in time"),
    (OSError, FailureKind.CONNECTION, True, "the connection broke before an answer came"),
)
"""What each exception before the head of an answer means: kind, whether the provider may charge, words."""


def failure_before_head(error: Exception, proxy: str = "") -> UpstreamError:
    """Makes the error of a request that got no answer. `proxy` names the proxy that it was to go by, "" for none."""
    origin = error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError) else error
    if isinstance(origin, aiohttp.ClientConnectorError) and isinstance(origin.os_error, AddressRefusedError):
        return UpstreamError(
            FailureKind.CONNECTION,
            "the provider's address is private, loopback or link-local, and allow_private is off",
            possibly_billed=False,
        )
    if proxy and (said := _of_the_proxy(origin, proxy)):
        return UpstreamError(FailureKind.CONNECTION, said, possibly_billed=False)
    way = f", by way of the proxy {proxy}" if proxy else ""
    for kind_of_error, kind, billed, words in _FAILURES:
        if isinstance(origin, kind_of_error):
            return UpstreamError(kind, words + way, possibly_billed=billed)
    return UpstreamError(FailureKind.UNKNOWN, f"the request failed ({type(origin).__name__})")


def refused_by_proxy(status: int, proxy: str) -> str:
    """Returns what is told of a proxy that refuses with this status: its own words are of no use to anybody."""
    if status == PROXY_AUTHENTICATION_REQUIRED:
        return f"the proxy {proxy} wants another user and password (HTTP {status}): check proxy_url"
    return f"the proxy {proxy} refused the connection (HTTP {status}): it must allow the provider's host"


def _of_the_proxy(origin: Exception, proxy: str) -> str:
    match origin:
        case aiohttp.ClientHttpProxyError():
            return refused_by_proxy(origin.status, proxy)
        case aiohttp.ClientConnectorDNSError():
            # Only the proxy's name is looked up here; the provider's is the proxy's to find.
            return f"the proxy {proxy} could not be reached: its name could not be resolved"
        case aiohttp.ClientProxyConnectionError():
            return f"the proxy {proxy} could not be reached"
        case _:
            return ""
