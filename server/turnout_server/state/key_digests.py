"""Tells whether a key is the one that was known before a restart, without keeping it.

Whoever puts a right key in the place of a wrong one restarts the sidecar, and must not wait until the wrong one's time
is over. Eight bytes of a keyed hash with a salt of its own tell that, and nothing of a key that nobody could guess.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import blake2b
from hmac import compare_digest

from turnout_server.core.kept import CredentialLine

DIGEST_BYTES = 8
SALT_BYTES = 16

SecretOf = Callable[[str, str], str | None]
"""Returns our key of a provider and label; None where there is none, or it is not at hand."""


class KeyDigests:
    """Digests of our keys, with one salt for each process."""

    def __init__(self, secret_of: SecretOf) -> None:
        self._secret_of = secret_of
        self._salt = os.urandom(SALT_BYTES)

    def of(self, line: CredentialLine) -> str:
        """Returns salt and digest of the key that a line is about, "" where it is not at hand."""
        secret = self._secret_of(line.provider, line.label)
        return "" if secret is None else f"{self._salt.hex()}:{_digest(secret, self._salt)}"

    def differs(self, line: CredentialLine) -> bool:
        """Whether the line is known to be about another key than the one that its label has now."""
        salt, _, digest = line.digest.partition(":")
        secret = self._secret_of(line.provider, line.label)
        if secret is None or not digest:
            return False
        try:
            return not compare_digest(digest.encode(), _digest(secret, bytes.fromhex(salt)).encode())
        except ValueError:
            return True


def _digest(secret: str, salt: bytes) -> str:
    return blake2b(secret.encode(errors="surrogatepass"), key=salt[:64], digest_size=DIGEST_BYTES).hexdigest()
