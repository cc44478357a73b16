"""Complete answers kept for equal requests, for as long as a policy says.

It holds what answered the request and nothing of the request but its digest.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass

from turnout_server.core.chat import ChatOutput
from turnout_server.core.decision import Decision
from turnout_server.core.model import FinishReason, Target, Usage
from turnout_server.core.settings import CacheSettings
from turnout_server.execution.sizes import output_bytes

CACHE_BYTES = 64 * 1024 * 1024
"""Default: what the answers of all policies together may take, by estimate."""
LARGEST_PART = 64
"""No answer takes more than this part of all that may be kept."""
ENTRY_BYTES = 1024
"""What an answer takes beside its parts: key, target, usage and bookkeeping, rounded up."""
COMPLETE = frozenset({FinishReason.STOP, FinishReason.TOOL_CALLS})
"""How an answer ended that says all it was meant to: the others were cut or filtered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """One answer. `kept_at` and `forget_at` are monotonic seconds; `decision` is a bare one, without its candidates."""

    output: ChatOutput
    target: Target
    usage: Usage | None
    decision: Decision
    kept_at: float
    forget_at: float
    size_bytes: int


class AnswerCache:
    """Answers by policy and digest: of each policy as many as it says, and of all together at most `max_bytes`.

    What is beyond either bound pushes out the oldest. `hit_counts` and `miss_counts` are by policy.
    """

    def __init__(self, *, max_bytes: int = CACHE_BYTES) -> None:
        self._max_bytes = max_bytes
        # In the order in which they were kept. Lifetimes differ between policies only: the first is the first to go.
        self._policies: dict[str, OrderedDict[bytes, KeptAnswer]] = {}
        self.size_bytes = 0
        """What is kept, by estimate."""
        self.hit_counts: Counter[str] = Counter()
        self.miss_counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return sum(len(entries) for entries in self._policies.values())

    @property
    def largest_bytes(self) -> int:
        """The size from which on an answer is not kept: by default 1 MiB, which is several times 64,000 tokens.

        A few larger ones would push out all others, and each stream holds as much while it runs.
        """
        return self._max_bytes // LARGEST_PART

    def get(self, policy: str, digest: bytes, now: float) -> KeptAnswer | None:
        """Returns the answer to an equal request, None where none is kept (any more)."""
        self.expire(now)
        entries = self._policies.get(policy)
        found = None if entries is None else entries.get(digest)
        counts = self.miss_counts if found is None else self.hit_counts
        counts[policy] += 1
        return found

    def keep(
        self,
        policy: str,
        digest: bytes,
        settings: CacheSettings,
        *,
        output: ChatOutput,
        target: Target,
        usage: Usage | None,
        decision: Decision,
        now: float,
    ) -> None:
        """Keeps an answer, unless it is not complete or too large; it takes the place of an older one."""
        size = ENTRY_BYTES + output_bytes(output)
        if output.finish_reason not in COMPLETE or size >= self.largest_bytes:
            return
        entries = self._policies.setdefault(policy, OrderedDict())
        if digest in entries:
            self._drop(policy, digest)
        entries[digest] = KeptAnswer(
            output=output,
            target=target,
            usage=usage,
            decision=decision,
            kept_at=now,
            forget_at=now + settings.ttl_seconds,
            size_bytes=size,
        )
        self.size_bytes += size
        while len(entries) > settings.max_entries:
            self._drop(policy, next(iter(entries)))
        while self.size_bytes > self._max_bytes:
            self._drop_oldest()

    def expire(self, now: float) -> None:
        """Forgets what was kept long enough; to be called now and then."""
        for policy, entries in self._policies.items():
            while entries and next(iter(entries.values())).forget_at <= now:
                self._drop(policy, next(iter(entries)))

    def clear(self) -> None:
        """Forgets everything; the counts go on."""
        self._policies.clear()
        self.size_bytes = 0

    def _drop(self, policy: str, digest: bytes) -> None:
        self.size_bytes -= self._policies[policy].pop(digest).size_bytes

    def _drop_oldest(self) -> None:
        fronts = [
            (next(iter(entries.values())).kept_at, policy) for policy, entries in self._policies.items() if entries
        ]
        _, policy = min(fronts)
        self._drop(policy, next(iter(self._policies[policy])))
