"""Enums of the contract to enums of the core and back, worked out once, because a route translates dozens of them.

Names are the same on both sides but for the prefix of the wire; a member without its counterpart fails at import.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Generic, TypeVar

from google.protobuf.descriptor import EnumDescriptor

from turnout.v1 import router_pb2 as pb
from turnout_server.core.chat import Role, ToolChoiceMode
from turnout_server.core.model import (
    BreakerState,
    Capability,
    Complexity,
    DecisionDetail,
    FailureKind,
    FinishReason,
    HealthState,
    MidStreamPolicy,
    Priority,
    ReasoningEffort,
    RejectionReason,
    Strategy,
    UsageSource,
)

E = TypeVar("E", bound=StrEnum)


class EnumMap(Generic[E]):
    """Both directions of one enum. `to_core` lacks UNSPECIFIED; `to_wire` has every member of the core's enum."""

    __slots__ = ("to_core", "to_wire")

    def __init__(self, descriptor: EnumDescriptor, core: type[E], prefix: str) -> None:
        wire = {value.name.removeprefix(prefix): value.number for value in descriptor.values if value.number}
        self.to_core: dict[int, E] = {number: core[name] for name, number in wire.items()}
        self.to_wire: dict[E, Any] = {member: wire[member.name] for member in core}


STRATEGY = EnumMap(pb.Strategy.DESCRIPTOR, Strategy, "STRATEGY_")
PRIORITY = EnumMap(pb.Priority.DESCRIPTOR, Priority, "PRIORITY_")
COMPLEXITY = EnumMap(pb.Complexity.DESCRIPTOR, Complexity, "COMPLEXITY_")
CAPABILITY = EnumMap(pb.Capability.DESCRIPTOR, Capability, "CAPABILITY_")
REASONING_EFFORT = EnumMap(pb.ReasoningEffort.DESCRIPTOR, ReasoningEffort, "REASONING_EFFORT_")
HEALTH_STATE = EnumMap(pb.HealthState.DESCRIPTOR, HealthState, "HEALTH_STATE_")
BREAKER_STATE = EnumMap(pb.BreakerState.DESCRIPTOR, BreakerState, "BREAKER_STATE_")
FAILURE_KIND = EnumMap(pb.FailureKind.DESCRIPTOR, FailureKind, "FAILURE_KIND_")
ROLE = EnumMap(pb.Role.DESCRIPTOR, Role, "ROLE_")
FINISH_REASON = EnumMap(pb.FinishReason.DESCRIPTOR, FinishReason, "FINISH_REASON_")
USAGE_SOURCE = EnumMap(pb.UsageSource.DESCRIPTOR, UsageSource, "USAGE_SOURCE_")
DECISION_DETAIL = EnumMap(pb.DecisionDetail.DESCRIPTOR, DecisionDetail, "DECISION_DETAIL_")
MID_STREAM_POLICY = EnumMap(pb.MidStreamPolicy.DESCRIPTOR, MidStreamPolicy, "MID_STREAM_POLICY_")
REJECTION_REASON = EnumMap(pb.RejectionReason.DESCRIPTOR, RejectionReason, "REJECTION_REASON_")
TOOL_CHOICE_MODE = EnumMap(pb.ToolChoiceMode.DESCRIPTOR, ToolChoiceMode, "TOOL_CHOICE_MODE_")
