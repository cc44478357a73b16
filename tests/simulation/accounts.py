"""The sidecar's accounts against the providers' books: every attempt, every token, every nano-USD."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace

from tests.simulation.bills import Bill, price_at
from tests.simulation.callers import Called
from tests.simulation.sidecars import Sidecar
from tests.simulation.wishes import Mode
from tests.simulation.world import World
from turnout_server.core.call import AttemptRecord
from turnout_server.core.model import FailureKind, UsageSource

ESTIMATE_SHARE = 0.5
ESTIMATE_TOKENS = 100
"""An estimate may be off by half, or by so many tokens: a piece on its way when the attempt ended."""
PROBE = "probe"
OWN = "/"
"""In the ids of attempts that applications make themselves."""


def wrong_accounts(world: World) -> Iterator[str]:
    """Every attempt stands in the books of both sides once, and where the provider counted, with the same sum."""
    bills: dict[str, list[Bill]] = defaultdict(list)
    for bill in world.providers.bills.values():
        bills[bill.pod].append(bill)
    for one in world.sidecars:
        calls = world.calls_of(one)
        records = Counter(record.attempt_id for record in one.watch.attempts)
        twice = [attempt_id for attempt_id, count in records.items() if count > 1]
        if twice:
            yield f"an attempt is accounted once: {one.name} has {twice[:3]} more than once"
        yield from _against_books(world, one, calls, bills[one.name])
        yield from _told(one, calls)


def _against_books(world: World, one: Sidecar, calls: list[Called], bills: list[Bill]) -> Iterator[str]:
    silent = {attempt_id for called in calls for attempt_id in called.own if attempt_id not in called.reported}
    abandoned = tuple(called for called in calls if called.gone and called.wish.mode is Mode.ADVISED)
    recorded = {record.attempt_id: record for record in one.watch.attempts}
    began = {record.attempt_id: called.started for called in calls for record in called.attempts}
    for bill in bills:
        record = recorded.pop(bill.attempt_id, None)
        if record is not None:
            line = _difference(record, bill, _costs(world, bill, began.get(bill.attempt_id)))
            if line:
                yield f"accounts add up: {bill.attempt_id} at {bill.target}: {line}"
        elif bill.attempt_id not in silent and not abandoned:
            yield f"accounts add up: {bill.attempt_id} at {bill.target} was billed and is not known to {one.name}"
    for attempt_id, record in recorded.items():
        if record.cost_nano_usd != 0:
            yield f"accounts add up: {attempt_id} costs {record.cost_nano_usd}, and no provider saw it"


def _costs(world: World, bill: Bill, call_began: float | None) -> set[int]:
    """Returns what an attempt may be taken to cost, since prices change while it runs.

    A call of the sidecar's own ends under the prices that it began with, unless the provider states the cost. A
    caller's own attempt goes by the price of then, or of when it was reported; one whose caller has left, or that tries
    a target out, by one until it was made.
    """
    changes = world.scenario.price_changes
    if OWN not in bill.attempt_id and world.scenario.temper(bill.target).states_cost:
        return {bill.nano_usd}
    if OWN in bill.attempt_id:
        moments = [bill.at, *(change.at for change in changes if change.at > bill.at)]
    elif call_began is not None:
        moments = [call_began]
    else:
        moments = [0.0, bill.at, *(change.at for change in changes if change.at < bill.at)]
    rank = world.scenario.ranks[bill.target]
    return {replace(bill, price=price_at(bill.target, rank, changes, at)).nano_usd for at in moments}


def _difference(record: AttemptRecord, bill: Bill, costs: set[int]) -> str:
    """Returns how a record differs from the bill, "" where it agrees as far as it can."""
    usage, cost = record.usage, record.cost_nano_usd
    if not record.possibly_billed:
        return f"taken as free, {bill.nano_usd} charged" if bill.charged else ""
    if usage is None or usage.input_tokens is None or usage.output_tokens is None or cost is None:
        # In advise mode a caller who was cut off knows nothing, and says so.
        return "" if record.failure is not None and usage is None else f"unknown, {bill.nano_usd} charged"
    if record.failure is None or bill.complete:
        exact = (usage.input_tokens, usage.output_tokens, usage.source)
        billed = (bill.input_tokens, bill.output_tokens, UsageSource.REPORTED)
        return "" if exact == billed and cost in costs else f"{exact} and {cost} accounted, {billed} and {costs} billed"
    if bill.charged and not (
        _near(usage.input_tokens, bill.input_tokens) and _near(usage.output_tokens, bill.output_tokens)
    ):
        return f"estimated {usage}, billed {bill.input_tokens} and {bill.output_tokens} tokens"
    return ""


def _near(estimate: int, tokens: int) -> bool:
    return abs(estimate - tokens) <= max(ESTIMATE_TOKENS, ESTIMATE_SHARE * tokens)


def _told(one: Sidecar, calls: list[Called]) -> Iterator[str]:
    """Callers are told of every attempt made for them, and of no other."""
    told = {record.attempt_id: record.cost_nano_usd for called in calls for record in called.attempts}
    nobody_is_told = {called.sidecar for called in calls if called.gone}
    paid = {
        record.attempt_id: record.cost_nano_usd
        for record in one.watch.attempts
        if record.retry_reason != PROBE and OWN not in record.attempt_id
    }
    if not nobody_is_told and told != paid:
        wrong = {attempt_id for attempt_id in told.keys() | paid.keys() if told.get(attempt_id) != paid.get(attempt_id)}
        yield f"callers are told what their calls cost: {one.name} differs in {sorted(wrong)[:3]}"
    reported = sum(len(called.reported) for called in calls)
    once = sum(len(set(called.reported)) for called in calls)
    counted = one.watch.outcomes
    if (counted["accepted"], counted["duplicate"]) != (once, reported - once):
        yield f"an outcome counts once: {one.name} was told of {once}, and {reported - once} again: {dict(counted)}"
    if any(record.failure is FailureKind.UNKNOWN for record in one.watch.attempts):
        yield f"no attempt ends by a fault of our own: one of {one.name} did"
