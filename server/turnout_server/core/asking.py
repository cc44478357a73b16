"""What a caller may ask: names looked up, limits checked for sense, contradictions refused before any ranking."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from turnout_server.core.errors import FieldViolation, InvalidRequestError, UnknownTargetError
from turnout_server.core.model import NANO_USD, Capability, Target
from turnout_server.core.near_names import near_name, near_target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from turnout_server.core.budget_ledger import Room
    from turnout_server.core.fleet import Fleet
    from turnout_server.core.model import RequestProfile, RouteQuery, RoutingOptions

QUALITY_MAXIMUM = 100.0
NAMED_MAXIMUM = 5
KNOWN_MAXIMUM = 20
"""Names of capabilities that one message holds."""
UNLIMITED_USD = 1e9
"""No request costs so much: higher limits are the same as this one, and fit into a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """What an earlier attempt of the same call has taught: who was tried, whose turn it is not, how large it must be.

    Targets of `failed_providers` rank after the others; of both, those in `failed_regions` rank last. The window must
    hold at least `minimum_context` tokens, and more than `required_window_over`. `asked` are all that were called, also
    those that may be called again. `cost_left_nano_usd` is what they left of the call's cap, None for all of it.
    """

    tried: frozenset[Target] = frozenset()
    asked: frozenset[Target] = frozenset()
    failed_providers: frozenset[str] = frozenset()
    failed_regions: frozenset[str] = frozenset()
    minimum_context: int | None = None
    required_window_over: int | None = None
    cost_left_nano_usd: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a request asks of every target, however long it is, its names resolved to places in the fleet.

    None is no such need. `named` are the targets that the request or a table names one by one: a deprecated model is
    used only so. Of `regions` the first is preferred. `tried` are those that the call has tried. `asked` are all that
    it has called, told only where it is `prefilled`: others are its fallbacks then, and must be known to take that.
    """

    included: frozenset[int] | None = None
    excluded: frozenset[int] = frozenset()
    forced: frozenset[int] | None = None
    named: frozenset[int] = frozenset()
    regions: tuple[str, ...] = ()
    capabilities: frozenset[Capability] = frozenset()
    custom_capabilities: frozenset[str] = frozenset()
    preferred_capabilities: frozenset[str] = frozenset()
    url_capabilities: frozenset[Capability] = frozenset()
    forms: frozenset[str] = frozenset()
    min_quality: float | None = None
    tried: frozenset[Target] = frozenset()
    prefilled: bool = False
    asked: frozenset[Target] = frozenset()


NOBODY: frozenset[int] = frozenset()
NONE_ASKED: frozenset[Target] = frozenset()
"""Decisions are kept, and each empty set that is made anew takes 216 bytes."""


class Demand:
    """What one request asks of every target: its needs, and limits in numbers; None is no such limit.

    It holds nothing of the request's content, since decisions are kept. Its fields are given by place, and it is no
    dataclass: one is made in each decision.
    """

    __slots__ = (
        "cost_left_nano_usd",
        "deadline_seconds",
        "executing",
        "hop",
        "input_counted",
        "input_known",
        "max_cost_nano_usd",
        "max_first_token_seconds",
        "max_latency_seconds",
        "max_output_tokens",
        "min_availability",
        "needs",
        "priority",
        "room",
        "tenant",
        "tier",
        "tier_cap_nano_usd",
    )

    def __init__(  # what limits one request, each once
        self,
        query: RouteQuery,
        needs: Needs,
        hop: Hop,
        tier_cap_nano_usd: int | None,
        *,
        input_known: bool,
        room: Room | None = None,
    ) -> None:
        options = query.options
        cost = options.max_cost_usd
        self.needs = needs
        self.hop = hop
        self.input_known = input_known
        """Whether anything is known of the prompt's length."""
        self.max_output_tokens = query.profile.max_output_tokens
        self.tier = query.caller.tier
        self.tier_cap_nano_usd = tier_cap_nano_usd
        self.max_cost_nano_usd = None if cost is None else round(min(cost, UNLIMITED_USD) * NANO_USD)
        self.cost_left_nano_usd = None
        """What is left of the tightest of both for the next attempt, where the sidecar makes it."""
        if query.executing and (cost is not None or tier_cap_nano_usd is not None):
            self.cost_left_nano_usd = (
                self.cost_cap_nano_usd if hop.cost_left_nano_usd is None else hop.cost_left_nano_usd
            )
        self.max_latency_seconds = options.max_latency_seconds
        self.max_first_token_seconds = options.max_time_to_first_token_seconds
        self.min_availability = options.min_availability
        self.deadline_seconds = query.deadline_seconds if query.executing else None
        """What is left of the caller's time, where the sidecar makes the call."""
        self.executing = query.executing
        self.tenant = query.caller.tenant
        self.priority = options.priority
        self.input_counted = query.profile.input_tokens is not None
        """Whether the prompt's length is the caller's own count, and no estimate."""
        self.room = room
        """What the budgets in force leave; None where there are none."""

    @property
    def cost_cap_nano_usd(self) -> int | None:
        """The tightest of the tier's cap and the request's or policy's limit."""
        return min(
            (cap for cap in (self.tier_cap_nano_usd, self.max_cost_nano_usd) if cap is not None),
            default=None,
        )


def check_query(query: RouteQuery) -> None:
    """Raises InvalidRequestError with every value that makes no sense; None always means "not given"."""
    violations = [*_check_options(query.options), *_check_profile(query.profile)]
    if violations:
        raise InvalidRequestError(violations)


def resolve_needs(query: RouteQuery, fleet: Fleet, *, named: Iterable[int], hop: Hop) -> Needs:
    """Returns what `query` (with its policy's limits laid over it) needs; `named` are those that a table names.

    Raises UnknownTargetError for a name that stands for nothing, InvalidRequestError for names that contradict.
    """
    options, profile = query.options, query.profile
    included = _resolve_all(fleet, options.include)
    excluded = _resolve_all(fleet, options.exclude)
    forced = _resolve_all(fleet, (options.force_target,) if options.force_target else ())
    _check_names(options, included, excluded, forced)
    if profile.custom_capabilities or profile.preferred_capabilities:
        _check_capabilities(profile, fleet)
    one_by_one = [name for name in (*options.include, options.force_target) if "/" in name]
    return Needs(
        included=included if options.include else None,
        excluded=excluded,
        forced=forced if options.force_target else None,
        named=frozenset(named) | _resolve_all(fleet, tuple(one_by_one)) if named or one_by_one else NOBODY,
        regions=options.regions,
        capabilities=profile.capabilities,
        custom_capabilities=profile.custom_capabilities,
        preferred_capabilities=profile.preferred_capabilities,
        url_capabilities=profile.url_capabilities,
        forms=profile.forms,
        min_quality=options.min_quality,
        tried=hop.tried,
        prefilled=profile.prefilled,
        asked=hop.asked if profile.prefilled else NONE_ASKED,
    )


def _resolve_all(fleet: Fleet, names: tuple[str, ...]) -> frozenset[int]:
    if not names:
        return NOBODY
    found: set[int] = set()
    for name in names:
        places = fleet.resolve(name)
        if not places:
            near = near_target(name, fleet)
            hint = f"; did you mean {near!r}?" if near else ""
            raise UnknownTargetError(f"no enabled target is called {name!r}{hint}", name=name)
        found.update(places)
    return frozenset(found)


def _check_names(
    options: RoutingOptions, included: frozenset[int], excluded: frozenset[int], forced: frozenset[int]
) -> None:
    if options.force_target and forced <= excluded:
        raise _contradiction("options.force_target", f"{options.force_target!r} is also excluded")
    if options.force_target and options.include and forced.isdisjoint(included):
        raise _contradiction("options.force_target", f"{options.force_target!r} is not among those included")
    if options.include and included <= excluded:
        raise _contradiction("options.exclude", "everything included is also excluded")


def _check_capabilities(profile: RequestProfile, fleet: Fleet) -> None:
    """Raises InvalidRequestError for capabilities of the operator's naming that no target has, with the known ones."""
    known = frozenset[str]().union(*(spec.custom_capabilities for spec in fleet.specs))
    violations = []
    for field, asked in (
        ("profile.custom_capabilities", profile.custom_capabilities),
        ("profile.preferred_capabilities", profile.preferred_capabilities),
    ):
        unknown = sorted(asked - known)
        if unknown:
            violations.append(FieldViolation(field=field, description=_unknown_capabilities(unknown, known)))
    if violations:
        raise InvalidRequestError(violations)


def _unknown_capabilities(unknown: list[str], known: frozenset[str]) -> str:
    names = ", ".join(map(repr, unknown[:NAMED_MAXIMUM]))
    names += f" and {len(unknown) - NAMED_MAXIMUM} more" if len(unknown) > NAMED_MAXIMUM else ""
    if not known:
        return f"no target has {names}: none is configured with custom_capabilities"
    near = near_name(unknown[0], known)
    listed = ", ".join(sorted(known)[:KNOWN_MAXIMUM])
    rest = len(known) - KNOWN_MAXIMUM
    told = f"{listed} and {rest} more" if rest > 0 else listed
    return f"no target has {names}; {f'did you mean {near!r}? ' if near else ''}known are {told}"


def _contradiction(field: str, description: str) -> InvalidRequestError:
    return InvalidRequestError([FieldViolation(field=field, description=description)])


def _check_options(options: RoutingOptions) -> list[FieldViolation]:
    violations = []
    for name, value in (
        ("max_cost_usd", options.max_cost_usd),
        ("max_latency", options.max_latency_seconds),
        ("max_time_to_first_token", options.max_time_to_first_token_seconds),
    ):
        # A limit of nothing at all is a mistake for times, and "free targets only" for cost.
        lowest_wrong = value is not None and (value < 0 or (value == 0 and name != "max_cost_usd"))
        if value is not None and (lowest_wrong or not isfinite(value)):
            violations.append(FieldViolation(field=f"options.{name}", description="must be a positive, finite number"))
    for name, value, highest in (
        ("min_availability", options.min_availability, 1.0),
        ("min_quality", options.min_quality, QUALITY_MAXIMUM),
    ):
        if value is not None and not 0.0 <= value <= highest:
            violations.append(FieldViolation(field=f"options.{name}", description=f"must be from 0 to {highest:g}"))
    if options.max_candidates is not None and options.max_candidates < 1:
        violations.append(FieldViolation(field="options.max_candidates", description="must be at least 1"))
    return violations


def _check_profile(profile: RequestProfile) -> list[FieldViolation]:
    violations = []
    if profile.input_tokens is not None and profile.input_tokens < 0:
        violations.append(FieldViolation(field="profile.input_tokens", description="must not be negative"))
    if profile.max_output_tokens is not None and profile.max_output_tokens < 1:
        violations.append(FieldViolation(field="profile.max_output_tokens", description="must be at least 1"))
    return violations
