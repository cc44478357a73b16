"""Leaves old turns out of a prompt that no target can take as it is, where the policy allows it, and reports it.

As few as will do: the same decision that routes the call is asked, with fewer and fewer turns, until a target can be
used. So windows, prices, caps and what has happened to targets count as they do for every call.
"""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from turnout_server.core.budget import Notices
from turnout_server.core.demands import demanded_profile
from turnout_server.core.model import RejectionReason
from turnout_server.core.tokens import estimate_input_tokens
from turnout_server.core.trimming import TrimPlan, TrimReport, trim_plan, trimmed

if TYPE_CHECKING:
    from turnout_server.core.chat import ChatInput
    from turnout_server.core.decision import Decision
    from turnout_server.core.model import RequestProfile, RouteQuery
    from turnout_server.router import Router

MARGIN = 1.05
"""Tokens are estimated: what is left must fit with a twentieth more than the estimate, where turns can be spared."""
TOO_LONG = frozenset({RejectionReason.CONTEXT_WINDOW})
TOO_DEAR = frozenset({RejectionReason.COST_LIMIT, RejectionReason.TIER})


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortened:
    """A chat request without its old turns."""

    chat: ChatInput
    plan: TrimPlan
    count: int
    whole: RequestProfile
    """The profile of the request as it came."""
    reason: str
    began_at: float
    """When the call began, before turns were left out; monotonic seconds."""

    def report(self, decision: Decision, tokens_per_byte: float) -> TrimReport:
        """Returns what was left out, in the tokens of the target chosen."""
        before = _tokens(self.whole, tokens_per_byte)
        return TrimReport(
            removed_messages=self.plan.removed_messages(self.count),
            repeated_messages=self.plan.repeated_messages(self.count),
            tokens_before=before,
            tokens_after=decision.input_tokens,
            reason=self.reason,
        )


async def shortened(
    router: Router, query: RouteQuery, chat: ChatInput, *, streaming: bool, began_at: float
) -> Shortened | None:
    """Returns the request with as few turns left out as will do; None where it fits as it is, or cannot be made to.

    `query` is the one that will be decided on, but for its profile, which is the caller's. Raises as
    `Deciding.for_call` does for what was asked.
    """
    given = query.profile
    whole = demanded_profile(given, chat, streaming=streaming)
    query = dataclasses.replace(query, profile=whole)
    if router.configured.fits_everywhere(query):
        return None
    plan = trim_plan(chat)
    if not plan.groups:
        return None
    # Reading a prompt of thousands of turns takes tens of milliseconds, and was done once by now.
    await asyncio.sleep(0)
    refused = router.deciding.look_ahead(query)
    reason = _why_not(refused)
    if refused.candidates or not reason:
        return None
    search = _Search(router, query, given, chat, plan, streaming=streaming)
    for margin in (MARGIN, 1.0):
        count = await search.fewest(margin)
        if count is not None:
            return Shortened(
                chat=trimmed(chat, plan, count),
                plan=plan,
                count=count,
                whole=whole,
                reason=reason,
                began_at=began_at,
            )
    return None


def with_trimming(notices: Notices | None, trimming: TrimReport | None) -> Notices | None:
    """Returns the notices with what was left out of the prompt."""
    return notices if trimming is None else (notices or Notices())._replace(trimming=trimming)


class _Search:
    """Looks for the least that must go."""

    def __init__(
        self,
        router: Router,
        query: RouteQuery,
        given: RequestProfile,
        chat: ChatInput,
        plan: TrimPlan,
        *,
        streaming: bool,
    ) -> None:
        self._router = router
        self._query = query
        self._given = given
        self._chat = chat
        self._plan = plan
        self._streaming = streaming

    async def fewest(self, margin: float) -> int | None:
        """Returns the least number of groups without which a target can be used, None where none can in any case.

        It looks at the logarithm of their number, and lets others have their turn in between: each look reads what is
        left of the prompt.
        """
        low, high = 1, len(self._plan.groups)
        if not self._fits(high, margin):
            return None
        while low < high:
            await asyncio.sleep(0)
            middle = (low + high) // 2
            if self._fits(middle, margin):
                high = middle
            else:
                low = middle + 1
        return low

    def _fits(self, count: int, margin: float) -> bool:
        left = demanded_profile(self._given, trimmed(self._chat, self._plan, count), streaming=self._streaming)
        left = dataclasses.replace(
            left,
            input_bytes=ceil((left.input_bytes or 0) * margin),
            extra_input_tokens=ceil(left.extra_input_tokens * margin),
        )
        return bool(self._router.deciding.look_ahead(dataclasses.replace(self._query, profile=left)).candidates)


def _why_not(refused: Decision) -> str:
    """Returns why it must be shortened, "" where nothing that a shorter prompt could mend is alone in the way."""
    long = dear = 0
    for rejection in refused.rejections:
        reasons = frozenset(rejection.reasons)
        if reasons <= TOO_LONG | TOO_DEAR:
            long += not reasons.isdisjoint(TOO_LONG)
            dear += not reasons.isdisjoint(TOO_DEAR)
    if long:
        return "longer than the window of every target that can be used"
    return "dearer than the cost limit at every target that can be used" if dear else ""


def _tokens(profile: RequestProfile, tokens_per_byte: float) -> int:
    return estimate_input_tokens(profile.input_bytes or 0, tokens_per_byte) + profile.extra_input_tokens
