"""One provider as the execution layer sees it: a wire format over a transport, with the provider's secrets."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import orjson

from turnout_server.core.chat import ChatInput, Delta
from turnout_server.core.model import FailureKind, RateLimitReading
from turnout_server.ports import ResponseHead, UpstreamCall, UpstreamError, UpstreamEvent
from turnout_server.providers.anthropic import AnthropicWire
from turnout_server.providers.base64_text import written
from turnout_server.providers.certificates import CertificateError, TlsFiles, tls_context
from turnout_server.providers.connecting import connect
from turnout_server.providers.connection import ProviderConnection
from turnout_server.providers.dialects import Authentication, Dialect
from turnout_server.providers.dialling import Dialler
from turnout_server.providers.error_bodies import NO_HEADERS
from turnout_server.providers.exact_json import exact
from turnout_server.providers.failures import failure, invalid_request, parse_error, protocol_error
from turnout_server.providers.gemini import GeminiWire
from turnout_server.providers.header_files import HEADER_VALUE, HeaderFile, HeaderFileError
from turnout_server.providers.large_json import LARGE_BYTES, LargeBody, large_body, payload_bytes
from turnout_server.providers.ollama import OllamaWire
from turnout_server.providers.openai import OpenAIWire
from turnout_server.providers.ratelimit_headers import Headers, rate_limit_headers, reading, retry_after
from turnout_server.providers.reading import StreamReading
from turnout_server.providers.secrets import Secrets, SecretUnavailableError
from turnout_server.providers.transport import Answer, Transport
from turnout_server.providers.transport_failures import PROXY_AUTHENTICATION_REQUIRED, refused_by_proxy
from turnout_server.providers.turnstile import Turnstile
from turnout_server.providers.wire import Events, Wire

if TYPE_CHECKING:
    from turnout_server.core.fleet import TargetSpec

MAX_ANSWER_BYTES = 32 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
ERROR_BODY_SECONDS = 2.0
"""How long the body of an error may take; after it the status alone decides."""

READ_BYTES = 16 * 1024
"""So much of a stream is read without a pause: about a hundred events, in a few milliseconds."""

TOOL_CALL_MARKS = (b'"tool_calls"', b'"tool_use"', b'"functionCall"')
"""What stands in whole answers that may have tool calls, whose numbers are not to be rounded."""

USER_AGENT = "turnout"
OK = 200
UNAUTHENTICATED = 401

_KEY_HEADERS = frozenset({"authorization", "x-api-key", "x-goog-api-key"})
"""Where wires put a provider's key: the operator's own login there goes before it."""


class HttpUpstream:
    """Calls the targets of one provider. `wall` is Unix time, for moments that headers state.

    Streams of all upstreams that share a `turnstile` let others have their turn between them.
    """

    def __init__(
        self,
        wire: Wire,
        transport: Transport,
        secrets: Secrets,
        connection: ProviderConnection,
        *,
        dialler: Dialler | None = None,
        turnstile: Turnstile | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._wire = wire
        self._transport = transport
        self._secrets = secrets
        self._connection = connection
        self._dialect = connection.dialect
        self._dialler = dialler
        self._wall = wall
        self._turnstile = Turnstile() if turnstile is None else turnstile
        path = connection.headers_from_file
        self._header_file = HeaderFile(path, secrets.files, on_fault=secrets.on_fault) if path else None

    async def stream(  # noqa: C901, PLR0912  # one loop: a generator within it would cost something for each token
        self, call: UpstreamCall
    ) -> AsyncGenerator[Sequence[UpstreamEvent]]:
        """Yields what each read from the socket brought: first the head, then events; see `ports.Upstream`."""
        answer, head = await self._open(call, stream=True)
        try:
            if answer.header("content-type").startswith("application/json"):
                # Not every server can stream; the answer is none the worse for it.
                yield (head, *await self._whole(answer, call))
                return
            yield (head,)
            reading = StreamReading(self._wire.decoder(call, self._dialect), self._wire.splitter())
            chunks = answer.chunks()
            turnstile = self._turnstile
            began = False
            since = 0
            try:
                async for chunk in chunks:
                    # What begins an answer waits for nobody.
                    if began and not turnstile.passes():
                        await turnstile.turn()
                    for piece in pieces_of(chunk):
                        events = reading.feed(piece)
                        if events:
                            began = began or any(isinstance(event, Delta) for event in events)
                            yield events
                        if reading.over:
                            break
                        since += len(piece)
                        if since >= READ_BYTES:
                            # What has piled up comes without a pause, in large chunks or in many small ones.
                            since = 0
                            await asyncio.sleep(0)
                    if reading.over:
                        break
                else:
                    yield reading.end()
            except UpstreamError as error:
                reading.broke(error)
            finally:
                await chunks.aclose()
            if reading.error is not None:
                raise reading.error
            answer.finish_later()
        finally:
            await answer.aclose()

    async def complete(self, call: UpstreamCall) -> Sequence[UpstreamEvent]:
        """Makes a call without streaming; see `ports.Upstream`."""
        answer, head = await self._open(call, stream=False)
        try:
            return (head, *await self._whole(answer, call))
        finally:
            await answer.aclose()

    async def get(self, url: str, credential: str) -> object:
        """Returns what stands at one of the provider's own addresses, parsed; UpstreamError as for calls."""
        secret = await self._secret(credential)
        headers = self._headers(credential, secret, accept="application/json")
        del headers["content-type"]
        answer = await self._transport.get(url, headers)
        try:
            await self._head(answer, None, credential, secret)
            return await _parsed(answer)
        finally:
            await answer.aclose()

    async def ask_for_models(self, spec: TargetSpec, credential: str) -> None:
        """Asks a target's endpoint for its list of models, which costs nothing; UpstreamError as for calls.

        A server that answers that it has no such list has answered.
        """
        # Needed where something went wrong alone.
        from turnout_server.providers.listing import NO_LIST_STATUSES, address_to_ask  # noqa: PLC0415

        try:
            await self.get(address_to_ask(self._wire, self._dialect.vendor, spec), credential)
        except UpstreamError as error:
            if error.http_status not in NO_LIST_STATUSES:
                raise

    async def post(self, url: str, credential: str, body: Mapping[str, object]) -> object:
        """Returns the answer to a body at one of the provider's own addresses, parsed; UpstreamError as for calls."""
        secret = await self._secret(credential)
        headers = self._headers(credential, secret, accept="application/json")
        answer = await self._transport.post(url, headers, orjson.dumps(body))
        try:
            await self._head(answer, None, credential, secret)
            return await _parsed(answer)
        finally:
            await answer.aclose()

    async def reach(self, base_url: str) -> str:
        """Connects to where calls go, and hangs up; returns why it could not, "" where it could."""
        return "" if self._dialler is None else await self._dialler.dial(base_url)

    async def aclose(self) -> None:
        """Closes the provider's connections."""
        await self._transport.aclose()

    async def _open(self, call: UpstreamCall, *, stream: bool) -> tuple[Answer, ResponseHead]:
        """Makes the call; returns an answer that began well, with its head, and raises UpstreamError for others."""
        secret = await self._secret(call.credential)
        answer = await self._transport.post(
            self._wire.url(call, stream=stream),
            self._headers(
                call.credential, secret, accept=self._wire.accepts if stream else "application/json", call=call
            ),
            await self._content(call, stream),
        )
        try:
            return answer, await self._head(answer, call.chat, call.credential, secret)
        except BaseException:
            await answer.aclose()
            raise

    async def _head(self, answer: Answer, chat: ChatInput | None, credential: str, secret: str) -> ResponseHead:
        if answer.status == UNAUTHENTICATED:
            self._secrets.refused(self._connection.provider, credential, secret)
        proxy = self._connection.proxy_name if answer.status == PROXY_AUTHENTICATION_REQUIRED else ""
        if proxy:
            raise UpstreamError(
                FailureKind.CONNECTION,
                refused_by_proxy(answer.status, proxy),
                http_status=answer.status,
                possibly_billed=False,
            )
        if answer.status != OK:
            error = parse_error(await _error_body(answer))
            rate_limit, retry_after_seconds = self._rate_limit(answer, error.headers)
            raise failure(
                answer.status,
                error,
                chat=chat,
                vendor=self._dialect.vendor,
                secret=secret,
                should_retry=answer.header("x-should-retry") == "true",
                retry_after_seconds=retry_after_seconds,
                rate_limit=rate_limit,
            )
        if answer.header("content-type").startswith("text/html"):
            raise protocol_error("the answer is a web page: check the base URL")
        return ResponseHead(http_status=answer.status, rate_limit=self._rate_limit(answer)[0])

    def _headers(
        self, credential: str, secret: str, *, accept: str, call: UpstreamCall | None = None
    ) -> dict[str, str]:
        headers = {
            "accept": accept,
            "accept-encoding": "identity",
            "content-type": "application/json",
            "user-agent": USER_AGENT,
            **self._wire.headers(secret, self._authenticating(credential)),
        }
        if self._header_file is not None:
            own = self._own_headers(self._header_file)
            if not _KEY_HEADERS.isdisjoint(own):
                # One login at a time: the provider's key is not for whoever stands before it.
                for name in _KEY_HEADERS:
                    headers.pop(name, None)
            headers.update(own)
        if call is not None and self._connection.propagate_trace:
            headers.update(call.trace_headers)
        return headers

    async def _content(self, call: UpstreamCall, stream: bool) -> bytes | LargeBody:  # noqa: FBT001 - private
        try:
            if payload_bytes(call.chat) < LARGE_BYTES:
                return orjson.dumps(self._wire.body(call, self._dialect, stream=stream), default=written)
            await asyncio.sleep(0)
            body = self._wire.body(call, self._dialect, stream=stream)
            await asyncio.sleep(0)
            return await large_body(body)
        except (TypeError, orjson.JSONEncodeError) as error:
            raise invalid_request(f"the request cannot be written as JSON: {error}") from None

    def _authenticating(self, credential: str) -> Dialect:
        if self._secrets.is_token(self._connection.provider, credential):
            return replace(self._dialect, authentication=Authentication.BEARER)
        return self._dialect

    async def _secret(self, label: str) -> str:
        if not label:
            return ""
        try:
            secret = await self._secrets.fetch(self._connection.provider, label)
        except SecretUnavailableError as error:
            raise UpstreamError(FailureKind.AUTHENTICATION, str(error), possibly_billed=False) from None
        if not HEADER_VALUE.fullmatch(secret):
            raise UpstreamError(
                FailureKind.AUTHENTICATION,
                f"credential {label!r} holds characters that no header can carry",
                possibly_billed=False,
            )
        return secret

    def _own_headers(self, file: HeaderFile) -> Mapping[str, str]:
        try:
            return file.headers()
        except HeaderFileError as error:
            raise UpstreamError(FailureKind.AUTHENTICATION, str(error), possibly_billed=False) from None

    def _rate_limit(self, answer: Answer, behind: Headers = NO_HEADERS) -> tuple[RateLimitReading | None, float | None]:
        """What the headers say, and under them those of the server behind a gateway."""
        headers = {**behind, **rate_limit_headers(answer.raw_headers)}
        if not headers:
            return None, None
        now = self._wall()
        return reading(headers, now), retry_after(headers, now)

    async def _whole(self, answer: Answer, call: UpstreamCall) -> Events:
        return self._wire.whole(await _parsed(answer), call, self._dialect)


def pieces_of(chunk: bytes) -> Sequence[bytes]:
    """Returns the chunk in pieces of at most `READ_BYTES`: itself, where it is no longer.

    A socket that was not read for a moment gives all at once what has come meanwhile: thousands of events.
    """
    if len(chunk) <= READ_BYTES:
        return (chunk,)
    return [chunk[start : start + READ_BYTES] for start in range(0, len(chunk), READ_BYTES)]


async def _parsed(answer: Answer) -> object:
    body, complete = await _read(answer, MAX_ANSWER_BYTES)
    if not complete:
        raise protocol_error("the answer is larger than 32 MiB")
    large = len(body) >= LARGE_BYTES
    if large:
        await asyncio.sleep(0)
    try:
        parsed: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise protocol_error("the answer is not valid JSON") from None
    # A long answer may have long numbers in its text, and parsing all of it anew would hold up everybody else.
    if large:
        await asyncio.sleep(0)
        return parsed
    return exact(body, parsed) if any(mark in body for mark in TOOL_CALL_MARKS) else parsed


async def _read(answer: Answer, limit: int) -> tuple[bytes, bool]:
    """Returns the body, and whether it ended within the limit."""
    pieces: list[bytes] = []
    length = 0
    chunks = answer.chunks()
    try:
        async for chunk in chunks:
            pieces.append(chunk)
            length += len(chunk)
            if length > limit:
                return b"".join(pieces), False
    finally:
        await chunks.aclose()
    return b"".join(pieces), True


async def _error_body(answer: Answer) -> bytes:
    """Returns what can be had of an error's body; without it the status alone decides."""
    try:
        async with asyncio.timeout(ERROR_BODY_SECONDS):
            return (await _read(answer, MAX_ERROR_BYTES))[0]
    except (TimeoutError, UpstreamError):
        return b""


def wire_of(name: str) -> Wire:
    """Returns the wire of that name; ValueError, naming those there are, for another."""
    made = WIRES.get(name)
    if made is None:
        raise ValueError(f"no wire is called {name!r}; there are: {', '.join(WIRES)}")
    return made()


WIRES: Mapping[str, Callable[[], Wire]] = MappingProxyType(
    {
        OpenAIWire.name: OpenAIWire,
        AnthropicWire.name: AnthropicWire,
        GeminiWire.name: GeminiWire,
        OllamaWire.name: OllamaWire,
    }
)
"""The wire formats by their names in configuration."""


def build_upstreams(connections: Iterable[ProviderConnection], secrets: Secrets) -> Mapping[str, HttpUpstream]:
    """Makes the upstream of each provider; CertificateError where a certificate file is not what it should be.

    Nothing is connected yet. Whoever called closes each of them.
    """
    contexts: dict[tuple[str, str], ssl.SSLContext | TlsFiles] = {}
    turnstile = Turnstile()
    upstreams: dict[str, HttpUpstream] = {}
    for connection in connections:
        files = (connection.ca_file, connection.client_cert_file)
        if files not in contexts:
            contexts[files] = _tls(connection, secrets)
        tls = contexts[files]
        upstreams[connection.provider] = HttpUpstream(
            wire_of(connection.wire),
            connect(connection, tls=tls),
            secrets,
            connection,
            dialler=Dialler(connection, tls),
            turnstile=turnstile,
        )
    return upstreams


def _tls(connection: ProviderConnection, secrets: Secrets) -> ssl.SSLContext | TlsFiles:
    ca_file, client_cert_file = connection.ca_file, connection.client_cert_file
    if not ca_file and not client_cert_file:
        return tls_context()
    try:
        return TlsFiles(
            ca_file=ca_file, client_cert_file=client_cert_file, clock=secrets.clock, on_fault=secrets.on_fault
        )
    except CertificateError as error:
        raise CertificateError(f"providers.{connection.provider}: certificate file {error}") from None
