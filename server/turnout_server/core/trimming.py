"""Which turns of a conversation may be left out so that the rest fits: what is repeated first, then the oldest.

System messages, the last user turn and what follows the last answer of a model to it always stay. Turns go by whole
exchanges (a user turn with all that was answered to it), and behind the last user turn by whole rounds (what the model
said, with the results of the tools it called). So a call and its result go together, and roles alternate as before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from turnout_server.core.chat import ChatInput, Message, Role, ToolCall, ToolResult

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

COMPARED_MAXIMUM = 8
"""Units that begin alike are compared with so many of those that come next: thousands of them would take too long."""


class TrimReport(NamedTuple):
    """What was left out of a prompt. Tokens are estimates; None is unknown.

    `repeated_messages` are those of the removed ones that stood again later in the conversation.
    """

    removed_messages: int
    repeated_messages: int
    tokens_before: int | None
    tokens_after: int | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrimPlan:
    """What may be left out: groups of messages, by their places, in the order in which they go.

    The first `repeated_count` groups are the repeated ones.
    """

    groups: tuple[tuple[int, ...], ...]
    repeated_count: int

    def removed_messages(self, count: int) -> int:
        """Returns how many messages go with the first `count` groups."""
        return sum(len(group) for group in self.groups[:count])

    def repeated_messages(self, count: int) -> int:
        """Returns how many of these are repeated ones."""
        return self.removed_messages(min(count, self.repeated_count))


def trim_plan(chat: ChatInput) -> TrimPlan:
    """Returns what may be left out of a conversation, and in which order; no groups where all of it must stay."""
    units, first_kept = _units(chat.messages)
    if not units:
        return TrimPlan(groups=(), repeated_count=0)
    linked = _linked(chat.messages, units)
    repeated = _repeated(chat.messages, units)
    kept = {linked[unit] for unit in first_kept}
    groups: dict[int, list[int]] = {}
    for unit in range(len(units)):
        if linked[unit] not in kept:
            groups.setdefault(linked[unit], []).append(unit)
    # A dictionary keeps the order of its keys: that of each group's oldest unit.
    whole = [group for group in groups.values() if all(repeated[unit] for unit in group)]
    rest = [group for group in groups.values() if not all(repeated[unit] for unit in group)]
    return TrimPlan(
        groups=tuple(tuple(place for unit in group for place in units[unit]) for group in (*whole, *rest)),
        repeated_count=len(whole),
    )


def trimmed(chat: ChatInput, plan: TrimPlan, count: int) -> ChatInput:
    """Returns the conversation without the first `count` groups of its plan; what stays keeps its order."""
    gone = {place for group in plan.groups[:count] for place in group}
    return replace(chat, messages=tuple(each for place, each in enumerate(chat.messages) if place not in gone))


def _units(messages: Sequence[Message]) -> tuple[list[list[int]], list[int]]:
    """Returns the places of the messages of each unit, and which units must stay; system messages are in none.

    A conversation without a user turn has no units: what it is about cannot be told.
    """
    units: list[list[int]] = []
    last_turn: int | None = None
    before: Message | None = None
    for place, message in enumerate(messages):
        if message.role is Role.SYSTEM:
            continue
        opens = _opens(message)
        if opens and (before is None or not _opens(before)):
            last_turn = len(units)
            units.append([])
        elif not units:
            units.append([])
        units[-1].append(place)
        before = message
    if last_turn is None:
        return [], []
    *earlier, last = units
    turn = [place for place in last if _opens(messages[place])]
    rounds: list[list[int]] = []
    for place in last[len(turn) :]:
        begins = messages[place].role is Role.ASSISTANT
        if not rounds or (begins and messages[rounds[-1][-1]].role is not Role.ASSISTANT):
            rounds.append([])
        rounds[-1].append(place)
    whole = [*earlier, turn, *rounds]
    return whole, sorted({len(earlier), len(whole) - 1})


def _opens(message: Message) -> bool:
    """Whether somebody says something, as against a tool's result that stands in a user's message."""
    return message.role is Role.USER and not all(isinstance(part.content, ToolResult) for part in message.parts)


def _linked(messages: Sequence[Message], units: Sequence[Sequence[int]]) -> list[int]:
    """Returns for each unit the oldest one that it goes together with, since one has the results of the other's calls.

    Some vendors number their calls anew in each answer: a result belongs to the last call before it with its id.
    """
    older = list(range(len(units)))
    """An older unit that each one is linked with, itself where there is none: a chain leads to the oldest."""

    def oldest(unit: int) -> int:
        while older[unit] != unit:
            older[unit] = older[older[unit]]
            unit = older[unit]
        return unit

    called_in: dict[str, int] = {}
    for unit, places in enumerate(units):
        for place in places:
            for part in messages[place].parts:
                if isinstance(part.content, ToolCall):
                    called_in[part.content.id] = unit
                elif isinstance(part.content, ToolResult):
                    low, high = sorted((oldest(called_in.get(part.content.tool_call_id, unit)), oldest(unit)))
                    older[high] = low
    return [oldest(unit) for unit in range(len(units))]


def _repeated(messages: Sequence[Message], units: Sequence[Sequence[int]]) -> list[bool]:
    """Tells of each unit whether a later one says the same again, or begins with it."""
    said = [[_saying(messages[place]) for place in places] for places in units]
    later: dict[Hashable, list[int]] = {}
    repeated = [False] * len(units)
    for unit in range(len(units) - 1, -1, -1):
        own = said[unit]
        known = later.setdefault(own[0], []) if own else []
        repeated[unit] = any(said[other][: len(own)] == own for other in known[-COMPARED_MAXIMUM:])
        known.append(unit)
    return repeated


def _saying(message: Message) -> Hashable:
    """Returns what a message says, whatever ids its calls go by."""
    parts: list[Hashable] = []
    for part in message.parts:
        match part.content:
            case ToolCall() as call:
                parts.append((call.name, call.arguments_json))
            case ToolResult() as result:
                parts.append((result.name, result.is_error, result.content))
            case _:
                parts.append(part.content)
    return (message.role, tuple(parts))
