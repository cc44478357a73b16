"""Which values hold for each policy: what it says itself, else what the one it inherits from says, else the default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from turnout_server.config.fields import Section
from turnout_server.config.schema_routing import PolicySection, RoutingSection, WhenSection

DEFAULT_POLICY = "default"

SHARED_FAILOVER_KEYS = frozenset(
    {
        "preset",
        "consecutive_failures",
        "open_seconds",
        "open_max_seconds",
        "recovery_successes",
        "failure_ratio",
        "ramp_seconds",
        "suspect",
        "retry_budget_ratio",
        "throttle_multiplier",
        "adaptive_concurrency",
        "connect_timeout_seconds",
    }
)
"""Keys of a failover block that concern what all policies share: breakers, throttles, connections, the retry budget."""

CONDITIONS = ("tenant", "task", "tier", "label")
"""What a row of `routing.select` may ask of a request."""

AnySection = TypeVar("AnySection", bound=Section)


def laid_over(base: AnySection, own: AnySection) -> AnySection:
    """Returns `base` with the keys that `own` gives in place of its; blocks key by key, lists and tables whole."""
    update: dict[str, object] = {}
    for name in own.model_fields_set:
        value, below = getattr(own, name), getattr(base, name)
        update[name] = laid_over(below, value) if isinstance(value, Section) and isinstance(below, Section) else value
    return base.model_copy(update=update)


def lineage(name: str, policies: Mapping[str, PolicySection]) -> tuple[str, ...] | None:
    """Returns a policy and those it inherits from, nearest first; None where that leads in a circle."""
    line: list[str] = []
    here: str | None = name
    while here is not None and here in policies:
        if here in line:
            return None
        line.append(here)
        here = policies[here].inherits
    return tuple(line)


def inheritance_circle(name: str, policies: Mapping[str, PolicySection]) -> tuple[str, ...]:
    """Returns the way from a policy that inherits in a circle to the first that comes twice; () where it does not."""
    line: list[str] = []
    here: str | None = name
    while here is not None and here in policies:
        line.append(here)
        if here in line[:-1]:
            return tuple(line)
        here = policies[here].inherits
    return ()


def all_policies(routing: RoutingSection) -> dict[str, PolicySection]:
    """Returns the policies as given, with the default one where it is not."""
    return {DEFAULT_POLICY: PolicySection(), **routing.policies}


def resolved_policies(routing: RoutingSection) -> dict[str, PolicySection]:
    """Returns every policy with its inheritance resolved; one that inherits in a circle stands for itself.

    A shadow is not inherited: one that inherits what it differs little from would else be a shadow of itself.
    """
    policies = all_policies(routing)
    resolved = {}
    for name, policy in policies.items():
        whole = policy
        for ancestor in (lineage(name, policies) or (name,))[1:]:
            whole = laid_over(policies[ancestor], whole)
        resolved[name] = whole.model_copy(update={"shadow_policy": policy.shadow_policy})
    return resolved


def rule_in_words(place: int, when: WhenSection) -> str:
    """Returns what people are told of a decision whose policy a row of `routing.select` chose."""
    return f"routing.select[{place}] ({in_words(when)})"


def in_words(when: WhenSection) -> str:
    """Returns the conditions of a row, for people."""
    given = [f"{name} {value}" for name in CONDITIONS if (value := getattr(when, name))]
    return ", ".join(given) or "every request"
