"""Bearer tokens by digest: finding who a token belongs to costs the same for one token and for thousands.

What is kept and looked up is a digest under a key of this process, so that neither memory nor the time of a look tells
anything of a token's text.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from hmac import compare_digest

from turnout_server.api.principals import Identity

KEY_BYTES = 32
DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One token's text, and who sends it."""

    text: str = field(repr=False)
    identity: Identity


class Tokens:
    """The tokens that are valid now; `replace` swaps all of them at once."""

    __slots__ = ("_by_digest", "_key")

    def __init__(self, tokens: Iterable[Token] = ()) -> None:
        self._key = os.urandom(KEY_BYTES)
        self._by_digest: dict[bytes, tuple[bytes, Identity]] = {}
        self.replace(tokens)

    def replace(self, tokens: Iterable[Token]) -> None:
        """Makes these the valid ones; of equal texts the first counts."""
        found: dict[bytes, tuple[bytes, Identity]] = {}
        for token in tokens:
            digest = self._digest(token.text)
            found.setdefault(digest, (digest, token.identity))
        self._by_digest = found

    def find(self, text: str) -> Identity | None:
        """Returns who the token belongs to, None where nobody has it."""
        digest = self._digest(text)
        known = self._by_digest.get(digest)
        # The dictionary has compared whole digests already; this one says so whatever a dictionary does.
        return known[1] if known is not None and compare_digest(digest, known[0]) else None

    def _digest(self, text: str) -> bytes:
        return blake2b(text.encode(errors="replace"), key=self._key, digest_size=DIGEST_BYTES).digest()
