"""What the driver writes: answers and errors of the client as the suite's JSON."""

from __future__ import annotations

import asyncio
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

import turnout

Json = dict[str, Any]


class Unsupported(Exception):  # noqa: N818 - it is what the suite calls it
    """An operation that this driver does not know."""


class WrongUse(Exception):  # noqa: N818 - likewise
    """An argument that was found wrong before any call."""


def message_json(message: Message) -> Json:
    """Returns a message as protobuf's own JSON."""
    return MessageToDict(message)


def error_json(error: BaseException, also: Json | None = None) -> Json:
    """Returns an error as the suite compares it; what is not known is left out."""
    told: Json = {"kind": kind_of(error), "type": type(error).__name__, "message": str(error)}
    if isinstance(error, turnout.TurnoutError):
        details = error.details
        told |= {
            "reason": error.reason,
            "code": "" if error.code is None else error.code.name,
            "field_violations": [
                {"field": each.field, "description": each.description} for each in error.field_violations
            ],
            "retry_after_seconds": error.retry_after_seconds,
            "decision_id": error.decision_id,
            "attempts": [message_json(attempt) for attempt in error.attempts],
            "rejections": [message_json(rejection) for rejection in error.rejections],
            "retry_forbidden": details.retry_forbidden,
        }
    if isinstance(error, turnout.CallError):
        told |= {
            "delivered_bytes": error.delivered_bytes,
            "usage": None if error.usage is None else message_json(error.usage),
            "cost_usd": error.cost_usd,
        }
    told |= also or {}
    return {name: value for name, value in told.items() if value not in (None, "", []) or name in (also or {})}


def kind_of(error: BaseException) -> str:  # noqa: PLR0911 - one for each kind
    """Returns the suite's word for an error."""
    if isinstance(error, Unsupported):
        return "UNSUPPORTED"
    if isinstance(error, WrongUse | ValueError):
        # The client's own word for an argument that cannot work.
        return "USAGE"
    if isinstance(error, asyncio.CancelledError):
        return "CANCELLED"
    if isinstance(error, turnout.PlanExhaustedError):
        return "PLAN_EXHAUSTED"
    if isinstance(error, turnout.ContractError):
        return "CONTRACT"
    if isinstance(error, turnout.TurnoutError):
        return _kind_of_call(error)
    return "APPLICATION"


def _kind_of_call(error: turnout.TurnoutError) -> str:
    if error.reason:
        return "REFUSED"
    if isinstance(error, turnout.UnreachableError):
        return "UNREACHABLE"
    if isinstance(error, turnout.DeadlineError):
        return "DEADLINE"
    return "TRANSPORT"
