"""Who may serve this request: every target passes, or is rejected with all reasons that apply, permanent ones first.

The same filters run for the first choice and for every hop of a failover, so that a fallback fits as well as the first.
There are three kinds: what the request needs of the target as it is (`judge_needs`; found once for requests of one
shape), what it would cost and how long it would take (`judge_numbers`), and what has happened to the target
(`judge_state`; asked only where something has). `passing` runs the first two over columns and finds the same.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from turnout_server.core.budget_need import least_need, lowered_output, worst_input_tokens
from turnout_server.core.decision import Rejection
from turnout_server.core.fleet import Prefill
from turnout_server.core.model import (
    REASON_ORDER,
    BreakerState,
    Capability,
    Priority,
    RejectionReason,
    Target,
)
from turnout_server.core.regions import not_there

if TYPE_CHECKING:
    from turnout_server.core.asking import Demand, Needs
    from turnout_server.core.expectation import Expected
    from turnout_server.core.fleet import Price, TargetSpec
    from turnout_server.core.readings import FleetReading, TargetReading

LONG_CONTEXT_TOKENS = 200_000
MEASURED_COUNT = 3
"""Complete answers after which a latency counts as the target's own and no longer as its prior."""
TRIAL_PRIORITIES = frozenset({Priority.LOW, Priority.NORMAL})
"""Who may carry the trial of a target that went silent, where the caller makes the call: nobody in a hurry."""


class Standing(Enum):
    """What a target that passed may be used for."""

    CLEAR = "clear"
    TRIAL = "half-open: one trial at a time"
    SILENT_TRIAL = "half-open after silence: no user should wait for its trial"


# A member read from its class costs as much as a call, and these are compared hundreds of times in one decision.
CLEAR = Standing.CLEAR
_CLOSED = BreakerState.CLOSED


class Findings:
    """The reasons against one target with a short sentence for each, kept in the contract's order."""

    __slots__ = ("_found", "retry_at")

    def __init__(self) -> None:
        self._found: list[tuple[int, RejectionReason, str]] = []
        self.retry_at: float | None = None

    def add(self, reason: RejectionReason, detail: str, retry_at: float | None = None) -> None:
        """Adds a reason; the target is worth another try when the last of its reasons has passed."""
        self._found.append((REASON_ORDER[reason], reason, detail))
        if retry_at is not None:
            self.retry_at = retry_at if self.retry_at is None else max(self.retry_at, retry_at)

    def __bool__(self) -> bool:
        return bool(self._found)

    def rejection(self, target: Target) -> Rejection:
        """Returns the rejection; a target that never fits has no time to try it again."""
        found = sorted(self._found)
        reasons = tuple(dict.fromkeys(reason for _, reason, _ in found))
        retry_at = None if reasons[0].permanent else self.retry_at
        return Rejection(target, reasons, "; ".join(detail for _, _, detail in found), retry_at)


def examine(
    target: TargetReading, index: int, expected: Expected, *, demand: Demand, state: FleetReading, now: float
) -> Standing | Rejection:
    """Returns what the target may be used for, or the rejection with every reason that applies."""
    findings = Findings()
    spec = target.spec
    judge_needs(spec, index, demand.needs, findings)
    availability, sample_count = target.availability.value(now), target.latency.sample_count
    judge_numbers(spec, expected, demand, findings, availability=availability, sample_count=sample_count)
    standing = judge_state(target, expected, demand, findings, state=state, now=now)
    return findings.rejection(spec.target) if findings else standing


def judge_needs(spec: TargetSpec, index: int, needs: Needs, findings: Findings) -> None:
    """Finds what never changes: whom the request names, where the target is, what its model can do and is worth."""
    _choice(spec, index, needs, findings)
    if spec.deprecated and index not in needs.named:
        findings.add(RejectionReason.DEPRECATED, "deprecated: used only when named")
    missing = missing_capabilities(spec, needs)
    if missing:
        findings.add(RejectionReason.CAPABILITY, f"lacks {', '.join(missing)}")
    if needs.prefilled:
        refusal = refusal_of_prefill(spec, needs)
        if refusal:
            findings.add(RejectionReason.CAPABILITY, refusal)
    least = needs.min_quality
    if least is not None and (spec.quality is None or spec.quality < least):
        quality = "unknown" if spec.quality is None else f"{spec.quality:g}"
        findings.add(RejectionReason.QUALITY, f"quality {quality}, at least {least:g} asked for")


def judge_numbers(
    spec: TargetSpec,
    expected: Expected,
    demand: Demand,
    findings: Findings,
    *,
    availability: float,
    sample_count: int,
) -> None:
    """Finds what follows from the length of the request: window, cost, time; and from how often the target answers."""
    _window(spec, expected, demand, findings)
    if demand.tier_cap_nano_usd is not None or demand.max_cost_nano_usd is not None or demand.room is not None:
        _price(spec, expected, demand, findings)
    _limits(expected, demand, findings, availability=availability, sample_count=sample_count)
    if demand.room is not None:
        shortage = budget_shortage(spec, expected, demand)
        if shortage:
            findings.add(RejectionReason.BUDGET, shortage, demand.room.retry_at)


def judge_state(
    target: TargetReading, expected: Expected, demand: Demand, findings: Findings, *, state: FleetReading, now: float
) -> Standing:
    """Finds what has happened to the target and its keys; returns what it may be used for if nothing is found."""
    standing = _health(target, demand, findings, now)
    room = target.spec.max_concurrency
    if room is not None and target.in_flight >= room:
        findings.add(RejectionReason.CONCURRENCY, f"{target.in_flight} calls in flight, {room} allowed")
    # What is only assumed of the prompt must not reject anybody.
    needed = expected.input_tokens if demand.input_known else 0
    verdict = state.credentials.verdict(
        target.spec, tenant=demand.tenant, executing=demand.executing, now=now, needed_tokens=needed
    )
    if verdict.reason is not None:
        findings.add(verdict.reason, verdict.detail, verdict.retry_at)
    return standing


def _choice(spec: TargetSpec, index: int, needs: Needs, findings: Findings) -> None:
    """What the request names, where it may be, and what this call has tried."""
    if index in needs.excluded:
        findings.add(RejectionReason.EXCLUDED, "excluded by the request")
    elif needs.included is not None and index not in needs.included:
        findings.add(RejectionReason.EXCLUDED, "not among the targets that the request includes")
    elif spec.target in needs.tried:
        findings.add(RejectionReason.EXCLUDED, "already tried in this call")
    if needs.forced is not None and index not in needs.forced:
        findings.add(RejectionReason.NOT_FORCED, "another target is forced")
    if needs.regions and spec.region not in needs.regions:
        findings.add(RejectionReason.REGION, not_there(spec.region, needs.regions))


def missing_capabilities(spec: TargetSpec, needs: Needs) -> list[str]:
    """Returns the names of what the target lacks, sorted; LONG_CONTEXT is a window of at least 200,000 tokens."""
    lacks = needs.capabilities - spec.capabilities
    window = spec.context_window_tokens
    if window is not None and Capability.LONG_CONTEXT in needs.capabilities:
        held = window >= LONG_CONTEXT_TOKENS
        lacks = lacks - {Capability.LONG_CONTEXT} if held else lacks | {Capability.LONG_CONTEXT}
    missing = [capability.value for capability in lacks]
    missing += needs.custom_capabilities - spec.custom_capabilities
    missing += [f"{capability.value} by URL" for capability in needs.url_capabilities - spec.url_capabilities]
    missing += needs.forms & spec.lacking_forms
    return sorted(missing)


def refusal_of_prefill(spec: TargetSpec, needs: Needs) -> str:
    """Returns why a conversation that ends with the assistant's turn is not for this target, "" where it is.

    Where nothing is known, the caller's first choice is asked, and its own refusal is told. A fallback is not: its
    refusal would stand for the failure that led to it.
    """
    match spec.prefill:
        case Prefill.TAKEN:
            return ""
        case Prefill.TAKEN_WITHOUT_THINKING if Capability.THINKING not in needs.capabilities:
            return ""
        case Prefill.TAKEN_WITHOUT_THINKING:
            return "does not think where the conversation ends with the assistant's turn"
        case Prefill.REFUSED:
            return "refuses a conversation that ends with the assistant's turn"
        case Prefill.UNKNOWN if needs.asked and spec.target not in needs.asked:
            return "may refuse a conversation that ends with the assistant's turn, and is not the first choice"
        case _:
            return ""


def _window(spec: TargetSpec, expected: Expected, demand: Demand, findings: Findings) -> None:
    window = spec.context_window_tokens
    if window is None:
        # An unknown window may be large enough, but cannot be shown to be larger than one that was too small.
        if demand.hop.minimum_context is not None or demand.hop.required_window_over is not None:
            findings.add(RejectionReason.CONTEXT_WINDOW, "window unknown, and a smaller one was too small")
        return
    needed = needed_window(spec, expected.input_tokens, demand)
    if needed > window:
        findings.add(RejectionReason.CONTEXT_WINDOW, f"needs a window of {needed} tokens, has {window}")


def needed_window(spec: TargetSpec, input_tokens: int, demand: Demand) -> int:
    """Returns the tokens that prompt and answer need room for, or what an earlier attempt has shown to be needed."""
    output = demand.max_output_tokens or 1
    if spec.max_output_tokens is not None:
        output = min(output, spec.max_output_tokens)
    # Where nothing is known of the prompt, what it is assumed to be for ranking must not reject anybody.
    needed = input_tokens + output if demand.input_known else output
    if demand.hop.minimum_context is not None:
        needed = max(needed, demand.hop.minimum_context)
    if demand.hop.required_window_over is not None:
        needed = max(needed, demand.hop.required_window_over + 1)
    return needed


def _price(spec: TargetSpec, expected: Expected, demand: Demand, findings: Findings) -> None:
    """What it may cost: the tier's cap and the request's or policy's limit, first as expected, then at worst."""
    cap, limit, cost = demand.tier_cap_nano_usd, demand.max_cost_nano_usd, expected.cost_nano_usd
    if cost is None:
        findings.add(RejectionReason.UNKNOWN_PRICE, "price unknown while a cost limit or budget holds")
        return
    if cap is not None and cost > cap:
        findings.add(RejectionReason.TIER, f"{usd(cost)} expected, tier {demand.tier} allows {usd(cap)}")
    if limit is not None and cost > limit:
        findings.add(RejectionReason.COST_LIMIT, f"{usd(cost)} expected, the limit is {usd(limit)}")
    elif cap is None or cost <= cap:
        shortage = cap_shortage(spec, expected, demand)
        if shortage:
            findings.add(RejectionReason.COST_LIMIT, shortage)


def _health(target: TargetReading, demand: Demand, findings: Findings, now: float) -> Standing:
    """What has happened to it: drained, open, or half-open with or without a free trial."""
    if target.drained:
        findings.add(RejectionReason.DRAINED, "drained by an operator")
    breaker, endpoint = target.breaker, target.endpoint
    of_target, of_endpoint = breaker.state(now), endpoint.state(now)
    if of_target is _CLOSED and of_endpoint is _CLOSED:
        return CLEAR
    if not breaker.admits(now):
        findings.add(*_refused("", of_target, breaker.retry_at(now), now))
    if not endpoint.admits(now):
        findings.add(*_refused("endpoint ", of_endpoint, endpoint.retry_at(now), now))
    # A closed breaker was opened by nothing: what is silent here is what has to be tried.
    if not (breaker.opened_by_silence or endpoint.opened_by_silence):
        return Standing.TRIAL
    half_open = BreakerState.OPEN not in (of_target, of_endpoint)
    if half_open and not demand.executing and demand.priority not in TRIAL_PRIORITIES:
        detail = f"half-open after silence: its trial is not for calls of priority {demand.priority.value}"
        findings.add(RejectionReason.BREAKER_OPEN, detail)
    return Standing.SILENT_TRIAL


def _refused(
    what: str, state: BreakerState, retry_at: float | None, now: float
) -> tuple[RejectionReason, str, float | None]:
    if state is BreakerState.HALF_OPEN:
        return RejectionReason.BREAKER_OPEN, f"{what}half-open, its one trial is taken", retry_at
    left = "" if retry_at is None else f" for {max(0.0, retry_at - now):.1f} s more"
    return RejectionReason.BREAKER_OPEN, f"{what}breaker open{left}", retry_at


def _limits(expected: Expected, demand: Demand, findings: Findings, *, availability: float, sample_count: int) -> None:
    """Explicit limits, and the time that is left."""
    first, whole = expected.first_token_seconds, expected.latency_seconds
    limit = demand.max_latency_seconds
    if limit is not None and whole > limit:
        findings.add(RejectionReason.LATENCY_LIMIT, f"{whole:.2f} s expected, the limit is {limit:g} s")
    limit = demand.max_first_token_seconds
    if limit is not None and first > limit:
        detail = f"first token expected after {first:.2f} s, the limit is {limit:g} s"
        findings.add(RejectionReason.LATENCY_LIMIT, detail)
    if demand.min_availability is not None and availability < demand.min_availability:
        detail = f"availability {availability:.3f}, at least {demand.min_availability:g} asked for"
        findings.add(RejectionReason.AVAILABILITY, detail)
    # Only a call can show that a prior is wrong: as a first choice such a target is ranked last, not rejected for ever.
    left = demand.deadline_seconds
    if left is not None and first > left and (sample_count >= MEASURED_COUNT or demand.needs.tried):
        findings.add(RejectionReason.DEADLINE, f"first token expected after {first:.2f} s, {left:.2f} s are left")


def budget_shortage(spec: TargetSpec, expected: Expected, demand: Demand) -> str:
    """Returns why the budgets in force do not leave enough for a target, "" where they do or its price is unknown.

    Needed is what is sent: the caller's own output limit, as far as the call's cap leaves it as long as it is.
    """
    room = demand.room
    if room is None or spec.price is None:
        return ""
    needed = _least_needed(
        spec.price, spec, expected, demand, at_most=_capped_output(spec.price, spec, expected, demand)
    )
    if needed <= room.left_nano_usd:
        return ""
    return f"needs up to {usd(needed)}, budget {room.budget} has {usd(room.left_nano_usd)} left"


def cap_shortage(spec: TargetSpec, expected: Expected, demand: Demand) -> str:
    """Returns why the call's cap does not leave enough for an attempt, "" where it does or the price is unknown."""
    left, cap = demand.cost_left_nano_usd, demand.cost_cap_nano_usd
    if left is None or cap is None or spec.price is None:
        return ""
    needed = _least_needed(spec.price, spec, expected, demand, may_lower=True)
    if needed <= left:
        return ""
    return f"needs up to {usd(needed)}, {usd(left)} is left of the limit of {usd(cap)}"


def _least_needed(
    price: Price,
    spec: TargetSpec,
    expected: Expected,
    demand: Demand,
    *,
    may_lower: bool = False,
    at_most: int | None = None,
) -> int:
    return least_need(
        price,
        spec,
        input_tokens=_worst_input_tokens(expected, demand),
        asked=demand.max_output_tokens,
        expected_tokens=expected.output_tokens,
        may_lower=may_lower,
        at_most=at_most,
    )


def _capped_output(price: Price, spec: TargetSpec, expected: Expected, demand: Demand) -> int | None:
    """Returns the output limit that the call's cap makes of the caller's own; None where there is none to lower."""
    left, asked = demand.cost_left_nano_usd, demand.max_output_tokens
    if left is None or asked is None:
        return None
    return lowered_output(
        price,
        spec,
        input_tokens=_worst_input_tokens(expected, demand),
        asked=asked,
        expected_tokens=expected.output_tokens,
        left_nano_usd=left,
    )


def _worst_input_tokens(expected: Expected, demand: Demand) -> int:
    # A caller's own count is taken as it is; what is estimated, or assumed where nothing is known, is not.
    return worst_input_tokens(expected.input_tokens, counted=demand.input_counted)


def usd(nano_usd: int) -> str:
    """Returns an amount for people, to six significant digits, as in "0.0123 USD"."""
    return f"{nano_usd / 1e9:.6g} USD"
