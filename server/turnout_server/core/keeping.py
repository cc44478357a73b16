"""What outlives the process: taken from the running state line by line, and put back into another process's.

Arrow line: state -> lines (`kept`) -> file -> lines -> what fits the fleet and the budgets of now -> state. What does
not fit is dropped: another address is another target, another period another budget. Imported only where state is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from turnout_server.core.affinity import AffinityKey
from turnout_server.core.budget_book import Kept
from turnout_server.core.events import EventName
from turnout_server.core.kept import (
    ROWS_MAXIMUM,
    AffinityLine,
    AgesLine,
    BreakerLine,
    BudgetLine,
    CostsLine,
    CredentialLine,
    EndpointLine,
    KeptBudget,
    KeptName,
    LearnedLine,
    SpentLine,
    StatisticsLine,
    SumsLine,
    TargetLine,
    endpoint_name,
    kept_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from turnout_server.core.budget import Span
    from turnout_server.core.budget_book import Book, Settled
    from turnout_server.core.events import Event
    from turnout_server.core.faults import EndpointGroup
    from turnout_server.core.fleet import Fleet
    from turnout_server.core.kept import Line, Since
    from turnout_server.core.spending import Spending
    from turnout_server.core.state import FleetState

BREAKER_EVENTS = frozenset({EventName.BREAKER_OPENED, EventName.BREAKER_CLOSED})
ENDPOINT_EVENTS = frozenset({EventName.ENDPOINT_OPENED, EventName.ENDPOINT_CLOSED})
CREDENTIAL_EVENTS = frozenset({EventName.CREDENTIAL_OUT, EventName.CREDENTIAL_BACK, EventName.COOLING_DOWN})
KEPT_EVENTS = BREAKER_EVENTS | ENDPOINT_EVENTS | CREDENTIAL_EVENTS
"""After these the line of what they are about is another one."""

T = TypeVar("T")
BudgetKind = tuple[str, str, str]


class Aged(NamedTuple):
    """A line that was read, and how its ages come back."""

    line: Line
    since: Since


@dataclass(slots=True)
class Resumed:
    """What came back: how many targets and budgets, and how many lines were about nothing that is here now."""

    targets: set[KeptName] = field(default_factory=set)
    budgets: set[str] = field(default_factory=set)
    dropped: int = 0


class Memory:
    """What is kept of a router's state. Its owner alone calls it, on the router's event loop."""

    __slots__ = ("_settled", "_spending", "_state")

    def __init__(self, state: FleetState, spending: Spending) -> None:
        self._state = state
        self._spending = spending
        self._settled: list[Settled] = []

    # Taking.

    def note_settled(self) -> None:
        """Begins to note what is charged to budgets."""
        self._spending.ledger.note_settled(self._settled)

    def settled(self) -> list[SpentLine]:
        """Returns what was charged since this was asked last: the last sum of each account."""
        last: dict[tuple[Book, str | None], tuple[Span, int]] = {}
        for book, key, span, sum_spent in self._settled:
            # In the order of the last charges: what is of the next period comes after all of the one before.
            last.pop((book, key), None)
            last[book, key] = span, sum_spent
        self._settled.clear()
        return [SpentLine(_kept_budget(book, span), key, spent) for (book, key), (span, spent) in last.items()]

    def changed(self, events: Iterable[Event], now: float) -> list[Line]:
        """Returns the lines of what some events (of KEPT_EVENTS) were about, each once, as it stands now."""
        lines: dict[object, Line] = {}
        for event in events:
            made = self._line_of(event, now)
            if made is not None:
                lines[made[0]] = made[1]
        return list(lines.values())

    def kept(self, now: float, now_wall: float) -> Iterator[Line]:
        """Yields everything, each line as it stands when it is asked for; ages are before `now`.

        The state may change between two lines, the fleet as well. Budgets that were taken out are there while their
        period runs by `now_wall`: they may come back.
        """
        state = self._state
        # As they are now, all together: another fleet has other places.
        fleet, groups, targets = state.fleet, state.groups, list(state.targets)
        yield AgesLine(now - state.started_at, state.past.chronicle.known_seconds(now))
        ledger = self._spending.ledger
        for book in (*ledger.books, *ledger.resting(now_wall)):
            accounts, other = book.keep()
            rows = tuple((each.key, each.spent, each.told) for each in accounts)
            shared = None if other is None else (other.spent, other.told)
            yield BudgetLine(_kept_budget(book, book.span), book.since_wall, rows, shared)
        for sums in ledger.absent(now_wall):
            yield sums.line()
        for group in groups:
            yield _of_endpoint(group, fleet, now)
        for provider, label in state.credentials.troubled_keys():
            yield state.credentials.keep(provider, label, now)
        for target in targets:
            name = kept_name(target.spec)
            yield target.breaker.keep(name, now)
            yield target.keep(name, now)
            yield target.statistics.keep(name, now)
        for ratios in _pieces(state.token_ratios.keep()):
            yield LearnedLine(ratios=tuple(ratios))
        for lengths in _pieces(state.lengths.keep()):
            yield LearnedLine(lengths=tuple(lengths))
        yield from self._affinity(fleet, now)
        # At one moment: what leaves the chronicle comes to the costs of its day.
        costs = tuple(state.past.costs.keep())
        yield from state.past.chronicle.keep(now)
        yield from costs

    def _affinity(self, fleet: Fleet, now: float) -> Iterator[AffinityLine]:
        for entries in self._state.affinity.keep(now, ROWS_MAXIMUM):
            places: dict[int, int] = {}
            rows = tuple(
                (*key, places.setdefault(index, len(places)), share, age)
                for key, target, share, age in entries
                if (index := fleet.index(target)) is not None
            )
            yield AffinityLine(tuple(kept_name(fleet.specs[index]) for index in places), rows)

    def _line_of(self, event: Event, now: float) -> tuple[object, Line] | None:
        state = self._state
        if event.name in BREAKER_EVENTS:
            index = None if event.target is None else state.fleet.index(event.target)
            if index is None:
                return None
            target = state.targets[index]
            return event.target, target.breaker.keep(kept_name(target.spec), now)
        if event.name in ENDPOINT_EVENTS:
            where = (event.provider, event.endpoint)
            group = next((each for each in state.groups if (each.provider, each.endpoint) == where), None)
            return None if group is None else (where, _of_endpoint(group, state.fleet, now))
        key = (event.provider, str(event.fields.get("credential", "")))
        if key not in _our_keys(state):
            return None
        return ("key", key), state.credentials.keep(*key, now)

    # Putting back.

    def resume(self, lines: Iterable[Aged], *, now: float, now_wall: float) -> Resumed:
        """Puts back what fits, to be called before anything else has happened. Of several lines the last one counts."""
        state, resumed = self._state, Resumed()
        latest, every = sorted_lines(lines)
        by_name = {kept_name(spec): target for spec, target in zip(state.fleet.specs, state.targets, strict=True)}
        endpoints = {endpoint_name(state.fleet.specs[group.indexes[0]]): group.breaker for group in state.groups}
        keys = _our_keys(state)
        started_at, known_from = now, now
        for line, since in latest:
            match line:
                case AgesLine():
                    started_at, known_from = since.past(line.watched), since.past(line.chronicle)
                case EndpointLine() if line.name in endpoints:
                    endpoints[line.name].resume(line, since)
                case CredentialLine() if (line.provider, line.label) in keys:
                    state.credentials.resume(line, since)
                case BreakerLine() if line.name in by_name:
                    by_name[line.name].breaker.resume(line, since)
                    resumed.targets.add(line.name)
                case TargetLine() if line.name in by_name:
                    by_name[line.name].resume(line, since)
                    resumed.targets.add(line.name)
                case StatisticsLine() if line.name in by_name:
                    by_name[line.name].statistics.resume(line, since)
                case _:
                    resumed.dropped += 1
        models = {(spec.target.provider, spec.target.model) for spec in state.fleet.specs}
        for line, _ in every:
            if isinstance(line, LearnedLine):
                state.token_ratios.resume(row for row in line.ratios if row[:2] in models)
                state.lengths.resume(row for row in line.lengths if row[1:3] in models)
        state.affinity.resume(
            [
                (AffinityKey(tenant, sticky_key, session_id), by_name[name].spec.target, share, since.past(age))
                for line, since in every
                if isinstance(line, AffinityLine)
                for tenant, sticky_key, session_id, place, share, age in line.rows
                if 0 <= place < len(line.names) and (name := line.names[place]) in by_name
            ],
            now,
        )
        state.past.costs.resume(line for line, _ in every if isinstance(line, CostsLine))
        state.past.chronicle.resume(
            [(line, since) for line, since in every if isinstance(line, SumsLine)], known_from, now
        )
        resumed.budgets.update(self._spending.ledger.resume(spent(line for line, _ in every), now_wall))
        state.resumed(started_at)
        return resumed


@dataclass(slots=True)
class SpentSums:
    """What one period of a budget has come to."""

    budget: KeptBudget
    since_wall: float
    accounts: dict[str, Kept] = field(default_factory=dict)
    other: Kept | None = None

    def runs(self, now_wall: float) -> bool:
        """Whether the period has not ended; one that has yet to begin was counted before the clock was set back."""
        return self.budget.ends_at is None or now_wall < self.budget.ends_at

    def line(self) -> BudgetLine:
        """Returns it as it is kept on."""
        rows = tuple((each.key, each.spent, each.told) for each in self.accounts.values())
        return BudgetLine(
            self.budget, self.since_wall, rows, None if self.other is None else (self.other.spent, self.other.told)
        )

    def settle(self, key: str | None, nano_usd: int) -> None:
        """Takes what an account comes to from some settlement on. Within a period nothing is ever given back."""
        before = self.other if key is None else self.accounts.get(key)
        kept = Kept("", nano_usd) if before is None else before._replace(spent=max(before.spent, nano_usd))
        if key is None:
            self.other = kept
        else:
            self.accounts[key] = kept._replace(key=key)


def spent(lines: Iterable[Line]) -> dict[BudgetKind, SpentSums]:
    """Returns what each budget comes to by lines in the order in which they were made."""
    found: dict[BudgetKind, SpentSums] = {}
    for line in lines:
        if isinstance(line, BudgetLine):
            sums = found[_kind(line.budget)] = SpentSums(line.budget, line.since_wall)
            sums.accounts = {row[0]: Kept(*row) for row in line.accounts}
            sums.other = None if line.other is None else Kept("", *line.other)
        elif isinstance(line, SpentLine):
            known = found.get(_kind(line.budget))
            if known is None or not known.runs(line.budget.starts_at):
                # Another period has begun since.
                known = found[_kind(line.budget)] = SpentSums(line.budget, line.budget.starts_at)
            # Else it is the same one, with another end where the time zone was changed.
            known.budget = line.budget
            known.settle(line.key, line.spent_nano_usd)
    return found


def sorted_lines(lines: Iterable[Aged]) -> tuple[list[Aged], list[Aged]]:
    """Returns the last line of each thing that has one, and all lines of what has several, in their order."""
    latest: dict[object, Aged] = {}
    several: list[Aged] = []
    for aged in lines:
        line = aged.line
        if isinstance(line, AgesLine):
            latest[AgesLine] = aged
        elif isinstance(line, CredentialLine):
            latest[line.provider, line.label] = aged
        elif isinstance(line, BreakerLine | EndpointLine | TargetLine | StatisticsLine):
            latest[type(line), line.name] = aged
        else:
            several.append(aged)
    return list(latest.values()), several


def _of_endpoint(group: EndpointGroup, fleet: Fleet, now: float) -> EndpointLine:
    return group.breaker.keep(endpoint_name(fleet.specs[group.indexes[0]]), now)


def _our_keys(state: FleetState) -> set[tuple[str, str]]:
    """Returns our keys by provider and label; "" is that of providers that need none."""
    specs = state.fleet.specs
    ours = {(spec.target.provider, each.label) for spec in specs for each in spec.credentials}
    return ours | {(spec.target.provider, "") for spec in specs if not spec.needs_credential}


def _kept_budget(book: Book, span: Span) -> KeptBudget:
    """By what was configured: values that were changed since hold until the next start only."""
    spec = book.configured
    calendar = spec.calendar
    return KeptBudget(spec.name, spec.scope.value, calendar.period.value, calendar.timezone, *span)


def _kind(budget: KeptBudget) -> BudgetKind:
    # As a reload has it: in another time zone a budget is the same, and what was spent stays spent.
    return budget.name, budget.scope, budget.period


def _pieces(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    for begin in range(0, len(rows), ROWS_MAXIMUM):
        yield rows[begin : begin + ROWS_MAXIMUM]
