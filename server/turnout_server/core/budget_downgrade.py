"""The cheapest that fits: how a request is ranked once a budget that says `downgrade` has too little for a target.

Health still comes first (a trial after silence, a suspect, a provider that failed in this call); what tables prefer and
what quality would be wanted yield to the price.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from turnout_server.core.groups import NOT_PREFERRED
from turnout_server.core.model import RejectionReason, Strategy
from turnout_server.core.rejections import first_reasons
from turnout_server.core.settings import NearEqual
from turnout_server.core.shapes import Passing

if TYPE_CHECKING:
    from turnout_server.core.budget_ledger import Room
    from turnout_server.core.passing import Field
    from turnout_server.core.preferences import Ranking

EXACT = NearEqual(margin=0.0, cold_margin=0.0)
"""The cheapest means the cheapest: chance decides only between equal prices."""


def downgrades(field: Field, room: Room | None) -> bool:
    """Whether the cheapest is taken: the tightest budget says so, and some target was too dear for it."""
    return room is not None and room.downgrades and RejectionReason.BUDGET in first_reasons(field.rejections)


def without_preferences(field: Field) -> Field:
    """Returns the same targets with nothing that puts one before another."""
    selection = field.passing.selection
    return field._replace(passing=Passing(selection, [NOT_PREFERRED] * len(selection)))


def cheapest(ranking: Ranking, room: Room) -> Ranking:
    """Returns the ranking by cost, with the reason."""
    return replace(
        ranking,
        strategy=Strategy.COST,
        capability_share=0.0,
        why=f"budget {room.budget} runs out: the cheapest that fits",
    )
