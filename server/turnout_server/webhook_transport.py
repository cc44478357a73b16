"""How alarms leave: by the connections and address rules of providers, with a key that may be replaced."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from turnout_server.providers.certificates import tls_context
from turnout_server.providers.connecting import connect
from turnout_server.providers.connection import ProviderConnection
from turnout_server.providers.dialects import Dialect
from turnout_server.providers.secrets import SecretFiles, SecretUnavailableError
from turnout_server.telemetry.webhook import WebhookKeyError, signing_key


class WebhookTransport:
    """Posts to one address. `secret_file` is the file of the key, "" for none.

    `tls` is what receivers are trusted by; without it that is made here, which takes some tens of milliseconds.
    """

    def __init__(self, url: str, secret_file: str, *, allow_private: bool, tls: ssl.SSLContext | None = None) -> None:
        self._url = url
        self._secret_file = secret_file
        self._files = SecretFiles()
        connection = ProviderConnection(provider="webhook", wire="", dialect=Dialect(), allow_private=allow_private)
        self._transport = connect(connection, tls=tls_context() if tls is None else tls)

    async def post(self, headers: Mapping[str, str], body: bytes) -> int:
        """Sends one message; returns the status of the answer, a redirect's too. Raises UpstreamError."""
        answer = await self._transport.post(self._url, headers, body)
        # What it says beside the status is of no interest, but the connection is.
        answer.finish_later()
        return answer.status

    def key(self) -> bytes:
        """Returns the key that signs now, b"" where nothing is signed. Raises WebhookKeyError."""
        if not self._secret_file:
            return b""
        try:
            return signing_key(self._files.text(self._secret_file))
        except SecretUnavailableError as error:
            raise WebhookKeyError(str(error)) from None

    async def aclose(self) -> None:
        """Closes its connections."""
        await self._transport.aclose()
