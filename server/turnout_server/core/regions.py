"""Where a request may be served: the regions that it allows and those that its policy allows, the preferred one first.

A list of regions is a hard limit for every target of every hop, and an order: a target in an earlier region comes first
whatever the strategy or a table says, as long as nothing tells that it may not answer now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout_server.core.errors import FieldViolation, InvalidRequestError

if TYPE_CHECKING:
    from turnout_server.core.settings import Policy

ANYWHERE: tuple[str, ...] = ()
NAMED_MAXIMUM = 5
"""Regions that a sentence names; the others are counted."""


def held_to(asked: tuple[str, ...], policy: Policy) -> tuple[str, ...]:
    """Returns the regions that request and policy both allow, in the request's order where it has one.

    Empty: anywhere. Raises InvalidRequestError where no region is allowed by both.
    """
    if not asked:
        return policy.regions
    if not policy.regions:
        return asked
    both = tuple(region for region in asked if region in policy.regions)
    if not both:
        description = (
            f"{_listed(asked)} asked for, policy {policy.name} allows {_listed(policy.regions)}: no region is in both; "
            f"ask for one that the policy allows"
        )
        raise InvalidRequestError([FieldViolation(field="options.regions", description=description)])
    return both


def in_words(regions: tuple[str, ...]) -> str:
    """Returns the limit and its order for a sentence: " in eu, else us"; "" for anywhere."""
    return f" in {_listed(regions, ', else ')}" if regions else ""


def elsewhere(asked: tuple[str, ...], there: frozenset[str]) -> str:
    """Returns in words which regions there are where none of those asked for has a target; "" where one has.

    A target whose region is unknown has "" for it.
    """
    if not there or not asked or not there.isdisjoint(asked):
        return ""
    nowhere = f"; no target is in {_listed(asked, ' or ')}: "
    named = tuple(sorted(there - {""}))
    if not named:
        return f"{nowhere}none has a region, configure the endpoints' own"
    return f"{nowhere}the regions are {_listed(named)}{', others are unknown' if '' in there else ''}"


def where(region: str) -> str:
    """Returns where a target is, in words."""
    return f"region {region}" if region else "region unknown"


def not_there(region: str, regions: tuple[str, ...]) -> str:
    """Returns why a target in `region` is outside of the limit, in words."""
    return f"{where(region)}, not {_listed(regions, ' or ')}"


def _listed(regions: tuple[str, ...], between: str = ", ") -> str:
    named = regions[:NAMED_MAXIMUM]
    rest = len(regions) - len(named)
    text = between.join(named)
    return f"{text} and {rest} more" if rest else text
