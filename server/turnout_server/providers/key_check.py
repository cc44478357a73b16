"""Finds out whether providers can be reached, take our keys and have our models, at next to no cost.

A list of models is free and needs the key; where a server has no such list, or one for everybody, one call of a few
tokens does instead.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from turnout_server.core.chat import ChatInput, Message, Part, Role, Text
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.model import FailureKind
from turnout_server.ports import UpstreamCall, UpstreamError
from turnout_server.providers.connection import ProviderConnection
from turnout_server.providers.listing import NO_LIST_STATUSES, Listing, listing_of, root_of
from turnout_server.providers.secrets import Secrets
from turnout_server.providers.upstream import HttpUpstream, build_upstreams, wire_of

MAX_AT_ONCE = 8


class KeyOutcome(StrEnum):
    """What became of one check."""

    OK = "ok"
    BUSY = "busy"
    """The key is good; at this moment the provider takes no more."""
    UNREACHABLE = "unreachable"
    KEY_REFUSED = "key refused"
    NO_CREDIT = "no credit"
    FAILED = "failed"

    @property
    def good(self) -> bool:
        """Whether calls can be expected to work."""
        return self in {KeyOutcome.OK, KeyOutcome.BUSY}


OUTCOMES: Mapping[FailureKind, KeyOutcome] = MappingProxyType(
    {
        FailureKind.CONNECTION: KeyOutcome.UNREACHABLE,
        FailureKind.TIMEOUT: KeyOutcome.UNREACHABLE,
        FailureKind.AUTHENTICATION: KeyOutcome.KEY_REFUSED,
        FailureKind.PERMISSION_DENIED: KeyOutcome.KEY_REFUSED,
        FailureKind.QUOTA_EXHAUSTED: KeyOutcome.NO_CREDIT,
        FailureKind.RATE_LIMITED: KeyOutcome.BUSY,
        FailureKind.OVERLOADED: KeyOutcome.BUSY,
    }
)
"""All other kinds are FAILED."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReport:
    """One key at one address of a provider. `credential` is its label, "" where none is sent.

    `listed_count` is None where the server has no list. `unlisted_models` are those of the configuration that the list
    lacks; some vendors leave aliases out, so they may still work. `detail` is safe to show.
    """

    provider: str
    base_url: str
    credential: str
    outcome: KeyOutcome
    seconds: float
    listed_count: int | None = None
    unlisted_models: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCheck:
    """How checks are made: each within `timeout_seconds`, a call with at most `max_output_tokens`."""

    secrets: Secrets
    clock: Callable[[], float]
    timeout_seconds: float
    max_output_tokens: int

    async def all(
        self, connections: Sequence[ProviderConnection], specs: Iterable[TargetSpec]
    ) -> tuple[KeyReport, ...]:
        """Checks every key at every address; CertificateError for certificate files that cannot be used."""
        by_place: dict[tuple[str, str], list[TargetSpec]] = {}
        for spec in specs:
            by_place.setdefault((spec.target.provider, spec.base_url), []).append(spec)
        upstreams = build_upstreams(connections, self.secrets)
        room = asyncio.Semaphore(MAX_AT_ONCE)
        try:
            checks = [
                self._one(room, connection, upstreams[connection.provider], label, models)
                for connection in connections
                for (provider, _), models in by_place.items()
                if provider == connection.provider
                for label in (tuple(connection.credentials) or ("",))
            ]
            return tuple(await asyncio.gather(*checks))
        finally:
            for upstream in upstreams.values():
                await upstream.aclose()

    async def _one(
        self,
        room: asyncio.Semaphore,
        connection: ProviderConnection,
        upstream: HttpUpstream,
        label: str,
        specs: list[TargetSpec],
    ) -> KeyReport:
        listed: frozenset[str] | None = None
        outcome, detail = KeyOutcome.OK, ""
        async with room:
            started = self.clock()
            try:
                async with asyncio.timeout(self.timeout_seconds):
                    listed = await self._listed(connection, upstream, label, specs)
            except TimeoutError:
                outcome, detail = KeyOutcome.UNREACHABLE, f"no answer within {self.timeout_seconds:g} s"
            except UpstreamError as error:
                outcome, detail = OUTCOMES.get(error.kind, KeyOutcome.FAILED), error.detail
            seconds = self.clock() - started
        models = dict.fromkeys(spec.target.model for spec in specs)
        return KeyReport(
            provider=connection.provider,
            base_url=specs[0].base_url,
            credential=label,
            outcome=outcome,
            seconds=seconds,
            listed_count=len(listed) if listed else None,
            unlisted_models=tuple(model for model in models if not is_listed(model, listed)) if listed else (),
            detail=detail,
        )

    async def _listed(
        self, connection: ProviderConnection, upstream: HttpUpstream, label: str, specs: list[TargetSpec]
    ) -> frozenset[str] | None:
        """The models on the list; None where there is no list, and a call worked instead."""
        listing = listing_of(connection.wire, connection.dialect.vendor)
        call = self._call(label, min(specs, key=_price))
        root = root_of(wire_of(connection.wire), call, listing)
        try:
            if listing.key_path:
                await upstream.get(root + listing.key_path, label)
            listed = model_names(await upstream.get(root + listing.path, label), listing)
        except UpstreamError as error:
            if error.http_status not in NO_LIST_STATUSES:
                raise
            await upstream.complete(call)
            return None
        if label and not connection.dialect.vendor and await _is_open(upstream, root + listing.path):
            # A list for everybody says nothing of the key.
            await upstream.complete(call)
        return listed

    def _call(self, label: str, spec: TargetSpec) -> UpstreamCall:
        chat = ChatInput(messages=(Message(role=Role.USER, parts=(Part(content=Text(text="Say ok.")),)),))
        return UpstreamCall(spec=spec, credential=label, chat=chat, max_output_tokens=self.max_output_tokens)


def model_names(answer: object, listing: Listing) -> frozenset[str]:
    """Returns the names on a list as it came; what is not of its shape is left out."""
    rows = answer.get(listing.field) if isinstance(answer, dict) else None
    names = (row.get(listing.name) for row in rows if isinstance(row, dict)) if isinstance(rows, list) else ()
    return frozenset(name.removeprefix(listing.prefix) for name in names if isinstance(name, str))


def is_listed(model: str, listed: frozenset[str]) -> bool:
    """Whether a model stands on a list by its name, or by one that only adds a date, a number or `latest` to it."""
    if model in listed:
        return True
    stem = model.removesuffix("-latest").removesuffix(":latest")
    dated = re.compile(re.escape(stem) + r"(?:[-:](?:\d[\d-]*|latest))?")
    return any(dated.fullmatch(name) for name in listed)


async def _is_open(upstream: HttpUpstream, url: str) -> bool:
    try:
        await upstream.get(url, "")
    except UpstreamError:
        return False
    return True


def _price(spec: TargetSpec) -> int:
    return spec.price.output_per_million if spec.price is not None else 0
